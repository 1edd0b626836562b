"""Facts of a recorded question make the same question again, whatever the facts were."""

import dataclasses
import typing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from gateway import decide
from gateway.assurance import Evidence
from gateway.callers import Caller
from gateway.cedar import Cedar
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
from gateway.recorded_facts import QuestionUnreadable, person_facts, purchase_facts, question_of, refund_facts
from gateway.replay import Entry, decide_again, same_again
from gateway.windows import Relief, Taken, Window
from infra.chassis.canonical import canonical_json
from tests.gateway import given
from tests.support.cases import cases

CEDAR = Cedar.load()
TENANT = "tnt_larkspur"
ANY_OF = {
    str: st.sampled_from(["brd_a", "brd_b", "sub_a", "cnv_x:1", 'quote"d', "naïve", ""]),
    int: st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1),
    datetime: st.integers(min_value=0, max_value=2**34).map(lambda second: datetime.fromtimestamp(second, UTC)),
}
MOMENTS = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year > 1970)


def any_of(kind: type[Any], **given_fields: Any) -> Any:
    """Any instance of a dataclass, whatever fields it gets later. `given_fields` need more than chance."""
    hints = typing.get_type_hints(kind)
    chosen = {name: ANY_OF[hint] for name, hint in hints.items() if hint in ANY_OF}
    return st.builds(kind, **{**chosen, **given_fields})


CALLERS = any_of(Caller, tenant_id=st.just(TENANT), brand_ids=st.frozensets(ANY_OF[str]))
CONVERSATIONS = any_of(ConversationFacts, tenant_id=st.just(TENANT), evidence=st.lists(any_of(Evidence), max_size=2))
TAKEN = any_of(Taken)
MANDATES = any_of(MandateFacts, window=any_of(Window), taken=TAKEN, relief=st.none() | any_of(Relief, taken=TAKEN))
PURCHASES = any_of(
    PurchaseFacts,
    caller=CALLERS,
    conversation=CONVERSATIONS,
    quote=any_of(QuoteFacts),
    mandate=st.none() | MANDATES,
    approval=st.none() | any_of(ApprovalFacts, state=st.sampled_from(ApprovalState)),
    keyed_by_phone=st.sampled_from([True, False, None]),
)
PERSONS = any_of(PersonFacts, caller=CALLERS, conversation=CONVERSATIONS)
REFUNDS = any_of(RefundFacts, caller=CALLERS)
PERSON_ACTIONS = st.sampled_from(["recall", "remember", "forget", "read_mandates", "revoke_mandate", "forward"])


def recorded(decision: decide.Decision) -> Entry:
    body = decision.body("dec_one")
    return Entry(TENANT, "dec_one", body)


@pytest.mark.control("UC-D.14")
@cases(100)
@over(facts=PURCHASES, now=MOMENTS)
def test_a_purchase_decided_again_from_its_own_entry_is_the_same_to_the_byte(facts: PurchaseFacts, now: datetime):
    entry = recorded(decide.decide_purchase(CEDAR, facts, now))

    again = decide_again(CEDAR, entry)

    assert canonical_json(again.body("dec_one")) == canonical_json(entry.body)
    assert again.question == question_of(entry.body)


@cases(100)
@over(facts=REFUNDS, now=MOMENTS)
def test_a_refund_decided_again_is_the_same_to_the_byte(facts: RefundFacts, now: datetime):
    assert same_again(CEDAR, recorded(decide.decide_refund(CEDAR, facts, now)))


@cases(150)
@over(action=PERSON_ACTIONS, facts=PERSONS, now=MOMENTS)
def test_what_is_decided_about_a_person_is_the_same_again_to_the_byte(action: str, facts: PersonFacts, now: datetime):
    if action == "recall":
        decision = decide.decide_recall(CEDAR, facts, now)[0]
    else:
        decision = decide.decide_about_person(CEDAR, action, facts, now)

    assert same_again(CEDAR, recorded(decision))


def test_facts_that_a_question_holds_come_back_as_they_were():
    facts = given.to_approve(ApprovalState.APPROVED)
    question = decide.decide_purchase(CEDAR, facts, given.NOW).question

    again = purchase_facts(question, TENANT)

    seen = dataclasses.replace(again.conversation, **_unseen(facts.conversation))
    assert dataclasses.replace(again, conversation=seen) == facts
    refund = decide.decide_refund(CEDAR, given.refund(), given.NOW).question
    assert refund_facts(refund, TENANT) == given.refund()
    person = decide.decide_about_person(CEDAR, "forget", given.person(), given.NOW).question
    assert person_facts(person, TENANT).level == given.person().level


def _unseen(conversation: ConversationFacts) -> dict[str, Any]:
    names = ("brand_name", "channel", "client_id", "claimed_kind", "claimed_sealed", "closed", "evidence")
    return {name: getattr(conversation, name) for name in names}


def test_an_entry_whose_reasons_or_remedies_were_other_is_not_the_same():
    decision = decide.decide_purchase(CEDAR, given.purchase(quote=given.quote(amount_minor=8_000)), given.NOW)
    body = decision.body("dec_one")

    assert same_again(CEDAR, Entry(TENANT, "dec_one", body))
    forgeries: list[dict[str, Any]] = [
        {"reasons": []},
        {"remedies": body["remedies"][:1]},
        {"outcome": "allow"},
        {"more": 1},
    ]
    for forged in forgeries:
        assert not same_again(CEDAR, Entry(TENANT, "dec_one", body | forged))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"action": "everything"},
        {"context": {}},
        {"entities": []},
        {"entities": None},
        {"decided_at": "yesterday"},
        {"principal": {"type": "Caller", "id": "agt_nobody"}},
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_read_says_so(change: dict[str, object]):
    decision = decide.decide_purchase(CEDAR, given.purchase(), given.NOW + timedelta(seconds=1))

    with pytest.raises(QuestionUnreadable):
        same_again(CEDAR, Entry(TENANT, "dec_one", decision.body("dec_one") | change))
