"""The decision: pure. Same facts, same time, same policies: same answer, reasons and remedies.

What a caller could do about a deny is not written down anywhere: it is found by deciding again on changed facts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from gateway.assurance import METHODS, name_of
from gateway.cedar import Cedar, Question, Verdict
from gateway.contract import (
    AssuranceLevel,
    ChallengeMethod,
    DecisionView,
    LevelName,
    Outcome,
    Reason,
    Receipt,
    Remedy,
    RemedyKind,
)
from gateway.facts import (
    SOMEBODY,
    PersonFacts,
    PurchaseFacts,
    RefundFacts,
    caller_entity,
    entity,
    ref,
    seconds,
)

TIERS: Final = range(5)
"""Memory's tiers that can be recalled at all; 5 is never stored."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked, under which policies, and the answer."""

    question: Question
    policy_sha256: str
    decided_at: datetime
    verdict: Verdict
    remedies: tuple[Remedy, ...] = ()
    enquiry: bool = False
    """Only asked whether it may be done; nothing was to come of it."""
    methods: Mapping[LevelName, Sequence[ChallengeMethod]] | None = None
    """What can give each level that a remedy names, here and to this person; None while nobody has looked."""

    def body(self, decision_id: str) -> dict[str, Any]:
        """What goes into the record: everything needed to decide again, and the answer."""
        return {
            "v": 1,
            "decision_id": decision_id,
            "decided_at": self.decided_at.isoformat(),
            "action": self.question.action,
            "principal": dict(self.question.principal),
            "resource": dict(self.question.resource),
            "context": dict(self.question.context),
            "entities": list(self.question.entities),
            "policy_sha256": self.policy_sha256,
            "outcome": self.outcome.value,
            "reasons": [reason.value for reason in self.reasons],
            "remedies": msgspec.to_builtins(self.remedies),
            **({"enquiry": True} if self.enquiry else {}),
            **({} if self.methods is None else {"methods": msgspec.to_builtins(self.methods)}),
        }

    @property
    def steps_up_to(self) -> list[LevelName]:
        """The levels that its remedies name."""
        return [remedy.level for remedy in self.remedies if remedy.kind is RemedyKind.STEP_UP and remedy.level]

    def with_methods(self, methods: Mapping[LevelName, Sequence[ChallengeMethod]]) -> "Decision":
        """With what was found to be possible in place of every method there is (`possible.py`)."""
        remedies = tuple(
            msgspec.structs.replace(remedy, methods=list(methods.get(remedy.level, ()))) if remedy.level else remedy
            for remedy in self.remedies
        )
        return replace(self, remedies=remedies, methods=methods)

    @property
    def allowed(self) -> bool:
        return self.verdict.allowed

    @property
    def tier(self) -> int:
        """Of a recall: how far it goes. Raises KeyError for what is not about memories."""
        tiers = {item["uid"]["type"]: item["attrs"].get("tier") for item in self.question.entities}
        return int(tiers["Memories"])

    @property
    def outcome(self) -> Outcome:
        return Outcome.ALLOW if self.allowed else Outcome.DENY

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.verdict.reasons

    def view(self, receipt: Receipt) -> DecisionView:
        return DecisionView(
            outcome=self.outcome, reasons=list(self.reasons), receipt=receipt, remedies=list(self.remedies)
        )


def decide_purchase(cedar: Cedar, facts: PurchaseFacts, now: datetime) -> Decision:
    question = _purchase_question(facts, now)
    verdict = cedar.answer(question)
    remedies = () if verdict.allowed else _purchase_remedies(cedar, facts, now)
    return Decision(question, cedar.sha256_for("purchase"), now, verdict, remedies)


def decide_refund(cedar: Cedar, facts: RefundFacts, now: datetime) -> Decision:
    question = Question(
        action="refund",
        principal={"type": "Caller", "id": facts.caller.client_id},
        resource={"type": "Purchase", "id": facts.purchase_id},
        context={"now": seconds(now), "amount_minor": facts.amount_minor},
        entities=(caller_entity(facts.caller), facts.entity()),
    )
    return Decision(question, cedar.sha256_for("refund"), now, cedar.answer(question))


def decide_about_person(cedar: Cedar, action: str, facts: PersonFacts, now: datetime, *, tier: int = 0) -> Decision:
    """Remember, forget, read or revoke mandates, forward, recall exactly this tier: allowed at some level or none."""

    def verdict_on(at: PersonFacts) -> Verdict:
        return cedar.answer(_person_question(action, at, now, tier=tier))

    verdict = verdict_on(facts)
    step_up = None
    if not verdict.allowed:
        step_up = _lowest_level(facts.level, lambda level: verdict_on(facts.at_level(level)).allowed)
    remedies = () if step_up is None else (_step_up(step_up),)
    question = _person_question(action, facts, now, tier=tier)
    return Decision(question, cedar.sha256_for(action), now, verdict, remedies)


def decide_recall(cedar: Cedar, facts: PersonFacts, now: datetime) -> tuple[Decision, int]:
    """The decision on the highest tier that is allowed (or on tier 0, denied), and that tier.

    Each higher level that would show a higher tier is a remedy, whether or not anything is remembered there.
    """

    def verdict_on(tier: int, at: PersonFacts) -> Verdict:
        return cedar.answer(_person_question("recall", at, now, tier=tier))

    def highest(at: PersonFacts, known: int) -> int:
        while known + 1 in TIERS and verdict_on(known + 1, at).allowed:
            known += 1
        return known

    tier_max = shown = highest(facts, -1)
    remedies = []
    for level in AssuranceLevel:
        if level > facts.level and (more := highest(facts.at_level(level), shown)) > shown:
            remedies.append(_step_up(level))
            shown = more
    tier = max(tier_max, 0)
    question = _person_question("recall", facts, now, tier=tier)
    return Decision(question, cedar.sha256_for("recall"), now, verdict_on(tier, facts), tuple(remedies)), tier


