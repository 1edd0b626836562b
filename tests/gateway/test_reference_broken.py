"""Questions with something missing or of the wrong type are never allowed, and the comparison notices changed policies.

A mutant is the policies with one condition turned round. Each has to be refused at the start or to answer otherwise
than the reference somewhere in a fixed set of cases; a mutant that passes would be a rule that nothing holds to.
`&&` and `has` stay: without them most mutants do not fit the schema and are refused at the start anyway.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import given as over
from hypothesis import strategies as st

from gateway.cedar import FOLDER, GROUP_OF, ROWS, Cedar, PoliciesUnusable, Question
from gateway.contract import Reason
from gateway.decide import _person_question, _purchase_question, decide_recall, decide_refund
from gateway.facts import PersonFacts, PurchaseFacts, RefundFacts, entity, ref, seconds
from gateway.listing import question_in, question_of
from tests.gateway import reference
from tests.gateway.reference import Answer
from tests.gateway.reference_cases import (
    HIGHEST,
    LOWEST,
    people,
    purchases,
    refunds,
    spoiled_purchases,
    spoiled_refunds,
)
from tests.gateway.test_reference import CEDAR
from tests.support.cases import always, cases

CORPUS_CASES = 2_000
WEIGHED = sorted(GROUP_OF) + ["purchase"] * len(GROUP_OF)
"""Half of the questions are about purchases: they have by far the most conditions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the gateway asks it, and what the reference says to the facts behind it."""

    question: Question
    expected: Answer


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """Of any action."""
    action = draw(st.sampled_from(WEIGHED))
    if action == "purchase":
        return _about_purchase(*draw(purchases()))
    if action == "refund":
        return _about_refund(*draw(refunds()))
    if action in ROWS:
        return _about_row(action, *draw(people()), draw(st.sampled_from(reference.ROWS_TO_SEE)))
    return _about_person(action, *draw(people()))


def _about_purchase(facts: PurchaseFacts, now: datetime) -> Asked:
    """The question alone: deciding would look for remedies too, which asks the engine a hundred times more."""
    return Asked(_purchase_question(facts, now), reference.purchase(facts, now))


def _about_refund(facts: RefundFacts, now: datetime) -> Asked:
    return Asked(decide_refund(CEDAR, facts, now).question, reference.refund(facts))


def _about_row(action: str, facts: PersonFacts, now: datetime, row: reference.Row) -> Asked:
    question = question_in(action, facts, now)
    if action == "see_conversation":
        question = question_of(action, facts.caller, {"now": seconds(now)}, ())
    attrs = {"brand": ref("Brand", row.brand_id), **ROW_PARTS[action](row)}
    named = entity(f"{action.removeprefix('see_').title()}Row", "x", attrs)
    whole = replace(question, resource=named["uid"], entities=(*question.entities, named))
    return Asked(whole, reference.row(action, facts, row))


ROW_PARTS: dict[str, Callable[[reference.Row], dict[str, Any]]] = {
    "see_purchase": lambda row: {
        "subject": ref("Subject", row.subject_id),
        "client_id": row.client_id,
        "state": "paid",
        "amount_minor": 1,
        "currency": "USD",
    },
    "see_mandate": lambda row: {"subject": ref("Subject", row.subject_id), "currency": "USD", "revoked": row.over},
    "see_conversation": lambda row: {"client_id": row.client_id, "channel": "chat", "closed": row.over},
}


def _about_person(action: str, facts: PersonFacts, now: datetime) -> Asked:
    if action == "recall":
        decision, tier = decide_recall(CEDAR, facts, now)
        return Asked(decision.question, reference.recall(facts, tier))
    return Asked(_person_question(action, facts, now, tier=0), reference.about_person(action, facts))


WRONG_FOR: dict[type, tuple[Any, ...]] = {
    bool: (1, 0, "true", None, [True]),
    int: ("1", 1.5, 1.0, True, None, [1], HIGHEST + 1, LOWEST - 1),
    str: (1, True, None, ["x"], {"x": 1}),
    list: ("x", 1, None, [1], [["x"]], {"x": 1}),
    dict: ("x", 1, None, [], {}, ref("Nothing", "x"), ref("Caller", "agt_larkspur")),
}
"""Values of other types than the right one."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a question: in its context, or in an entity's attributes."""

    entity: int | None
    name: str


def holes(question: Question) -> list[Hole]:
    in_context = [Hole(None, name) for name in question.context]
    return in_context + [
        Hole(place, name) for place, entity in enumerate(question.entities) for name in entity["attrs"]
    ]


def with_part(question: Question, hole: Hole, change: Any) -> Question:
    """`change` is what takes the part's place; `...` removes it."""

    def changed(parts: Any) -> dict[str, Any]:
        kept = {name: value for name, value in parts.items() if name != hole.name}
        return kept if change is ... else kept | {hole.name: change}

    entities, context = list(question.entities), dict(question.context)
    if hole.entity is None:
        context = changed(context)
    else:
        entity = entities[hole.entity]
        entities[hole.entity] = {**entity, "attrs": changed(entity["attrs"])}
    return Question(question.action, question.principal, question.resource, context, tuple(entities))


def without_entity(question: Question, place: int) -> Question:
    entities = question.entities[:place] + question.entities[place + 1 :]
    return Question(question.action, question.principal, question.resource, question.context, entities)


