"""pay: the gateway decides and charges; here the cart is checked, the stock held, and the order made."""

from dataclasses import dataclass
from datetime import timedelta

import msgspec

from gateway.contract import PurchaseRequest, PurchaseState, PurchaseView, Reason, RemedyKind
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from mcp_server.carried import PAUSE_SECONDS
from mcp_server.checkout.cart import price, written
from mcp_server.checkout.orders import place_order
from mcp_server.checkout.quotes import quote_of
from mcp_server.checkout.stock import Stock
from mcp_server.contract import Pay, PaymentState, PaymentView
from mcp_server.errors import AddressMissing, CartChanged, CheckoutNotFound, Unavailable
from mcp_server.gateway_calls import GatewayCalls
from mcp_server.store import Checkout, Order, Store
from mcp_server.tools.tool import Call, Links, Pause, PauseSpent, Tool
from mcp_server.tools.views import UNDER_WAY, order_view, reasons_in_words, remedies_of

STATES = {
    PurchaseState.PAID: PaymentState.PAID,
    PurchaseState.NEEDS_CARD: PaymentState.NEEDS_CARD,
    PurchaseState.NEEDS_AUTHENTICATION: PaymentState.NEEDS_AUTHENTICATION,
    PurchaseState.DENIED: PaymentState.DENIED,
    PurchaseState.DECLINED: PaymentState.DECLINED,
    PurchaseState.FAILED: PaymentState.FAILED,
    PurchaseState.CHARGING: PaymentState.IN_PROGRESS,
    PurchaseState.UNKNOWN: PaymentState.IN_PROGRESS,
}
WAITED_FOR = {"apr": PaymentState.NEEDS_APPROVAL, "chg": PaymentState.NEEDS_AUTHENTICATION}
"""Ids say what they are of: which page a paused call waited for. Any other is a card's."""
SAME_CARD_AGAIN = frozenset(
    {"processor_error", "processor_unreachable", "never_sent", "card_replaced", "authentication_expired"}
)
"""Of an unpaid purchase's reasons, those that say nothing against the card (gateway/ledger.py, CARD_REFUSED)."""
ENDED_UNPAID = frozenset({PurchaseState.DENIED, PurchaseState.DECLINED, PurchaseState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where the person must go before `pay` can go on, and how that is said. `page_id` names it, unguessably."""

    page_id: str
    url: str
    state: PaymentState
    why: str
    as_text: str
    unfinished: str

    def view(self, checkout: Checkout, message: str) -> PaymentView:
        if self.state is PaymentState.NEEDS_CARD:
            return _payment(checkout, self.state, message, card_url=self.url)
        if self.state is PaymentState.NEEDS_AUTHENTICATION:
            return _payment(checkout, self.state, message, authentication_url=self.url)
        return _payment(checkout, self.state, message, approval_url=self.url)


class Payments:
    def __init__(self, *, store: Store, stock: Stock, gateway: GatewayCalls, clock: Clock) -> None:
        self._store = store
        self._stock = stock
        self._gateway = gateway
        self._clock = clock

    def tools(self) -> list[Tool[Pay]]:
        return [
            Tool(
                name="pay",
                title="Pay for a checkout",
                description=(
                    "Pay for a checkout as it was last shown, after the person agreed to its total. If a card is "
                    "needed, the person wanted to be asked first, or their bank asks them to confirm, they get a "
                    "link to a page for it; card details are typed only there. Call pay again when they are done: "
                    "asking again gives the outcome. A card is used for later checkouts only if the person had it "
                    "remembered. A checkout is paid at most once, however often it is asked."
                ),
                scopes=("catalog", "purchase"),
                arguments=Pay,
                view=PaymentView,
                run=self.pay,
                reads_only=False,
                destroys=True,
                repeatable=True,
            )
        ]

    async def pay(self, call: Call, wanted: Pay) -> PaymentView | Pause:
        waited_for = await self._resume(call, wanted.checkout_id)
        checkout, order = await self._find(call, wanted.checkout_id)
        if order is not None:
            return _paid(order)
        if not checkout.cart.payable:
            raise AddressMissing
        page_of = WAITED_FOR.get((waited_for or "").partition("_")[0], PaymentState.NEEDS_CARD)
        if call.turned_away and page_of is not PaymentState.NEEDS_AUTHENTICATION:  # at a bank they may have confirmed
            return _payment(checkout, page_of, "The person turned the page away; nothing was charged.")
        going_on = checkout.purchase_state in UNDER_WAY
        if not going_on:
            await self._prepare(call, checkout)
        purchase = await self._buy(call, wanted, checkout, going_on=going_on)
        order = await self._note(call, checkout, purchase)
        if (page := _page_needed(call, checkout, purchase)) is not None:
            return await self._ask_on_page(call, checkout, page, waited_for)
        if order is not None:
            return _paid(order)
        return _outcome(checkout, purchase)

    async def _resume(self, call: Call, checkout_id: str) -> str | None:
        """Use up the pause this call comes back from: the page it waited for. Raises PauseSpent the second time."""
        if call.paused_call_id is None:
            return None
        async with self._store.transaction(call.owner.tenant_id) as tx:
            page_id = await tx.resume_call(call.paused_call_id, checkout_id, now=self._clock.now())
        if page_id is None:
            raise PauseSpent
        return page_id

    async def _find(self, call: Call, checkout_id: str) -> tuple[Checkout, Order | None]:
        async with self._store.transaction(call.owner.tenant_id) as tx:
            checkout = await tx.checkout(call.owner, checkout_id)
            if checkout is None:
                raise CheckoutNotFound
            return checkout, await tx.newest_order(call.owner, checkout_id=checkout_id)

    async def _prepare(self, call: Call, checkout: Checkout) -> None:
        """The cart must cost what was shown, and be there."""
        if price(call.pack, checkout.cart.wishes).sha256 != checkout.cart_sha256:
            raise CartChanged
        async with self._store.transaction(call.owner.tenant_id) as tx:
            await self._stock.hold(tx, call.pack, checkout.checkout_id, checkout.cart)

    async def _buy(self, call: Call, wanted: Pay, checkout: Checkout, *, going_on: bool) -> PurchaseView:
        """A quote that ran out while nothing changed is renewed, once. `going_on`: whether it did was not looked at."""
        request = PurchaseRequest(
            checkout_id=checkout.checkout_id,
            cart_sha256=checkout.cart_sha256,
            going_on=going_on,
            new_card=wanted.new_card,
            language=call.language if isinstance(wanted.language, msgspec.UnsetType) else wanted.language,
        )
        purchase = await self._gateway.buy(call.caller, request)
        if going_on or purchase.decision is None or Reason.QUOTE_EXPIRED not in purchase.decision.reasons:
            return purchase
        await self._gateway.register_quote(call.caller, checkout.checkout_id, quote_of(call.pack, checkout.cart))
        return await self._gateway.buy(call.caller, request)

    async def _note(self, call: Call, checkout: Checkout, purchase: PurchaseView) -> Order | None:
        """What the gateway said, kept; if it is paid, the order."""
        async with self._store.transaction(call.owner.tenant_id) as tx:
            if purchase.state is PurchaseState.PAID:
                await place_order(tx, purchase, self._clock)
                return await tx.newest_order(call.owner, checkout_id=checkout.checkout_id)
            await tx.note_purchase_state(checkout.checkout_id, purchase.state, now=self._clock.now())
            if purchase.state in ENDED_UNPAID:
                await tx.release_stock(checkout.checkout_id)
        return None

    async def _ask_on_page(
        self, call: Call, checkout: Checkout, page: Page, waited_for: str | None
    ) -> PaymentView | Pause:
        """By the client's own way of showing a link. Who was just sent to this very page is not sent there again."""
        if waited_for == page.page_id:
            return page.view(checkout, f"{page.unfinished} {page.url}")
        if call.links is Links.AS_TEXT:
            return page.view(checkout, f"{page.as_text} {page.url}")
        paused_call_id = new_id("psd")
        if call.links is Links.AS_INPUT:
            expires_at = self._clock.now() + timedelta(seconds=PAUSE_SECONDS)
            async with self._store.transaction(call.owner.tenant_id) as tx:
                await tx.pause_call(paused_call_id, checkout.checkout_id, page.page_id, expires_at=expires_at)
        return Pause(url=page.url, message=page.why, elicitation_id=page.page_id, paused_call_id=paused_call_id)


def _page_needed(call: Call, checkout: Checkout, purchase: PurchaseView) -> Page | None:
    """None when the person has nothing to do. Raises Unavailable for an answer that names no page."""
    if purchase.state is PurchaseState.NEEDS_CARD:
        return _card_page(call, checkout, purchase)
    if purchase.state is PurchaseState.NEEDS_AUTHENTICATION:
        return _bank_page(call, checkout, purchase)
    return _approval_page(call, checkout, purchase)


def _card_page(call: Call, checkout: Checkout, purchase: PurchaseView) -> Page:
    if purchase.card_url is None or purchase.capture_id is None:
        raise Unavailable
    total = written(checkout.cart.total_minor, checkout.cart.currency)
    return Page(
        page_id=purchase.capture_id,
        url=purchase.card_url,
        state=PaymentState.NEEDS_CARD,
        why=f"{call.pack.brand.name} needs a card to take {total}. Card details are entered on this page only.",
        as_text=f"Give the person this link to enter a card for {total}, and call pay again afterwards:",
        unfinished="The card page was shown but is not finished. When the person has entered the card: pay again.",
    )


def _bank_page(call: Call, checkout: Checkout, purchase: PurchaseView) -> Page:
    if purchase.authentication_url is None or purchase.charge_id is None:
        raise Unavailable
    total = written(checkout.cart.total_minor, checkout.cart.currency)
    return Page(
        page_id=purchase.charge_id,
        url=purchase.authentication_url,
        state=PaymentState.NEEDS_AUTHENTICATION,
        why=f"Your bank wants you to confirm the payment of {total} to {call.pack.brand.name}. Nothing is paid before.",
        as_text=f"Give the person this link to confirm {total} with their bank, and call pay again afterwards:",
        unfinished="The person has not confirmed with their bank yet. When they have, or did not want to: pay again.",
    )


def _approval_page(call: Call, checkout: Checkout, purchase: PurchaseView) -> Page | None:
    """None unless the person's approval is what is missing, and the gateway has asked for it."""
    remedies = purchase.decision.remedies if purchase.decision is not None else []
    asked = next((remedy for remedy in remedies if remedy.kind is RemedyKind.APPROVAL), None)
    if purchase.state is not PurchaseState.DENIED or asked is None or asked.url is None or asked.approval_id is None:
        return None
    total = written(checkout.cart.total_minor, checkout.cart.currency)
    return Page(
        page_id=asked.approval_id,
        url=asked.url,
        state=PaymentState.NEEDS_APPROVAL,
        why=f"You wanted to be asked about payments like this: {total} to {call.pack.brand.name}.",
        as_text=f"Give the person this link to approve {total}, and call pay again afterwards:",
        unfinished="The person has not answered yet. When they have approved on this page: pay again.",
    )


def _paid(order: Order) -> PaymentView:
    view = order_view(order)
    return PaymentView(
        checkout_id=order.checkout_id,
        state=PaymentState.PAID,
        message=f"{view.total} is paid and the order is placed.",
        amount_minor=view.total_minor,
        currency=view.currency,
        order=view,
    )


def _payment(
    checkout: Checkout,
    state: PaymentState,
    message: str,
    *,
    card_url: str = "",
    approval_url: str = "",
    authentication_url: str = "",
) -> PaymentView:
    return PaymentView(
        checkout_id=checkout.checkout_id,
        state=state,
        message=message,
        amount_minor=checkout.cart.total_minor,
        currency=checkout.cart.currency,
        card_url=card_url,
        approval_url=approval_url,
        authentication_url=authentication_url,
    )


def _outcome(checkout: Checkout, purchase: PurchaseView) -> PaymentView:
    """For every state but paid with its order, and needs_card."""
    decision = purchase.decision
    return PaymentView(
        checkout_id=checkout.checkout_id,
        state=STATES[purchase.state],
        message=_message(purchase),
        amount_minor=checkout.cart.total_minor,
        currency=checkout.cart.currency,
        reasons=decision.reasons if decision and purchase.state is PurchaseState.DENIED else [],
        remedies=remedies_of(decision) if decision and purchase.state is PurchaseState.DENIED else [],
    )


def _message(purchase: PurchaseView) -> str:
    if purchase.state is PurchaseState.DENIED and purchase.decision is not None:
        remedies = " ".join(remedy.sentence for remedy in remedies_of(purchase.decision))
        return f"Not allowed, and nothing was charged. {reasons_in_words(purchase.decision.reasons)} {remedies}".strip()
    then = "tries once more" if purchase.reason in SAME_CARD_AGAIN else "asks for a card"
    if purchase.state is PurchaseState.DECLINED:
        return f"{_card(purchase)} was declined ({_plain(purchase)}); nothing was charged. Calling pay again {then}."
    if purchase.state is PurchaseState.FAILED:
        return f"The payment failed ({_plain(purchase)}); nothing was charged. Calling pay again {then}."
    if purchase.state is PurchaseState.PAID:
        return "It is paid; the order is being made. get_order will show it."
    return "The payment is still being made. Ask get_order in a few seconds; do not make another checkout for it."


def _card(purchase: PurchaseView) -> str:
    return "The card" if purchase.card is None else f"The card that ends in {purchase.card.last4}"


def _plain(purchase: PurchaseView) -> str:
    return (purchase.reason or "no reason given").replace("_", " ")
