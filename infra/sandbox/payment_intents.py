"""Payment intents: create, confirm, settle (Stripe's "capture"), cancel, and look up."""

import msgspec

from infra.sandbox import charging
from infra.sandbox.errors import BadParameter, Document, StripeError
from infra.sandbox.exchange import Exchange
from infra.sandbox.form import Parameters
from infra.sandbox.ids import letters, new_id
from infra.sandbox.lists import page_of, search_intents
from infra.sandbox.money import check_amount, check_currency, shown
from infra.sandbox.payment_methods import CardEntry, keep_entry, read_entry
from infra.sandbox.resources import Charge, PaymentIntent, PaymentMethod

_CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
_MOTO = "payment_method_options[card][moto]"
_BEFORE_THE_CHARGE = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
_STATE_AS_STRIPE_SAYS_IT = {
    "succeeded": "it has already succeeded after being previously confirmed",
    "canceled": "it has a status of canceled",
    "requires_capture": "it has already succeeded after being previously confirmed",
}


def create(exchange: Exchange) -> Document:
    """`POST /v1/payment_intents`, with `confirm=true` also charged at once."""
    parameters = exchange.parameters
    intent = _read_intent(exchange)
    entry = _read_entry(parameters)
    confirmed = parameters.flag("confirm") is True
    nobody_present = _nobody_present(parameters)
    exchange.finish_parameters()
    if intent.moto and not confirmed:
        raise BadParameter(f"`{_MOTO}` can only be provided during confirmation.", param=_MOTO)
    intent = _with_method(exchange, intent, entry)
    exchange.ledger.save(intent)
    exchange.announce("payment_intent.created", intent)
    if confirmed:
        intent = _confirm(exchange, intent, nobody_present=nobody_present)
    return exchange.documents.show(intent)


def confirm(exchange: Exchange) -> Document:
    """`POST /v1/payment_intents/{id}/confirm`."""
    parameters = exchange.parameters
    intent = exchange.get(PaymentIntent, exchange.target, param="intent")
    method = parameters.text("payment_method")
    changes: dict[str, object] = {
        "payment_method": method if method is not None else intent.payment_method,
        "return_url": _read_return_url(parameters) or intent.return_url,
        "receipt_email": parameters.plain_text("receipt_email") or intent.receipt_email,
        "setup_future_usage": _read_future_usage(parameters) or intent.setup_future_usage,
        "capture_method": _read_capture_method(parameters) or intent.capture_method,
    }
    options = _read_options(exchange)
    entry = _read_entry(parameters)
    nobody_present = _nobody_present(parameters)
    parameters.skip("use_stripe_sdk")
    exchange.finish_parameters()
    _require_state(exchange, intent, _BEFORE_THE_CHARGE, "confirm")
    if options is not None:
        changes |= {"moto": options[0], "request_three_d_secure": options[1]}
    intent = _with_method(exchange, msgspec.structs.replace(intent, **changes), entry)
    return exchange.documents.show(_confirm(exchange, intent, nobody_present=nobody_present))


def settle(exchange: Exchange) -> Document:
    """`POST /v1/payment_intents/{id}/capture`: take the held money, or a part of it and let go of the rest."""
    asked = exchange.parameters.whole("amount_to_capture")
    exchange.finish_parameters()
    intent = exchange.get(PaymentIntent, exchange.target, param="intent")
    _require_state(exchange, intent, frozenset({"requires_capture"}), "capture")
    amount = intent.amount_capturable if asked is None else asked
    if amount < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="amount_to_capture",
        )
    if amount > intent.amount_capturable:
        raise StripeError(
            f"The requested capture amount is greater than the amount you can capture for this charge"
            f" ({shown(intent.amount_capturable, intent.currency)}).",
            code="amount_too_large",
            param="amount_to_capture",
        )
    charge = exchange.get(Charge, intent.latest_charge or "", param="charge")
    charge = msgspec.structs.replace(charge, captured=True, amount_captured=amount)
    intent = msgspec.structs.replace(intent, status="succeeded", amount_capturable=0, amount_received=amount)
    exchange.ledger.save(charge)
    exchange.ledger.save(intent)
    exchange.announce("charge.captured", charge)
    exchange.announce("payment_intent.succeeded", intent)
    return exchange.documents.show(intent)


def cancel(exchange: Exchange) -> Document:
    """`POST /v1/payment_intents/{id}/cancel`: possible until the money is taken; lets go of what was held."""
    reason = exchange.parameters.choice("cancellation_reason", _CANCELLATION_REASONS)
    exchange.finish_parameters()
    intent = exchange.get(PaymentIntent, exchange.target, param="intent")
    _require_state(exchange, intent, _BEFORE_THE_CHARGE | {"requires_capture"}, "cancel")
    return exchange.documents.show(_let_go(exchange, intent, reason, "charge.refunded"))


def expire(exchange: Exchange) -> PaymentIntent:
    """The time of held money ran out: what Stripe does by itself after about a week happens here by hand."""
    intent = exchange.get(PaymentIntent, exchange.target, param="intent")
    _require_state(exchange, intent, frozenset({"requires_capture"}), "expire")
    return _let_go(exchange, intent, "automatic", "charge.expired")


def _let_go(exchange: Exchange, intent: PaymentIntent, reason: str | None, said: str) -> PaymentIntent:
    if intent.status == "requires_capture":
        charge = exchange.get(Charge, intent.latest_charge or "", param="charge")
        charge = msgspec.structs.replace(charge, released=True)
        exchange.ledger.save(charge)
        exchange.announce(said, charge)
    intent = msgspec.structs.replace(
        intent,
        status="canceled",
        amount_capturable=0,
        canceled_at=exchange.timestamp,
        cancellation_reason=reason,
    )
    exchange.ledger.save(intent)
    exchange.announce("payment_intent.canceled", intent)
    return intent


