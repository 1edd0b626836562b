"""Facts: typed rows that the gateway looked up, and their one translation into the engine's entities.

Three or four entities a request; what a policy may ask for is always there, or the schema says it is optional.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.assurance import Assurance, Evidence, level_of, recognised
from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel

Entity = dict[str, Any]
SOMEBODY: Final = "sub_somebody"
"""Stands for a subject not known yet, when it is asked what a known one could do."""
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
    expires_at: datetime

    def entity(self) -> Entity:
        return entity(
            "Checkout",
            self.checkout_id,
            {
                "payee": ref("Brand", self.brand_id),
                "amount_minor": self.amount_minor,
                "currency": self.currency,
                "cart_sha256": self.cart_sha256,
                "expires_at": seconds(self.expires_at),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MandateFacts:
    """`taken_today_minor` is what is held or posted today (UTC), but for the purchase that is being decided."""

    mandate_id: str
    subject_id: str
    brand_id: str
    currency: str
    payment_cap_minor: int
    day_cap_minor: int
    taken_today_minor: int
    delegates: tuple[str, ...]
    revoked: bool
    expires_at: datetime

    def entity(self) -> Entity:
        return entity(
            "Mandate",
            self.mandate_id,
            {
                "subject": ref("Subject", self.subject_id),
                "payee": ref("Brand", self.brand_id),
                "currency": self.currency,
                "payment_cap_minor": self.payment_cap_minor,
                "day_cap_minor": self.day_cap_minor,
                "taken_today_minor": self.taken_today_minor,
                "delegates": sorted(self.delegates),
                "revoked": self.revoked,
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

    def with_amount(self, amount_minor: int) -> "PurchaseFacts":
        return replace(self, quote=replace(self.quote, amount_minor=amount_minor))

    def with_fresh_quote(self) -> "PurchaseFacts":
        return replace(self, quote=replace(self.quote, cart_sha256=self.cart_sha256, expires_at=FAR))

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
        covering = MandateFacts(
            mandate_id="mnd_covering",
            subject_id=self.conversation.subject_id,
            brand_id=self.quote.brand_id,
            currency=self.quote.currency,
            payment_cap_minor=self.quote.amount_minor,
            day_cap_minor=self.quote.amount_minor,
            taken_today_minor=0,
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


def entity(kind: str, identifier: str, attrs: dict[str, Any]) -> Entity:
    return {"uid": {"type": kind, "id": identifier}, "attrs": attrs, "parents": []}


def ref(kind: str, identifier: str) -> Entity:
    return {"__entity": {"type": kind, "id": identifier}}


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down: the engine has no fractions."""
    return int(moment.timestamp())
