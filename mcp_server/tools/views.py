"""How checkouts, orders and decisions are put to a model and its person."""

from collections.abc import Sequence

from gateway.contract import DecisionView, LevelName, PurchaseState, Reason, Remedy, RemedyKind
from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.cart import Cart, shipping_choices, shipping_view, written
from mcp_server.contract import CheckoutState, CheckoutView, OrderView, RemedyView
from mcp_server.store import Checkout, Order

UNDER_WAY = frozenset({PurchaseState.CHARGING, PurchaseState.UNKNOWN, PurchaseState.NEEDS_AUTHENTICATION})

AT_THE_BANK = (
    "When it was last asked about, nothing was charged: the person had to confirm with their bank. They can "
    "do so on the page they were given, within a quarter of an hour, or let it be. Either way call pay again then: it "
    "tells the outcome, or gives the link once more; if they did not confirm, it says so, nothing is charged, and the "
    "checkout can be changed or paid anew."
)
"""Where only the bank's question is known of, also one that was abandoned long ago: `pay` alone asks how it ended."""

SENTENCES: dict[Reason, str] = {
    Reason.WITHIN_MANDATE: "It is within what the person agreed to.",
    Reason.WITHIN_LEVEL: "It is within what the person's sign-in permits.",
    Reason.CALLER_MAY: "This assistant may ask for it.",
    Reason.ASSURANCE_TOO_LOW: "The person's sign-in is too old or too weak for this.",
    Reason.SUBJECT_UNKNOWN: "It is not known who the person is.",
    Reason.NO_MANDATE: "The person has not agreed to purchases through this assistant.",
    Reason.MANDATE_REVOKED: "The person withdrew the consent to purchases.",
    Reason.MANDATE_EXPIRED: "The person's consent to purchases has run out.",
    Reason.OVER_PAYMENT_CAP: "The total is over the limit the person set for one payment.",
    Reason.OVER_DAY_CAP: "The total would go over the limit the person set for a day.",
    Reason.OVER_WINDOW_CAP: "The total would go over the limit the person set for the last hours or days together.",
    Reason.OVER_WINDOW_COUNT: "The person's limit for how many purchases in a time is used up.",
    Reason.APPROVAL_NEEDED: "The person wants to be asked about a payment of this size.",
    Reason.APPROVAL_REFUSED: "The person refused exactly this payment.",
    Reason.PURPOSE_NOT_COVERED: "The person's consent does not cover what is in this cart.",
    Reason.CURRENCY_NOT_COVERED: "The person agreed to another currency.",
    Reason.PAYEE_NOT_COVERED: "The person's consent does not cover this brand.",
    Reason.CALLER_NOT_COVERED: "The person's consent does not cover this assistant.",
    Reason.SCOPE_MISSING: "This assistant was not given the scope for it.",
    Reason.QUOTE_EXPIRED: "The price was quoted too long ago.",
    Reason.CART_CHANGED: "The cart changed since its price was quoted.",
    Reason.OVER_REFUNDABLE: "More than was paid cannot be refunded.",
    Reason.NOT_REFUNDABLE: "This cannot be refunded.",
    Reason.TENANT_RULE: "The brand does not allow this.",
    Reason.EVALUATION_ERROR: "The decision could not be made, so the answer is no.",
}


def checkout_view(pack: BrandPack, checkout: Checkout) -> CheckoutView:
    cart = checkout.cart
    state = _state(checkout)
    return CheckoutView(
        checkout_id=checkout.checkout_id,
        state=state,
        currency=cart.currency,
        lines=list(cart.lines),
        subtotal_minor=cart.subtotal_minor,
        shipping_minor=cart.shipping.price_minor if cart.shipping else 0,
        tax_minor=cart.tax_minor,
        total_minor=cart.total_minor,
        total=written(cart.total_minor, cart.currency),
        shipping=cart.shipping,
        ship_to=cart.ship_to,
        shipping_choices=[shipping_view(method) for method in shipping_choices(pack, cart.ship_to)],
        message=_checkout_message(state, cart),
    )


def order_view(order: Order) -> OrderView:
    shipping = order.cart.shipping
    delivery = f"{shipping.name}, {shipping.days_min} to {shipping.days_max} working days" if shipping else ""
    return OrderView(
        order_id=order.order_id,
        checkout_id=order.checkout_id,
        placed_at=order.placed_at,
        currency=order.cart.currency,
        lines=list(order.cart.lines),
        total_minor=order.cart.total_minor,
        total=written(order.cart.total_minor, order.cart.currency),
        delivery=delivery,
    )


def reasons_in_words(reasons: Sequence[Reason]) -> str:
    return " ".join(SENTENCES[reason] for reason in reasons)


def remedies_of(decision: DecisionView) -> list[RemedyView]:
    return [_remedy(remedy) for remedy in decision.remedies]


def _remedy(remedy: Remedy) -> RemedyView:
    return RemedyView(
        kind=remedy.kind.value,
        sentence=_remedy_sentence(remedy),
        level=remedy.level.value if remedy.level else "",
        amount_minor_max=remedy.amount_minor_max or 0,
        url=remedy.url or "",
        match_code=remedy.match_code or "",
    )


def _remedy_sentence(remedy: Remedy) -> str:
    if remedy.kind is RemedyKind.STEP_UP:
        return _step_up_sentence(remedy)
    if remedy.kind is RemedyKind.LOWER_AMOUNT:
        most = written(remedy.amount_minor_max or 0, remedy.currency or "")
        return f"A total of at most {most} would be allowed."
    if remedy.kind is RemedyKind.APPROVAL:
        where = f" at {remedy.url}" if remedy.url else ""
        return f"It would be allowed after the person approves it{where}."
    if remedy.kind is RemedyKind.WAIT_UNTIL:
        return f"It would be allowed from {remedy.until:%Y-%m-%d %H:%M} UTC on."
    if remedy.kind is RemedyKind.NEW_MANDATE:
        return "It would be allowed after the person connects this assistant again and agrees to purchases like this."
    return "It would be allowed with a fresh price: call update_checkout without changes, then pay again."


def _step_up_sentence(remedy: Remedy) -> str:
    """Confirmed is no matter of signing in: it is about this one call."""
    if remedy.level is LevelName.CONFIRMED and remedy.url is not None:
        return (
            f"It would be allowed after the person confirms exactly this with their passkey at {remedy.url}, if that "
            f"page shows the code {remedy.match_code}; then ask again in the same way, within five minutes."
        )
    if remedy.level is LevelName.CONFIRMED:
        return "It would be allowed only after the person confirms exactly this with a passkey."
    if remedy.level is LevelName.STRONG:
        return "It would be allowed after the person signs in again and uses a passkey or approves it on their phone."
    return "It would be allowed after the person signs in again."


def _state(checkout: Checkout) -> CheckoutState:
    if checkout.purchase_state == PurchaseState.PAID:
        return CheckoutState.PAID
    if checkout.purchase_state in UNDER_WAY:
        return CheckoutState.PAYING
    return CheckoutState.READY if checkout.cart.payable else CheckoutState.NEEDS_ADDRESS


def _checkout_message(state: CheckoutState, cart: Cart) -> str:
    total = written(cart.total_minor, cart.currency)
    if state is CheckoutState.NEEDS_ADDRESS:
        return f"Goods come to {total}. Add ship_to with update_checkout to know shipping, tax and the total."
    if state is CheckoutState.READY:
        return f"The total is {total}, with shipping and tax. Show it to the person; pay when they agree."
    if state is CheckoutState.PAYING:
        return f"{total} is being paid; get_order tells the outcome."
    return f"{total} is paid; get_order shows the order."