def retrieve(exchange: Exchange) -> Document:
    """`GET /v1/payment_intents/{id}`."""
    exchange.parameters.skip("client_secret")
    exchange.finish_parameters()
    return exchange.documents.show(exchange.get(PaymentIntent, exchange.target, param="intent"))


def listed(exchange: Exchange) -> Document:
    """`GET /v1/payment_intents`."""
    return page_of(exchange, PaymentIntent, "/v1/payment_intents")


def search(exchange: Exchange) -> Document:
    """`GET /v1/payment_intents/search`."""
    return search_intents(exchange)


def _read_intent(exchange: Exchange) -> PaymentIntent:
    parameters = exchange.parameters
    currency = check_currency(parameters.required_text("currency"))
    amount = check_amount(parameters.required_whole("amount"), currency)
    types = parameters.texts("payment_method_types")
    allowed = parameters.texts("allowed_payment_method_types")
    for param, kinds in (("payment_method_types", types), ("allowed_payment_method_types", allowed)):
        if any(kind != "card" for kind in kinds):
            raise BadParameter("The sandbox processor only takes card.", param=param)
    automatic = parameters.child("automatic_payment_methods")
    enabled = automatic.flag("enabled")
    moto, three_d_secure = _read_options(exchange) or (False, "automatic")
    identifier = new_id("pi")
    parameters.skip("use_stripe_sdk", "confirmation_method")
    return PaymentIntent(
        id=identifier,
        created=exchange.timestamp,
        amount=amount,
        currency=currency,
        status="requires_payment_method",
        capture_method=_read_capture_method(parameters) or "automatic_async",
        client_secret=f"{identifier}_secret_{letters(25)}",
        automatic_methods=not types if enabled is None else enabled,
        allow_redirects=automatic.choice("allow_redirects", ("always", "never")),
        metadata=parameters.metadata(),
        moto=moto,
        request_three_d_secure=three_d_secure,
        description=parameters.plain_text("description"),
        receipt_email=parameters.plain_text("receipt_email"),
        statement_descriptor=parameters.plain_text("statement_descriptor", longest=22),
        statement_descriptor_suffix=parameters.plain_text("statement_descriptor_suffix", longest=22),
        setup_future_usage=_read_future_usage(parameters),
        return_url=_read_return_url(parameters),
        payment_method=parameters.text("payment_method"),
    )


def _read_capture_method(parameters: Parameters) -> str | None:
    return parameters.choice("capture_method", ("automatic", "automatic_async", "manual"))


def _read_future_usage(parameters: Parameters) -> str | None:
    return parameters.choice("setup_future_usage", ("off_session", "on_session"))


def _read_return_url(parameters: Parameters) -> str | None:
    url = parameters.plain_text("return_url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise BadParameter("Not a valid URL", code="url_invalid", param="return_url")
    return url


def _read_options(exchange: Exchange) -> tuple[bool, str] | None:
    """`payment_method_options[card]`: whether it is a mail or telephone order, and the wish for 3-D Secure.

    An account for which Stripe has not enabled such orders does not know the parameter (stripe-dotnet issue 2898).
    """
    if not exchange.parameters.has("payment_method_options"):
        return None
    card = exchange.parameters.child("payment_method_options").child("card")
    moto = exchange.moto and card.flag("moto") is True
    return moto, card.choice("request_three_d_secure", ("any", "automatic", "challenge")) or "automatic"


def _read_entry(parameters: Parameters) -> CardEntry | None:
    if not parameters.has("payment_method_data"):
        return None
    return read_entry(parameters.child("payment_method_data"))


def _nobody_present(parameters: Parameters) -> bool:
    off_session = parameters.flag("off_session") is True
    return parameters.flag("error_on_requires_action") is True or off_session


def _with_method(exchange: Exchange, intent: PaymentIntent, entry: CardEntry | None) -> PaymentIntent:
    """The intent with its payment method checked to exist, or made from the card in the call."""
    if entry is not None:
        intent = msgspec.structs.replace(intent, payment_method=keep_entry(exchange, entry).id)
    if intent.payment_method is None:
        return intent
    exchange.get(PaymentMethod, intent.payment_method, param="payment_method")
    return msgspec.structs.replace(intent, status="requires_confirmation")


def _confirm(exchange: Exchange, intent: PaymentIntent, *, nobody_present: bool) -> PaymentIntent:
    if intent.moto and intent.setup_future_usage == "on_session":  # hyperswitch issue 10120 has the text
        raise StripeError(
            f"{_MOTO} can be set to true only when setup_future_usage is either off_session or null", param=_MOTO
        )
    redirects = intent.automatic_methods and intent.allow_redirects != "never"
    if redirects and intent.return_url is None and not intent.moto:
        raise StripeError(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of"
            " these payment methods might redirect your customer off of your page, you must provide a `return_url`."
            " If you don't want to accept redirect-based payment methods, set"
            " `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to"
            " `never` when creating Setup Intents and Payment Intents."
        )
    return charging.confirm(exchange, intent, nobody_present=nobody_present)


def _require_state(exchange: Exchange, intent: PaymentIntent, states: frozenset[str], verb: str) -> None:
    if intent.status in states:
        return
    said = _STATE_AS_STRIPE_SAYS_IT.get(intent.status, f"it has a status of {intent.status}")
    raise StripeError(
        f"You cannot {verb} this PaymentIntent because {said}.",
        code="payment_intent_unexpected_state",
        extra={"payment_intent": exchange.documents.show(intent)},
    )
