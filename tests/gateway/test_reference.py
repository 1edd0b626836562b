"""The engine against the reference: the same answer, the same reasons, and remedies that mean what they say.

2,000 cases in CI together with `test_reference_broken.py`; 100,000 with `--hypothesis-profile=long`.
"""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from gateway.assurance import name_of
from gateway.cedar import Cedar
from gateway.contract import AssuranceLevel, LevelName, Remedy, RemedyKind
from gateway.decide import (
    Decision,
    _purchase_question,
    decide_about_person,
    decide_purchase,
    decide_recall,
    decide_refund,
)
from gateway.facts import PersonFacts, PurchaseFacts, RefundFacts
from tests.gateway import reference
from tests.gateway.reference import Answer, Way
from tests.gateway.reference_cases import people, purchases, refunds
from tests.gateway.test_policies import NO_DEAR_PHONE_ORDERS
from tests.support.cases import cases

CEDAR = Cedar.load()
LEVEL_OF = {name_of(level): level for level in AssuranceLevel}
PHONE_CAP = CEDAR.with_overlay({"purchase": NO_DEAR_PHONE_ORDERS})
ABOUT_PERSON = ("remember", "forget", "read_mandates", "revoke_mandate", "forward")


def answered(decision: Decision) -> Answer:
    assert len(set(decision.reasons)) == len(decision.reasons)
    return Answer(decision.allowed, frozenset(decision.reasons))


def level_of(name: LevelName | None) -> AssuranceLevel | None:
    return None if name is None else LEVEL_OF[name]


def ways(remedies: tuple[Remedy, ...]) -> list[Way]:
    return [Way(remedy.kind, level_of(remedy.level), remedy.amount_minor_max, remedy.until) for remedy in remedies]


@cases(1_000)
@over(purchases())
@pytest.mark.control("UC-D.1")
def test_a_purchase_is_decided_as_the_reference_decides(case: tuple[PurchaseFacts, datetime]):
    facts, now = case

    decision = decide_purchase(CEDAR, facts, now)

    assert answered(decision) == reference.purchase(facts, now)
    assert ways(decision.remedies) == reference.purchase_ways(facts, now)
    _the_remedies_mend(decision, facts, now)


@cases(100)
@over(purchases(), st.booleans())
@pytest.mark.control("UC-P.3")
def test_a_brands_cap_for_telephone_orders_is_decided_as_the_reference_decides(
    case: tuple[PurchaseFacts, datetime], keyed_by_phone: bool
):
    facts, now = case
    facts = replace(facts, keyed_by_phone=keyed_by_phone)

    decision = decide_purchase(PHONE_CAP, facts, now)

    assert answered(decision) == reference.purchase_under_phone_cap(facts, now, 3_000)


def _the_remedies_mend(decision: Decision, facts: PurchaseFacts, now: datetime) -> None:
    """Done, each remedy named allows (with the step-up, where one is named beside it), and nothing less would."""
    named = ways(decision.remedies)
    first = [way for way in named if way.kind is RemedyKind.STEP_UP]
    singles = [way for way in named if way.kind is not RemedyKind.STEP_UP]
    mended = reference.purchase_after(facts, first[0]) if first else facts
    for way in singles:
        assert allows(reference.purchase_after(mended, way), way.until or now)
    if first and not singles:
        assert allows(mended, now)
    for way in singles:
        if way.kind is RemedyKind.LOWER_AMOUNT and (way.amount_minor or 0) + 1 < facts.quote.amount_minor:
            one_more = Way(RemedyKind.LOWER_AMOUNT, amount_minor=(way.amount_minor or 0) + 1)
            assert not allows(reference.purchase_after(mended, one_more), now)
    lower = [level for level in AssuranceLevel if first and facts.level < level < (first[0].level or 0)]
    for level in lower:
        halfway = reference.purchase_after(facts, Way(RemedyKind.STEP_UP, level=level))
        assert not allows(halfway, now)


def allows(facts: PurchaseFacts, now: datetime) -> bool:
    """The decision without a search for remedies."""
    return CEDAR.answer(_purchase_question(facts, now)).allowed


@cases(200)
@over(refunds())
def test_a_refund_is_decided_as_the_reference_decides(case: tuple[RefundFacts, datetime]):
    facts, now = case

    decision = decide_refund(CEDAR, facts, now)

    assert answered(decision) == reference.refund(facts)
    assert decision.remedies == ()


@cases(200)
@over(people(), st.sampled_from(ABOUT_PERSON))
def test_what_is_done_about_a_person_is_decided_as_the_reference_decides(
    case: tuple[PersonFacts, datetime], action: str
):
    facts, now = case

    decision = decide_about_person(CEDAR, action, facts, now)

    assert answered(decision) == reference.about_person(action, facts)
    assert ways(decision.remedies) == reference.person_ways(action, facts)
    for way in ways(decision.remedies):
        assert way.level is not None
        assert decide_about_person(CEDAR, action, reference.person_at(facts, way.level), now).allowed


@cases(200)
@over(people())
def test_a_recall_is_decided_as_the_reference_decides(case: tuple[PersonFacts, datetime]):
    facts, now = case
    highest = reference.highest_tier(facts)

    decision, tier = decide_recall(CEDAR, facts, now)

    assert tier == (highest or 0)
    assert answered(decision) == reference.recall(facts, tier)
    assert decision.allowed == (highest is not None)
    assert ways(decision.remedies) == reference.recall_ways(facts)
    for way in ways(decision.remedies):
        assert way.level is not None
        mended, shown = decide_recall(CEDAR, reference.person_at(facts, way.level), now)
        assert mended.allowed
        assert highest is None or shown > tier
