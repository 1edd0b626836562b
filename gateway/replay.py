"""Deciding again what was decided: the same question, under its own rules or under others.

Under its own rules the whole body must come out again, byte for byte in RFC 8785 form: outcome, reasons and remedies.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from gateway.cedar import GROUPS, Cedar, Question
from gateway.contract import ChallengeMethod, LevelName, Outcome, PolicyReplay, Reason, ReplayedChange
from gateway.decide import Decision, decide_about_person, decide_purchase, decide_recall, decide_refund
from gateway.recorded_facts import (
    QuestionUnreadable,
    person_facts,
    purchase_facts,
    question_of,
    refund_facts,
    tier_of,
)
from infra.chassis.canonical import canonical_json

BODY_VERSION: Final = 1
EXAMPLES_MAX: Final = 5
"""Of decisions for each kind of change: enough to look some up."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the record, of its bytes what is needed here."""

    tenant_id: str
    decision_id: str
    body: Mapping[str, Any]

    @property
    def is_decision(self) -> bool:
        """Other entries say what became of a decision, or what somebody consented to."""
        return "event" not in self.body


class PoliciesUnknown(Exception):
    """The rules that an entry names are not kept anywhere, or cannot be used any more."""


class _Entry(msgspec.Struct):
    tenant_id: str
    decision_id: str
    body: dict[str, Any]


def entry_of(canonical: bytes) -> Entry:
    """Raises QuestionUnreadable."""
    try:
        read = msgspec.json.decode(canonical, type=_Entry)
    except msgspec.MsgspecError as error:
        raise QuestionUnreadable(str(error)) from None
    return Entry(read.tenant_id, read.decision_id, read.body)


def decide_again(cedar: Cedar, entry: Entry) -> Decision:
    """The same question at the same time, under `cedar`. Raises QuestionUnreadable."""
    if entry.body.get("v") != BODY_VERSION:
        raise QuestionUnreadable(f"its version is {entry.body.get('v')}")
    question, now = question_of(entry.body), _decided_at(entry.body)
    if entry.body.get("enquiry"):
        decision = replace(_enquired_again(cedar, question, entry.tenant_id, now), enquiry=True)
    else:
        decision = _decided_again(cedar, question, entry.tenant_id, now)
    methods = _methods(entry.body)
    return decision if methods is None else decision.with_methods(methods)


def _enquired_again(cedar: Cedar, question: Question, tenant_id: str, now: datetime) -> Decision:
    """An enquiry about a recall names its tier; the recall itself looks for the highest."""
    if question.action != "recall":
        return _decided_again(cedar, question, tenant_id, now)
    facts = person_facts(question, tenant_id)
    return decide_about_person(cedar, "recall", facts, now, tier=tier_of(question))


def _decided_again(cedar: Cedar, question: Question, tenant_id: str, now: datetime) -> Decision:
    match question.action:
        case "purchase":
            return decide_purchase(cedar, purchase_facts(question, tenant_id), now)
        case "refund":
            return decide_refund(cedar, refund_facts(question, tenant_id), now)
        case "recall":
            return decide_recall(cedar, person_facts(question, tenant_id), now)[0]
        case action if action in GROUPS:
            return decide_about_person(cedar, action, person_facts(question, tenant_id), now)
        case action:
            raise QuestionUnreadable(f"there is no action {action}")


def same_again(cedar: Cedar, entry: Entry) -> bool:
    """Whether the entry's whole body comes out again, byte for byte. Raises QuestionUnreadable."""
    again = decide_again(cedar, entry).body(entry.decision_id)
    return canonical_json(again) == canonical_json(entry.body)


@dataclass(slots=True)
class Replay:
    """Every recorded decision decided again under the rules it names; what is not the same is counted by kind."""

    rules: Callable[[Entry], Cedar]
    """Raises PoliciesUnknown."""
    same: int = 0
    others: int = 0
    """Entries that are no decisions."""
    found: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    """Of each kind of finding, the first entry by its decision's id."""

    def consider(self, decision_id: str, canonical: bytes) -> None:
        try:
            entry = entry_of(canonical)
            if not entry.is_decision:
                self.others += 1
            elif same_again(self.rules(entry), entry):
                self.same += 1
            else:
                self._find("decided otherwise", decision_id)
        except PoliciesUnknown:
            self._find("its policies are not kept", decision_id)
        except QuestionUnreadable:
            self._find("not readable", decision_id)

    def _find(self, kind: str, decision_id: str) -> None:
        self.found[kind] += 1
        self.first.setdefault(kind, decision_id)


def _methods(body: Mapping[str, Any]) -> dict[LevelName, list[ChallengeMethod]] | None:
    """What was found to be possible; entries of older releases name every method there was, and do not say."""
    if "methods" not in body:
        return None
    try:
        return msgspec.convert(body["methods"], dict[LevelName, list[ChallengeMethod]])
    except msgspec.ValidationError as error:
        raise QuestionUnreadable(f"methods: {error}") from None


def _decided_at(body: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(body["decided_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise QuestionUnreadable(f"decided_at: {type(error).__name__}") from None


Said = tuple[Outcome, tuple[Reason, ...], str]
"""Outcome, reasons, and for a recall how far it goes."""


@dataclass(slots=True)
class Comparison:
    """Counts what changes from one set of rules to another."""

    before: Callable[[Entry], Cedar]
    after: Callable[[Entry], Cedar]
    replayed: int = 0
    unusable: int = 0
    _counted: Counter[tuple[str, Said, Said]] = field(default_factory=Counter)
    _examples: dict[tuple[str, Said, Said], list[str]] = field(default_factory=lambda: defaultdict(list))

    def compare(self, entries: Iterable[bytes]) -> None:
        """Entries as they were hashed; those that are no decisions count for nothing."""
        for canonical in entries:
            try:
                entry = entry_of(canonical)
                if entry.is_decision:
                    self._compare(entry)
            except (QuestionUnreadable, PoliciesUnknown):
                self.unusable += 1

    def result(self) -> PolicyReplay:
        return PolicyReplay(
            replayed=self.replayed,
            changed=self._counted.total(),
            unusable=self.unusable,
            changes=[self._change(kind, count) for kind, count in self._counted.most_common()],
        )

    def _compare(self, entry: Entry) -> None:
        before, after = _said(self.before(entry), entry), _said(self.after(entry), entry)
        self.replayed += 1
        if before != after:
            kind = (str(entry.body["action"]), before, after)
            self._counted[kind] += 1
            if len(self._examples[kind]) < EXAMPLES_MAX:
                self._examples[kind].append(entry.decision_id)

    def _change(self, kind: tuple[str, Said, Said], count: int) -> ReplayedChange:
        action, before, after = kind
        return ReplayedChange(
            action=action,
            outcome_before=before[0],
            before=list(before[1]),
            outcome_after=after[0],
            after=list(after[1]),
            count=count,
            decision_ids=self._examples[kind],
        )


def _said(cedar: Cedar, entry: Entry) -> Said:
    """Without the remedies, which cost most and are no part of the comparison. Raises QuestionUnreadable."""
    question = question_of(entry.body)
    if question.action == "recall" and not entry.body.get("enquiry"):
        decision = decide_again(cedar, entry)
        return decision.outcome, decision.reasons, decision.question.resource["id"]
    verdict = cedar.answer(question)
    return Outcome.ALLOW if verdict.allowed else Outcome.DENY, verdict.reasons, ""
