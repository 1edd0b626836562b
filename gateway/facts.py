"""Facts: typed rows that the gateway looked up, and their one translation into the engine's entities.

Three or four entities a request; what a policy may ask for is always there, or the schema says it is optional.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from gateway.assurance import Assurance, Evidence, level_of, recognised
from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel
from gateway.windows import Relief, Taken, Window
from infra.chassis.canonical import parameters_sha256

Entity = dict[str, Any]
SOMEBODY: Final = "sub_somebody"
"""Stands for a subject not known yet, when it is asked what a known one could do."""
QUOTE_TTL: Final = timedelta(minutes=30)
"""Longer than it takes to read a checkout and find a card; shorter than prices live."""
FAR: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""When a supposed quote or mandate ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFacts:
    tenant_id: str
    conversation_id: str
    brand_id: str
    brand_name: str
    channel: str
    client_id: str
    subject_id: str | None
    claimed_kind: str | None
    claimed_sealed: bytes | None
    closed: bool
    evidence: Sequence[Evidence]
    takes_phone_orders: bool = False
    """The brand does, as its operator says."""

    def assurance(self, now: datetime, request_sha256: str | None = None) -> Assurance:
        """`request_sha256`: see assurance.level_of."""
        return level_of(self.evidence, self.person(now), now, request_sha256)

    def person(self, now: datetime) -> str | None:
        """Whose conversation it is; while no real factor has named anybody, whom caller id shows."""
        return self.subject_id or recognised(self.evidence, now)

    def about_person(self, now: datetime) -> "ConversationFacts":
        return replace(self, subject_id=self.person(now))

    def entity(self) -> Entity:
        attrs = {"brand": ref("Brand", self.brand_id)}
        if self.subject_id is not None:
            attrs["subject"] = ref("Subject", self.subject_id)
        return entity("Conversation", self.conversation_id, attrs)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFacts:
    checkout_id: str
    brand_id: str
    cart_sha256: str
    amount_minor: int
    currency: str
    purposes: tuple[str, ...]
    expires_at: datetime

    def entity(self) -> Entity:
        return entity(
            "Checkout",
            self.checkout_id,
            {
                "payee": ref("Brand", self.brand_id),
                "amount_minor": self.amount_minor,
                "currency": self.currency,
                "purposes": sorted(self.purposes),
                "cart_sha256": self.cart_sha256,
                "expires_at": seconds(self.expires_at),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MandateFacts:
    """A mandate and what counts against it.

    `taken` is what is held or posted at these payees in this currency, whoever spent it and under which mandate, but
    for the purchase that is being decided. `relief` says when there would be room for it, if there is none now.
    """

    mandate_id: str
    subject_id: str
    payees: tuple[str, ...]
    purposes: tuple[str, ...]
    currency: str
    payment_cap_minor: int
    day_cap_minor: int
    window: Window
    approval_above_minor: int
    taken: Taken
    relief: Relief | None
    delegates: tuple[str, ...]
    revoked: bool
    expires_at: datetime

    def entity(self) -> Entity:
        return entity(
            "Mandate",
            self.mandate_id,
            {
                "subject": ref("Subject", self.subject_id),
                "payees": [ref("Brand", brand_id) for brand_id in sorted(self.payees)],
                "purposes": sorted(self.purposes),
                "currency": self.currency,
                "payment_cap_minor": self.payment_cap_minor,
                "day_cap_minor": self.day_cap_minor,
                "window_seconds": self.window.seconds,
                "window_cap_minor": self.window.cap_minor,
                "window_count_max": self.window.count_max,
                "approval_above_minor": self.approval_above_minor,
                **_taken(self.taken),
                "relief": [] if self.relief is None else [{"at": seconds(self.relief.at), **_taken(self.relief.taken)}],
                "delegates": sorted(self.delegates),
                "revoked": self.revoked,
                "expires_at": seconds(self.expires_at),
            },
        )


class ApprovalState(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    USED = "used"
    """By another purchase: for the one that used it it stays approved until it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalFacts:
    """A person's answer, or the question, about exactly one payment: `parameters_sha256` says which."""

    approval_id: str
    state: ApprovalState
    parameters_sha256: str
    expires_at: datetime

    def entity(self) -> Entity:
        return entity(
            "Approval",
            self.approval_id,
            {
                "state": self.state.value,
                "parameters_sha256": self.parameters_sha256,
                "expires_at": seconds(self.expires_at),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseFacts:
    """Everything that a purchase is decided from. `level` follows from the conversation's evidence."""

    caller: Caller
    conversation: ConversationFacts
    level: AssuranceLevel
    cart_sha256: str
    quote: QuoteFacts
    mandate: MandateFacts | None
    approval: ApprovalFacts | None = None
    keyed_by_phone: bool | None = False
    """Whether the card is, or is to be, keyed in on the telephone; None in records of older rules."""

    @property
    def parameters_sha256(self) -> str:
        """Of what a person is asked to approve: this cart at this price, this payee, this mandate, this caller.

        The amount as text: canonical JSON has no integers above 2**53.
        """
        return parameters_sha256(
            {
                "checkout_id": self.quote.checkout_id,
                "cart_sha256": self.quote.cart_sha256,
                "amount_minor": str(self.quote.amount_minor),
                "currency": self.quote.currency,
                "payee": self.quote.brand_id,
                "mandate_id": self.mandate.mandate_id if self.mandate else None,
                "subject_id": self.conversation.subject_id,
                "caller": self.caller.client_id,
            }
        )

    def with_amount(self, amount_minor: int) -> "PurchaseFacts":
        return replace(self, quote=replace(self.quote, amount_minor=amount_minor))

    def with_fresh_quote(self) -> "PurchaseFacts":
        return replace(self, quote=replace(self.quote, cart_sha256=self.cart_sha256, expires_at=FAR))

    def with_approval(self) -> "PurchaseFacts":
        """As if the person had approved exactly this. Changes nothing once it was refused."""
        sha256 = self.parameters_sha256
        refused = self.approval is not None and self.approval.state is ApprovalState.REFUSED
        if refused and self.approval is not None and self.approval.parameters_sha256 == sha256:
            return self
        given = ApprovalFacts(
            approval_id="apr_given", state=ApprovalState.APPROVED, parameters_sha256=sha256, expires_at=FAR
        )
        return replace(self, approval=given)

    def at_relief(self) -> "PurchaseFacts":
        """As it will be when there is room again, with the price quoted anew then."""
        if self.mandate is None or self.mandate.relief is None:
            return self
        later = replace(self.mandate, taken=self.mandate.relief.taken, relief=None)
        return replace(self.with_fresh_quote(), mandate=later)

    def at_level(self, level: AssuranceLevel) -> "PurchaseFacts":
        """At this level; a subject not known yet is then somebody whose mandate covers this."""
        if self.conversation.subject_id is not None:
            return replace(self, level=level)
        known = replace(self, level=level, conversation=replace(self.conversation, subject_id=SOMEBODY))
        return known.with_new_mandate()

    def with_new_mandate(self) -> "PurchaseFacts":
        """With a mandate that covers exactly this. Changes nothing while the subject is not known."""
        if self.conversation.subject_id is None:
            return self
        amount = self.quote.amount_minor
        covering = MandateFacts(
            mandate_id="mnd_covering",
            subject_id=self.conversation.subject_id,
            payees=(self.quote.brand_id,),
            purposes=self.quote.purposes,
            currency=self.quote.currency,
            payment_cap_minor=amount,
            day_cap_minor=amount,
            window=Window(cap_minor=amount),
            approval_above_minor=amount,
            taken=Taken(today_minor=0, in_window_minor=0, bought_in_window=0),
            relief=None,
            delegates=delegate_names(self.caller),
            revoked=False,
            expires_at=FAR,
        )
        return replace(self, mandate=covering)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFacts:
    caller: Caller
    purchase_id: str
    brand_id: str
    subject_id: str
    paid: bool
    refundable_minor: int
    amount_minor: int

    def entity(self) -> Entity:
        return entity(
            "Purchase",
            self.purchase_id,
            {
                "payee": ref("Brand", self.brand_id),
                "buyer": ref("Subject", self.subject_id),
                "paid": self.paid,
                "refundable_minor": self.refundable_minor,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """What a decision about a person's memories or mandates is made from."""

    caller: Caller
    conversation: ConversationFacts
    level: AssuranceLevel

    def at_level(self, level: AssuranceLevel) -> "PersonFacts":
        subject_id = self.conversation.subject_id or SOMEBODY
        return replace(self, level=level, conversation=replace(self.conversation, subject_id=subject_id))


def caller_entity(caller: Caller) -> Entity:
    return entity(
        "Caller",
        caller.client_id,
        {
            "kind": caller.kind.value,
            "client_id": caller.client_id,
            "scopes": sorted(caller.scopes),
            "brands": [ref("Brand", brand_id) for brand_id in sorted(caller.brand_ids)],
            "delegate_names": list(delegate_names(caller)),
        },
    )


def delegate_names(caller: Caller) -> tuple[str, ...]:
    """The names under which a mandate may trust this caller."""
    if caller.kind is CallerKind.AGENT:
        return tuple(f"agents:{brand_id}" for brand_id in sorted(caller.brand_ids))
    return (caller.client_id,)


def _taken(taken: Taken) -> dict[str, int]:
    return {
        "taken_today_minor": taken.today_minor,
        "taken_in_window_minor": taken.in_window_minor,
        "bought_in_window": taken.bought_in_window,
    }


def entity(kind: str, identifier: str, attrs: dict[str, Any]) -> Entity:
    return {"uid": {"type": kind, "id": identifier}, "attrs": attrs, "parents": []}


def ref(kind: str, identifier: str) -> Entity:
    return {"__entity": {"type": kind, "id": identifier}}


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down: the engine has no fractions."""
    return int(moment.timestamp())
