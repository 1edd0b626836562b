"""What the sandbox remembers. Rows are these structs as JSON; nothing here can hold a card number or its code."""

from typing import ClassVar, Literal

import msgspec

CheckResult = Literal["pass", "fail", "unavailable", "unchecked"]


class Resource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`created` is in whole seconds since 1970, as at Stripe."""

    kind: ClassVar[str]
    id: str
    created: int

    @property
    def parent(self) -> str | None:
        """The id this one is listed under."""
        return None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A card without its number. `behaviour` names the row of the test-card table (cards.py)."""

    brand: str
    funding: str
    country: str
    last4: str
    exp_month: int
    exp_year: int
    fingerprint: str
    behaviour: str
    code_check: CheckResult | None


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    address: dict[str, str | None] = {}


class PaymentMethod(Resource, frozen=True, kw_only=True):
    """`used`: it paid once. Without a customer it cannot pay again, as at Stripe."""

    kind: ClassVar[str] = "payment_method"
    card: Card
    billing: Billing
    metadata: dict[str, str]
    allow_redisplay: str = "unspecified"
    used: bool = False


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt to charge failed."""

    code: str
    message: str
    decline_code: str | None = None
    param: str | None = None
    charge: str | None = None
    kind: str = "card_error"
    payment_method: PaymentMethod | None = None


class PaymentIntent(Resource, frozen=True, kw_only=True):
    """Money in minor units. `options` is what was sent as `payment_method_options[card]`, of what is imitated."""

    kind: ClassVar[str] = "payment_intent"
    amount: int
    currency: str
    status: str
    capture_method: str
    client_secret: str
    automatic_methods: bool
    allow_redirects: str | None
    metadata: dict[str, str]
    moto: bool
    request_three_d_secure: str
    description: str | None = None
    receipt_email: str | None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    setup_future_usage: str | None = None
    return_url: str | None = None
    payment_method: str | None = None
    latest_charge: str | None = None
    amount_capturable: int = 0
    amount_received: int = 0
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    last_failure: Failure | None = None


class Charge(Resource, frozen=True, kw_only=True):
    """One attempt to take or hold money. `authenticated`: the person passed 3-D Secure for it."""

    kind: ClassVar[str] = "charge"
    payment_intent: str
    payment_method: PaymentMethod
    amount: int
    currency: str
    captured: bool
    paid: bool
    moto: bool
    authenticated: bool
    metadata: dict[str, str]
    description: str | None = None
    receipt_email: str | None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    amount_captured: int = 0
    amount_refunded: int = 0
    released: bool = False
    disputed: bool = False
    failure: Failure | None = None

    @property
    def parent(self) -> str | None:
        return self.payment_intent

    @property
    def refundable(self) -> int:
        return self.amount_captured - self.amount_refunded


class Refund(Resource, frozen=True, kw_only=True):
    kind: ClassVar[str] = "refund"
    charge: str
    payment_intent: str
    amount: int
    currency: str
    metadata: dict[str, str]
    reason: str | None = None
    status: str = "succeeded"

    @property
    def parent(self) -> str | None:
        return self.charge


class Dispute(Resource, frozen=True, kw_only=True):
    kind: ClassVar[str] = "dispute"
    charge: str
    payment_intent: str
    amount: int
    currency: str
    reason: str
    status: str

    @property
    def parent(self) -> str | None:
        return self.charge


class Event(Resource, frozen=True, kw_only=True):
    """`subject` is the changed object as it was shown at that moment."""

    kind: ClassVar[str] = "event"
    type: str
    subject: msgspec.Raw
    api_version: str
    request: str | None
    idempotency_key: str | None

    @property
    def parent(self) -> str | None:
        return self.type