def needless(question: Question, hole: Hole) -> bool:
    """An approval of what needs none: without it the answer is the same."""
    numbers = {name: value for entity in question.entities for name, value in entity["attrs"].items()}
    return hole == Hole(None, "approval") and numbers["amount_minor"] <= numbers.get("approval_above_minor", LOWEST)


@cases(200)
@over(questions(), st.data())
@pytest.mark.control("UC-D.1")
def test_a_question_with_anything_missing_is_never_allowed(asked: Asked, data: st.DataObject):
    question = asked.question
    missing_entity = [without_entity(question, place) for place in range(len(question.entities))]
    missing_part = [with_part(question, hole, ...) for hole in holes(question) if not needless(question, hole)]

    verdict = CEDAR.answer(data.draw(st.sampled_from([*missing_entity, *missing_part])))

    assert not verdict.allowed
    assert verdict.reasons


@cases(200)
@over(questions(), st.data())
@pytest.mark.control("UC-D.1")
def test_a_question_with_anything_of_another_type_is_an_evaluation_error(asked: Asked, data: st.DataObject):
    question = asked.question
    hole = data.draw(st.sampled_from(holes(question)))
    parts = question.context if hole.entity is None else question.entities[hole.entity]["attrs"]
    wrong = data.draw(st.sampled_from(WRONG_FOR[type(parts[hole.name])]))

    verdict = CEDAR.answer(with_part(question, hole, wrong))

    assert not verdict.allowed
    assert verdict.reasons == (Reason.EVALUATION_ERROR,)


COMPLEMENT = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
NEIGHBOUR = {"<=": "<", ">": ">="}
"""One step off, where that is not made up for by the other half of the rule."""
CONDITION = re.compile(
    r"(?P<operator>[=!<>]=|(?<![<=>!])[<>](?!=))"
    r"|(?P<negated>!?)(?P<call>(?:\[[^\]]*\]|\b[\w.]+)\.(?:contains(?:Any|All)?|isEmpty)\()"
    r"|(?P<flag_negated>!?)(?P<flag>\b(?:resource\.(?:paid|closed)|context\.mandate\.revoked)\b)"
    r"|(?P<when>\b(?:when|unless)(?= \{))"
)


def mutations(text: str) -> Iterator[tuple[str, str]]:
    """Each with its name: the line and what it was changed to."""
    for found in CONDITION.finditer(text):
        if _is_no_condition(text, found.start()):
            continue
        operator = found["operator"]
        steps = [COMPLEMENT[operator], NEIGHBOUR.get(operator)] if operator else [_turned(found)]
        line = text.count("\n", 0, found.start()) + 1
        for replacement in filter(None, steps):
            yield f"{line}:{found[0]}->{replacement}", text[: found.start()] + replacement + text[found.end() :]


def _turned(found: re.Match[str]) -> str:
    if found["when"]:
        return "unless" if found["when"] == "when" else "when"
    negated, kept = (found["negated"], found["call"]) if found["call"] else (found["flag_negated"], found["flag"])
    return kept if negated else f"!{kept}"


def _is_no_condition(text: str, place: int) -> bool:
    """In a remark, or in a head: `permit (principal, action == …` says what the rule is about."""
    line = text[text.rfind("\n", 0, place) + 1 :]
    return line.startswith(("permit (", "forbid (")) or "//" in text[text.rfind("\n", 0, place) + 1 : place]


MUTANTS = {
    f"{file.name}:{name}": (file.name, mutated)
    for file in sorted((FOLDER / "policies").glob("*.cedar"))
    for name, mutated in mutations(file.read_text())
}


@pytest.fixture(scope="module")
def corpus() -> list[Asked]:
    """Random ones, which are others whenever `questions` is changed, after those in which nothing is left to luck."""
    kept = [_about_purchase(*case) for case in spoiled_purchases()]
    kept += [_about_refund(*case) for case in spoiled_refunds()]

    @always(CORPUS_CASES, phases=(Phase.generate,), derandomize=True, database=None)
    @over(questions())
    def keep(asked: Asked):
        kept.append(asked)

    keep()
    return kept


def agrees(cedar: Cedar, asked: Asked) -> bool:
    verdict = cedar.answer(asked.question)
    return Answer(verdict.allowed, frozenset(verdict.reasons)) == asked.expected


def test_the_unchanged_policies_agree_with_the_reference_everywhere(corpus: list[Asked]):
    assert len(MUTANTS) > 60
    assert sum(asked.expected.allowed for asked in corpus) > CORPUS_CASES // 10
    assert [asked for asked in corpus if not agrees(CEDAR, asked)] == []


@pytest.mark.parametrize(("file", "mutated"), MUTANTS.values(), ids=MUTANTS)
@pytest.mark.control("UC-D.1")
def test_a_condition_turned_round_is_noticed(tmp_path: Path, corpus: list[Asked], file: str, mutated: str):
    (tmp_path / "policies").mkdir()
    (tmp_path / "schema.cedarschema").write_text((FOLDER / "schema.cedarschema").read_text())
    for each in (FOLDER / "policies").glob("*.cedar"):
        (tmp_path / "policies" / each.name).write_text(mutated if each.name == file else each.read_text())

    try:
        changed = Cedar.load(tmp_path)
    except PoliciesUnusable:
        return

    group = file.removesuffix(".cedar")
    assert not all(agrees(changed, asked) for asked in corpus if GROUP_OF[asked.question.action] == group)
