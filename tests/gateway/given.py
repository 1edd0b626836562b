"""Facts to decide from, as the store would give them; each test changes what it is about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.assurance import Evidence, EvidenceKind
from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel
from gateway.facts import (
    ApprovalFacts,
    ApprovalState,
    ConversationFacts,
    MandateFacts,
    PersonFacts,
    PurchaseFacts,
    QuoteFacts,
    RefundFacts,
)
from gateway.windows import CAP_MINOR_MAX, Taken, Window

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BRAND = "brd_larkspur"
SUBJECT = "sub_ada"
CART = "a" * 64


def agent(**changes: Any) -> Caller:
    caller = Caller(
        kind=CallerKind.AGENT,
        client_id="agt_larkspur",
        tenant_id="tnt_larkspur",
        brand_ids=frozenset({BRAND}),
        scopes=frozenset({"conversation", "purchase", "memory", "refund"}),
    )
    return replace(caller, **changes)


def conversation(subject_id: str | None = SUBJECT, **changes: Any) -> ConversationFacts:
    evidence = (Evidence(SUBJECT, EvidenceKind.EMAIL_CODE, NOW, NOW + timedelta(hours=12)),)
    facts = ConversationFacts(
        tenant_id="tnt_larkspur",
        conversation_id="cnv_one",
        brand_id=BRAND,
        brand_name="Larkspur & Vale",
        channel="chat",
        client_id="agt_larkspur",
        subject_id=subject_id,
        claimed_kind=None,
        claimed_sealed=None,
        closed=False,
        evidence=evidence if subject_id else (),
    )
    return replace(facts, **changes)


def quote(**changes: Any) -> QuoteFacts:
    facts = QuoteFacts(
        checkout_id="cko_one",
        brand_id=BRAND,
        cart_sha256=CART,
        amount_minor=4_000,
        currency="USD",
        purposes=("goods",),
        expires_at=NOW + timedelta(minutes=30),
    )
    return replace(facts, **changes)


def taken(today_minor: int = 0, in_window_minor: int = 0, bought_in_window: int = 0) -> Taken:
    return Taken(today_minor=today_minor, in_window_minor=in_window_minor, bought_in_window=bought_in_window)


def mandate(**changes: Any) -> MandateFacts:
    facts = MandateFacts(
        mandate_id="mnd_one",
        subject_id=SUBJECT,
        payees=(BRAND,),
        purposes=("goods", "services"),
        currency="USD",
        payment_cap_minor=5_000,
        day_cap_minor=9_000,
        window=Window(),
        approval_above_minor=CAP_MINOR_MAX,
        taken=taken(),
        relief=None,
        delegates=(f"agents:{BRAND}",),
        revoked=False,
        expires_at=NOW + timedelta(days=30),
    )
    return replace(facts, **changes)


def purchase(**changes: Any) -> PurchaseFacts:
    facts = PurchaseFacts(
        caller=agent(),
        conversation=conversation(),
        level=AssuranceLevel.VERIFIED,
        cart_sha256=CART,
        quote=quote(),
        mandate=mandate(),
    )
    return replace(facts, **changes)


def to_approve(state: ApprovalState, **changes: Any) -> PurchaseFacts:
    """Above the threshold, with this answer to exactly this."""
    facts = purchase(mandate=mandate(approval_above_minor=3_999))
    approval = ApprovalFacts(
        approval_id="apr_one",
        state=state,
        parameters_sha256=facts.parameters_sha256,
        expires_at=NOW + timedelta(minutes=15),
    )
    return replace(facts, approval=replace(approval, **changes))


def unknown_person(**changes: Any) -> PurchaseFacts:
    return purchase(conversation=conversation(None), level=AssuranceLevel.ANONYMOUS, mandate=None, **changes)


def person(level: AssuranceLevel = AssuranceLevel.VERIFIED, subject_id: str | None = SUBJECT) -> PersonFacts:
    return PersonFacts(caller=agent(), conversation=conversation(subject_id), level=level)


def refund(**changes: Any) -> RefundFacts:
    facts = RefundFacts(
        caller=agent(),
        purchase_id="pur_one",
        brand_id=BRAND,
        subject_id=SUBJECT,
        paid=True,
        refundable_minor=4_000,
        amount_minor=4_000,
    )
    return replace(facts, **changes)