def _purchase_remedies(cedar: Cedar, facts: PurchaseFacts, now: datetime) -> tuple[Remedy, ...]:
    """Single changes that would do; if there is none, a step-up together with one other change."""

    def allows(changed: PurchaseFacts, at: datetime = now) -> bool:
        return cedar.answer(_purchase_question(changed, at)).allowed

    level = _lowest_level(facts.level, lambda level: allows(facts.at_level(level)))
    if level is not None:
        return (_step_up(level),)
    if found := _purchase_changes(facts, allows):
        return found
    for level in AssuranceLevel:
        if level > facts.level and (found := _purchase_changes(facts.at_level(level), allows)):
            return (_step_up(level), *found)
    return ()


class _Allows(Protocol):
    def __call__(self, changed: PurchaseFacts, at: datetime = ...) -> bool: ...


def _purchase_changes(facts: PurchaseFacts, allows: _Allows) -> tuple[Remedy, ...]:
    found = []
    amount = _highest_amount(facts, allows)
    if amount is not None:
        currency = facts.quote.currency
        found.append(Remedy(kind=RemedyKind.LOWER_AMOUNT, amount_minor_max=amount, currency=currency))
    if allows(facts.with_approval()):
        found.append(Remedy(kind=RemedyKind.APPROVAL))
    relief = None if facts.mandate is None else facts.mandate.relief
    if relief is not None and allows(facts.at_relief(), relief.at):
        found.append(Remedy(kind=RemedyKind.WAIT_UNTIL, until=relief.at))
    if allows(facts.with_new_mandate()):
        found.append(Remedy(kind=RemedyKind.NEW_MANDATE))
    if allows(facts.with_fresh_quote()):
        found.append(Remedy(kind=RemedyKind.NEW_QUOTE))
    return tuple(found)


def _highest_amount(facts: PurchaseFacts, allows: _Allows) -> int | None:
    """The largest lower amount that would be allowed, found by halving: some 27 questions at most.

    What the caps leave is tried first, with the cent above it, which mostly ends it; the policies have the last word.
    """
    low, high = 1, facts.quote.amount_minor
    if high <= low or not allows(facts.with_amount(low)):
        return None
    for amount in _likely_amounts(facts):
        if low < amount < high:
            low, high = (amount, high) if allows(facts.with_amount(amount)) else (low, amount)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allows(facts.with_amount(middle)) else (low, middle)
    return low


def _likely_amounts(facts: PurchaseFacts) -> tuple[int, ...]:
    if facts.mandate is None:
        return ()
    mandate = facts.mandate
    left = min(
        mandate.payment_cap_minor,
        mandate.day_cap_minor - mandate.taken.today_minor,
        mandate.window.cap_minor - mandate.taken.in_window_minor,
        mandate.approval_above_minor,
    )
    return (left, left + 1)


def _lowest_level(present: AssuranceLevel, allows: Callable[[AssuranceLevel], bool]) -> AssuranceLevel | None:
    return next((level for level in AssuranceLevel if level > present and allows(level)), None)


def _step_up(level: AssuranceLevel) -> Remedy:
    return Remedy(kind=RemedyKind.STEP_UP, level=name_of(level), methods=METHODS.get(level))


def _purchase_question(facts: PurchaseFacts, now: datetime) -> Question:
    context: dict[str, Any] = {
        "now": seconds(now),
        "level": int(facts.level),
        "conversation": ref("Conversation", facts.conversation.conversation_id),
        "cart_sha256": facts.cart_sha256,
        "parameters_sha256": facts.parameters_sha256,
    }
    if facts.keyed_by_phone is not None:
        context["keyed_by_phone"] = facts.keyed_by_phone
    entities = [caller_entity(facts.caller), facts.conversation.entity(), facts.quote.entity()]
    if facts.mandate is not None:
        context["mandate"] = ref("Mandate", facts.mandate.mandate_id)
        entities.append(facts.mandate.entity())
    if facts.approval is not None:
        context["approval"] = ref("Approval", facts.approval.approval_id)
        entities.append(facts.approval.entity())
    return Question(
        action="purchase",
        principal={"type": "Caller", "id": facts.caller.client_id},
        resource={"type": "Checkout", "id": facts.quote.checkout_id},
        context=context,
        entities=tuple(entities),
    )


def _person_question(action: str, facts: PersonFacts, now: datetime, *, tier: int) -> Question:
    subject_id = facts.conversation.subject_id
    entities = [caller_entity(facts.caller), facts.conversation.entity()]
    if action in {"read_mandates", "revoke_mandate", "list_purchases", "forward"}:
        resource = {"type": "Subject", "id": subject_id or SOMEBODY}
    else:
        resource = {"type": "Memories", "id": f"{subject_id or 'nobody'}:{tier}"}
        attrs: dict[str, Any] = {"tier": tier}
        if subject_id is not None:
            attrs["subject"] = ref("Subject", subject_id)
        entities.append(entity("Memories", resource["id"], attrs))
    return Question(
        action=action,
        principal={"type": "Caller", "id": facts.caller.client_id},
        resource=resource,
        context={
            "now": seconds(now),
            "level": int(facts.level),
            "conversation": ref("Conversation", facts.conversation.conversation_id),
        },
        entities=tuple(entities),
    )
