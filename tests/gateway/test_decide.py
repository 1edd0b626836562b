"""The decision: which facts allow, which objections a denial names, which remedies are found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.callers import CallerKind
from gateway.cedar import FOLDER, Cedar, PoliciesUnusable, Question
from gateway.contract import AssuranceLevel, ChallengeMethod, LevelName, Outcome, Reason, Remedy, RemedyKind
from gateway.decide import decide_about_person, decide_purchase, decide_recall, decide_refund
from gateway.facts import caller_entity, ref
from infra.chassis.canonical import canonical_json
from tests.gateway import given
from tests.gateway.given import NOW

CEDAR = Cedar.load()
EVERY_METHOD = [
    ChallengeMethod.EMAIL_CODE,
    ChallengeMethod.SMS_CODE,
    ChallengeMethod.OPENID_LOGIN,
    ChallengeMethod.PHONE_APPROVAL,
    ChallengeMethod.PASSKEY,
]
"""In the order of what they cost the person."""
STEP_UP = Remedy(kind=RemedyKind.STEP_UP, level=LevelName.VERIFIED, methods=EVERY_METHOD)


def test_a_purchase_within_the_mandate_is_allowed_and_says_why():
    decision = decide_purchase(CEDAR, given.purchase(), NOW)

    assert decision.allowed
    assert decision.reasons == (Reason.WITHIN_MANDATE,)
    assert decision.remedies == ()


DENIED = {
    "level fell": (given.purchase(level=AssuranceLevel.ANONYMOUS), [Reason.ASSURANCE_TOO_LOW]),
    "only recognised": (given.purchase(level=AssuranceLevel.RECOGNISED), [Reason.ASSURANCE_TOO_LOW]),
    "nobody known": (given.unknown_person(), [Reason.ASSURANCE_TOO_LOW, Reason.SUBJECT_UNKNOWN]),
    "no mandate": (given.purchase(mandate=None), [Reason.NO_MANDATE]),
    "another's mandate": (given.purchase(mandate=given.mandate(subject_id="sub_eve")), [Reason.NO_MANDATE]),
    "revoked": (given.purchase(mandate=given.mandate(revoked=True)), [Reason.MANDATE_REVOKED]),
    "expired": (given.purchase(mandate=given.mandate(expires_at=NOW)), [Reason.MANDATE_EXPIRED]),
    "one cent over": (given.purchase(quote=given.quote(amount_minor=5_001)), [Reason.OVER_PAYMENT_CAP]),
    "day is full": (given.purchase(mandate=given.mandate(taken=given.taken(5_001))), [Reason.OVER_DAY_CAP]),
    "other currency": (given.purchase(quote=given.quote(currency="EUR")), [Reason.CURRENCY_NOT_COVERED]),
    "other payee": (given.purchase(mandate=given.mandate(payees=("brd_other",))), [Reason.PAYEE_NOT_COVERED]),
    "not delegated": (given.purchase(mandate=given.mandate(delegates=("ast_x",))), [Reason.CALLER_NOT_COVERED]),
    "no scope": (given.purchase(caller=given.agent(scopes=frozenset())), [Reason.SCOPE_MISSING]),
    "quote ran out": (given.purchase(quote=given.quote(expires_at=NOW)), [Reason.QUOTE_EXPIRED]),
    "cart changed": (given.purchase(cart_sha256="b" * 64), [Reason.CART_CHANGED]),
    "an mcp_server": (given.purchase(caller=given.agent(kind=CallerKind.MCP_SERVER)), [Reason.CALLER_NOT_COVERED]),
}


@pytest.mark.parametrize(("facts", "reasons"), DENIED.values(), ids=DENIED)
def test_a_denied_purchase_names_exactly_what_is_wrong(facts: Any, reasons: list[Reason]):
    decision = decide_purchase(CEDAR, facts, NOW)

    assert not decision.allowed
    assert list(decision.reasons) == reasons


def test_a_denial_names_every_objection_at_once():
    facts = given.purchase(
        level=AssuranceLevel.ANONYMOUS,
        quote=given.quote(amount_minor=10_000, expires_at=NOW),
        mandate=given.mandate(revoked=True),
    )

    decision = decide_purchase(CEDAR, facts, NOW)

    assert list(decision.reasons) == [
        Reason.ASSURANCE_TOO_LOW,
        Reason.MANDATE_REVOKED,
        Reason.OVER_PAYMENT_CAP,
        Reason.OVER_DAY_CAP,
        Reason.QUOTE_EXPIRED,
    ]


@pytest.mark.parametrize("amount_minor", [0, -1, -4_000, -(2**62)])
def test_zero_and_negative_amounts_are_never_allowed(amount_minor: int):
    decision = decide_purchase(CEDAR, given.purchase(quote=given.quote(amount_minor=amount_minor)), NOW)

    assert not decision.allowed


def test_a_level_that_fell_is_remedied_by_the_lowest_level_that_would_allow():
    decision = decide_purchase(CEDAR, given.purchase(level=AssuranceLevel.ANONYMOUS), NOW)

    assert decision.remedies == (STEP_UP,)


def test_an_unknown_person_is_told_to_step_up_and_nothing_about_anybodys_mandate():
    decision = decide_purchase(CEDAR, given.unknown_person(), NOW)

    assert decision.remedies == (STEP_UP,)


def test_over_the_cap_the_highest_amount_that_would_pass_is_found():
    decision = decide_purchase(CEDAR, given.purchase(quote=given.quote(amount_minor=8_000)), NOW)

    lower = Remedy(kind=RemedyKind.LOWER_AMOUNT, amount_minor_max=5_000, currency="USD")
    assert decision.remedies == (lower, Remedy(kind=RemedyKind.NEW_MANDATE))


def test_what_was_taken_today_lowers_the_amount_that_would_pass():
    facts = given.purchase(mandate=given.mandate(taken=given.taken(8_999)))

    decision = decide_purchase(CEDAR, facts, NOW)

    assert decision.remedies[0].amount_minor_max == 1


def test_a_full_day_leaves_no_lower_amount():
    facts = given.purchase(mandate=given.mandate(taken=given.taken(9_000)))

    decision = decide_purchase(CEDAR, facts, NOW)

    assert [remedy.kind for remedy in decision.remedies] == [RemedyKind.NEW_MANDATE]


def test_a_changed_cart_asks_for_a_new_quote():
    decision = decide_purchase(CEDAR, given.purchase(cart_sha256="b" * 64), NOW)

    assert [remedy.kind for remedy in decision.remedies] == [RemedyKind.NEW_QUOTE]


def test_two_things_wrong_are_remedied_together():
    facts = given.purchase(level=AssuranceLevel.ANONYMOUS, mandate=None)

    decision = decide_purchase(CEDAR, facts, NOW)

    assert decision.remedies == (STEP_UP, Remedy(kind=RemedyKind.NEW_MANDATE))


def test_nothing_a_person_can_do_mends_a_missing_scope():
    decision = decide_purchase(CEDAR, given.purchase(caller=given.agent(scopes=frozenset())), NOW)

    assert decision.remedies == ()


TIER_MAX = {
    AssuranceLevel.ANONYMOUS: 0,
    AssuranceLevel.RECOGNISED: 1,
    AssuranceLevel.VERIFIED: 2,
    AssuranceLevel.STRONG: 3,
    AssuranceLevel.CONFIRMED: 4,
}


@pytest.mark.parametrize("level", AssuranceLevel)
def test_each_level_recalls_its_tier_and_names_the_levels_that_recall_more(level: AssuranceLevel):
    decision, tier_max = decide_recall(CEDAR, given.person(level), NOW)

    assert decision.allowed
    assert tier_max == TIER_MAX[level]
    higher = [LevelName(other.name.lower()) for other in AssuranceLevel if other > level]
    assert [remedy.level for remedy in decision.remedies] == higher


@pytest.mark.control("UC-M.1")
def test_nobody_known_recalls_nothing_and_learns_how_to_become_known():
    decision, tier_max = decide_recall(CEDAR, given.person(AssuranceLevel.ANONYMOUS, None), NOW)

    assert (decision.outcome, tier_max) == (Outcome.DENY, 0)
    assert decision.reasons == (Reason.SUBJECT_UNKNOWN,)
    assert decision.remedies[0].methods == EVERY_METHOD


@pytest.mark.parametrize("action", ["remember", "forget", "read_mandates", "revoke_mandate"])
def test_writing_about_a_person_needs_the_person_verified(action: str):
    low = decide_about_person(CEDAR, action, given.person(AssuranceLevel.RECOGNISED), NOW)
    enough = decide_about_person(CEDAR, action, given.person(AssuranceLevel.VERIFIED), NOW)

    assert (low.reasons, low.remedies) == ((Reason.ASSURANCE_TOO_LOW,), (STEP_UP,))
    assert (enough.reasons, enough.remedies) == ((Reason.CALLER_MAY,), ())


REFUNDS_DENIED = {
    "one cent too much": (given.refund(amount_minor=4_001), [Reason.OVER_REFUNDABLE]),
    "not paid": (given.refund(paid=False), [Reason.NOT_REFUNDABLE]),
    "other brand": (given.refund(brand_id="brd_other"), [Reason.CALLER_NOT_COVERED]),
    "an assistant": (
        given.refund(caller=given.agent(kind=CallerKind.ASSISTANT, scopes=frozenset({"purchase"}))),
        [Reason.CALLER_NOT_COVERED, Reason.SCOPE_MISSING],
    ),
}


@pytest.mark.parametrize(("facts", "reasons"), REFUNDS_DENIED.values(), ids=REFUNDS_DENIED)
def test_a_denied_refund_names_what_is_wrong(facts: Any, reasons: list[Reason]):
    decision = decide_refund(CEDAR, facts, NOW)

    assert not decision.allowed
    assert list(decision.reasons) == reasons


def test_a_refund_of_what_is_left_is_allowed():
    assert decide_refund(CEDAR, given.refund(), NOW).reasons == (Reason.CALLER_MAY,)


def asked(**changes: Any):
    """A purchase question that would be allowed, broken in one place."""
    question = decide_purchase(CEDAR, given.purchase(), NOW).question
    parts = {
        "action": question.action,
        "principal": question.principal,
        "resource": question.resource,
        "context": question.context,
        "entities": question.entities,
    }
    return Question(**{**parts, **changes})


def without(name: str):
    context = dict(asked().context)
    del context[name]
    return context


def changed_entity(place: int, **attrs: Any):
    entities = list(asked().entities)
    entities[place] = {**entities[place], "attrs": {**entities[place]["attrs"], **attrs}}
    return tuple(entities)


BROKEN = {
    "mandate not among the entities": asked(entities=asked().entities[:3]),
    "conversation not among the entities": asked(entities=(*asked().entities[:1], *asked().entities[2:])),
    "caller not among the entities": asked(entities=asked().entities[1:]),
    "no entities": asked(entities=()),
    "level missing": asked(context=without("level")),
    "time missing": asked(context=without("now")),
    "extra key": asked(context={**asked().context, "is_admin": True}),
    "level as text": asked(context={**asked().context, "level": "4"}),
    "level as a fraction": asked(context={**asked().context, "level": 4.5}),
    "level beyond 64 bits": asked(context={**asked().context, "level": 2**64}),
    "caps that overflow": asked(entities=changed_entity(3, day_cap_minor=-(2**63), taken_today_minor=0)),
    "attribute missing": asked(entities=({**caller_entity(given.agent()), "attrs": {}}, *asked().entities[1:])),
    "unknown attribute": asked(entities=changed_entity(0, is_admin=True)),
    "mandate of another type": asked(context={**asked().context, "mandate": ref("Brand", "brd_larkspur")}),
    "unknown action": asked(action="everything"),
    "resource of another type": asked(resource={"type": "Purchase", "id": "cko_one"}),
    "principal of another type": asked(principal={"type": "Brand", "id": "brd_larkspur"}),
}


def test_the_unbroken_question_is_allowed():
    assert CEDAR.answer(asked()).allowed


@pytest.mark.parametrize("question", BROKEN.values(), ids=BROKEN)
@pytest.mark.control("UC-D.1")
def test_whatever_is_broken_about_a_question_is_a_deny(question: Question):
    verdict = CEDAR.answer(question)

    assert not verdict.allowed
    assert verdict.reasons == (Reason.EVALUATION_ERROR,)


def test_the_recorded_question_decides_the_same_again():
    decision = decide_purchase(CEDAR, given.purchase(quote=given.quote(amount_minor=8_000)), NOW)
    body = decision.body("dec_one")
    again = Question(
        action=body["action"],
        principal=body["principal"],
        resource=body["resource"],
        context=body["context"],
        entities=tuple(body["entities"]),
    )

    verdict = CEDAR.answer(again)

    assert [reason.value for reason in verdict.reasons] == body["reasons"]
    assert canonical_json(body) == canonical_json(decision.body("dec_one"))


def copied_policies(folder: Path) -> Path:
    (folder / "policies").mkdir()
    (folder / "schema.cedarschema").write_text((FOLDER / "schema.cedarschema").read_text())
    for file in (FOLDER / "policies").glob("*.cedar"):
        (folder / "policies" / file.name).write_text(file.read_text())
    return folder


@pytest.mark.parametrize(
    "policy",
    [
        "permit (principal, action, resource",
        '@id("caller_may") permit (principal, action == Action::"refund", resource) when { principal.nothing };',
        '@id("because") permit (principal, action == Action::"refund", resource);',
        'permit (principal, action == Action::"refund", resource);',
    ],
    ids=["does not parse", "does not fit the schema", "unknown reason", "no reason"],
)
def test_unusable_policies_keep_the_gateway_from_starting(tmp_path: Path, policy: str):
    folder = copied_policies(tmp_path)
    (folder / "policies" / "refund.cedar").write_text(policy)

    with pytest.raises(PoliciesUnusable):
        Cedar.load(folder)


@pytest.mark.control("UC-D.1")
def test_a_forbid_that_errors_does_not_let_a_request_through(tmp_path: Path):
    folder = copied_policies(tmp_path)
    with (folder / "policies" / "purchase.cedar").open("a") as policies:
        policies.write(
            '\n@id("over_day_cap")\nforbid (principal, action == Action::"purchase", resource)\n'
            "when { resource.amount_minor * 4611686018427387904 * 4 > 0 };\n"
        )

    decision = decide_purchase(Cedar.load(folder), given.purchase(), NOW)

    assert not decision.allowed
    assert decision.reasons == (Reason.EVALUATION_ERROR,)


def test_changed_policies_have_another_hash(tmp_path: Path):
    folder = copied_policies(tmp_path)
    with (folder / "policies" / "refund.cedar").open("a") as policies:
        policies.write("// a remark\n")

    changed = Cedar.load(folder)

    assert changed.sha256_for("refund") != CEDAR.sha256_for("refund")
    assert changed.sha256_for("purchase") == CEDAR.sha256_for("purchase")


def test_a_caller_of_two_brands_is_a_delegate_of_each():
    both = given.agent(brand_ids=frozenset({given.BRAND, "brd_other"}))

    decision = decide_purchase(CEDAR, replace(given.purchase(), caller=both), NOW)

    assert decision.allowed
