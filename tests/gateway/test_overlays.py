"""What may be laid over the policies: never more than a restriction, never what stops the engine; what is warned of."""

import json
from typing import Any

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from gateway.cedar import Cedar, PoliciesUnusable
from gateway.contract import AssuranceLevel, PolicyGroup, Reason
from gateway.decide import decide_purchase, decide_recall
from gateway.errors import PolicyRefused
from gateway.overlays.analysis import findings_in, usable
from gateway.overlays.limits import POLICIES_MAX, POLICY_LENGTH_MAX, require_limits
from tests.gateway import given
from tests.gateway.shop import Shop
from tests.gateway.test_policies import NO_DEAR_THINGS, NO_REFUNDS, Desk
from tests.support.cases import cases

OURS = Cedar.load()
HEAD = '@id("tenant_rule") forbid (principal, action == Action::"purchase", resource) '
CONDITIONS = st.sampled_from(
    [
        "",
        "when { resource.amount_minor > 3000 }",
        "unless { context has mandate }",
        "when { context has mandate && context.mandate.revoked }",
        'when { principal.kind == "assistant" }',
        "when { context.level < 3 }",
        "when { resource.amount_minor * 4611686018427387904 > 7 }",
        'when { resource.currency like "U*" } unless { context.conversation has subject }',
        "when { false }",
    ]
)
REASONS = st.sampled_from(["tenant_rule", "over_day_cap", "no_mandate"])


@pytest.mark.control("UC-D.13")
@cases(250)
@over(
    rules=st.lists(st.tuples(REASONS, CONDITIONS), min_size=1, max_size=4),
    amount=st.integers(min_value=-1, max_value=6_000),
    level=st.sampled_from(AssuranceLevel),
    has_mandate=st.booleans(),
    revoked=st.booleans(),
)
def test_whatever_is_laid_over_the_policies_allows_nothing_that_they_deny(
    rules: list[tuple[str, str]], amount: int, level: AssuranceLevel, has_mandate: bool, revoked: bool
):
    text = "\n".join(HEAD.replace("tenant_rule", reason) + condition + ";" for reason, condition in rules)
    facts = given.purchase(
        level=level,
        quote=given.quote(amount_minor=amount),
        mandate=given.mandate(revoked=revoked) if has_mandate else None,
    )

    ours = decide_purchase(OURS, facts, given.NOW)
    laid = decide_purchase(usable(OURS, {PolicyGroup.PURCHASE: text}), facts, given.NOW)

    assert ours.allowed or not laid.allowed
    assert laid.policy_sha256 != ours.policy_sha256
    if not ours.allowed and Reason.EVALUATION_ERROR not in (*ours.reasons, *laid.reasons):
        assert set(ours.reasons) <= set(laid.reasons)


def test_a_rule_that_lowers_a_tier_lowers_the_recall_and_its_remedies():
    text = HEAD.replace("purchase", "recall") + "when { resource.tier > 1 };"

    decision, tier = decide_recall(usable(OURS, {PolicyGroup.MEMORY: text}), given.person(), given.NOW)

    assert (decision.allowed, tier, decision.remedies) == (True, 1, ())


REFUSED = {
    "a permit": ("restrict", HEAD.replace("forbid", "permit").replace("tenant_rule", "within_mandate") + ";"),
    "a permit behind a remark": ("restrict", HEAD + ";\n// ;\n" + HEAD.replace("forbid", "permit") + ";"),
    "no reason": ("restrict", HEAD.replace('@id("tenant_rule")', "") + ";"),
    "a reason for an allow": ("restrict", HEAD.replace("tenant_rule", "caller_may") + ";"),
    "the engine's own reason": ("restrict", HEAD.replace("tenant_rule", "evaluation_error") + ";"),
    "an unknown reason": ("restrict", HEAD.replace("tenant_rule", "because") + ";"),
    "an action of another group": ("restrict", HEAD.replace("purchase", "refund") + ";"),
    "an action nobody has": ("restrict", HEAD.replace("purchase", "Pay") + ";"),
    "a template": ("restrict", HEAD.replace("principal", "principal == ?principal") + ";"),
    "no policy's end": ("restrict", HEAD),
    "an id twice": ("restrict", '@id("tenant_rule") ' + HEAD + ";"),
    "an optional attribute unasked": ("validate", HEAD + "when { context.mandate.revoked };"),
    "an attribute nobody has": ("validate", HEAD + "when { context.colour };"),
    "a text for a number": ("validate", HEAD + 'when { resource.amount_minor == "1" };'),
    "an entity nobody has": ("validate", HEAD + 'when { principal == Person::"ada" };'),
    "deep": ("limits", HEAD + "when { " + "(" * 300 + "true" + ")" * 300 + " };"),
    "deep behind a string with a bracket": ("limits", HEAD + 'when { "\\")]" == "" || ' + "[" * 20 + "]" * 20 + " };"),
    "deep behind a remark": ("limits", "// ])}\n" + HEAD + "when { " + "(" * 17 + "true" + ")" * 17 + " };"),
    "long": ("limits", HEAD + "when { true" + " || true" * 200 + " };"),
    "too many": ("limits", (HEAD + ";\n") * (POLICIES_MAX + 1)),
    "NUL": ("limits", HEAD + "when { true };\0"),
    "turned around": ("limits", HEAD + "when { true }; // \u202e"),
    "a byte order mark": ("limits", "\ufeff" + HEAD + ";"),
    "a return only": ("limits", "// a remark\r" + HEAD + ";"),
}


@pytest.mark.control("UC-D.13")
@pytest.mark.parametrize(("stage", "text"), REFUSED.values(), ids=REFUSED)
def test_what_does_more_than_restrict_is_refused_and_the_stage_is_named(stage: str, text: str):
    with pytest.raises(PolicyRefused) as refused:
        usable(OURS, {PolicyGroup.PURCHASE: text})

    assert refused.value.extra["stage"] == stage
    assert refused.value.extra["finding"].startswith("purchase.cedar")


async def test_what_is_refused_at_the_door_is_not_stored(shop: Shop):
    desk = Desk(shop)
    before = await desk.ask("GET", "")

    answers = [
        await desk.call("POST", "", {"overlay": {"purchase": REFUSED["deep"][1]}}),
        await desk.call("POST", "", {"overlay": {"purchase": HEAD}}),
        await desk.call("POST", "", {"overlay": {}}),
        await desk.call("POST", "", {"overlay": {"payment": NO_REFUNDS}}),
        await desk.call("POST", "", {"overlay": {"refund": 1}}),
        await desk.call("POST", "", {"overlay": {"refund": NO_REFUNDS + "// 4242 4242 4242 4242"}}),
    ]

    assert [answer.status_code for answer in answers] == [422] * 6
    codes = [answer.json()["code"] for answer in answers]
    assert codes == ["policy_refused"] * 2 + ["fields_invalid"] * 3 + ["card_number_refused"]
    assert await desk.ask("GET", "") == before


def test_the_longest_that_is_taken_does_not_hurt_the_engine():
    chain = HEAD + "when { true" + " || true" * ((POLICY_LENGTH_MAX - len(HEAD) - 20) // 8) + " };"
    nested = HEAD + "when { " + "(" * 14 + "true" + ")" * 14 + " };"

    laid = usable(OURS, {PolicyGroup.PURCHASE: chain + "\n" + nested})

    assert decide_purchase(laid, given.purchase(), given.NOW).reasons == (Reason.TENANT_RULE,)


def test_limits_count_each_policy_by_itself():
    require_limits("purchase", (HEAD + "when { true };\n") * POLICIES_MAX)

    with pytest.raises(PoliciesUnusable, match="policy 2"):
        require_limits("purchase", HEAD + ";" + HEAD + " " * POLICY_LENGTH_MAX + ";")


WARNED = {
    "unconditional": (HEAD + ";", ["unconditional_forbid", "nothing_allowed"]),
    "unconditional in other words": (HEAD + "when { 1 == 1 };", ["nothing_allowed"]),
    "for one caller only": (HEAD.replace("principal", 'principal == Caller::"agt_x"') + ";", []),
    "arithmetic": (HEAD + "when { resource.amount_minor + 1 > 8000 };", ["arithmetic"]),
    "minus": (HEAD + "when { -resource.amount_minor > 1 };", ["arithmetic"]),
    "said twice": (HEAD + "when { context.level < 1 };\n" * 1 + HEAD + "when {context.level<1};", ["duplicate_policy"]),
    "nothing to say": (HEAD + "when { resource.amount_minor > 100000 };", []),
}


@pytest.mark.parametrize(("text", "codes"), WARNED.values(), ids=WARNED)
def test_what_is_known_before_a_version_decides_is_said(text: str, codes: list[str]):
    overlay = {PolicyGroup.PURCHASE: text}

    found = findings_in(overlay, OURS, usable(OURS, overlay))

    assert [finding.code for finding in found] == codes


async def test_an_upload_says_what_the_last_decisions_would_have_been(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    dear = await talk.buy(await new_shop.checkout(4_000))
    await talk.buy(await new_shop.checkout(1_000))
    await talk.buy(await new_shop.checkout(8_000))

    version = await desk.ask("POST", "", {"overlay": {"purchase": NO_DEAR_THINGS}})

    replay = version["analysis"]["replay"]
    assert (replay["replayed"], replay["changed"], replay["unusable"]) == (3, 2, 0)
    changes = {tuple(change["before"]): change for change in replay["changes"]}
    allowed = changes["within_mandate",]
    assert (allowed["outcome_before"], allowed["outcome_after"], allowed["after"]) == ("allow", "deny", ["tenant_rule"])
    assert allowed["decision_ids"] == [dear["decision"]["receipt"]["decision_id"]]
    assert version["analysis"] == (await desk.ask("GET", f"/{version['version_sha256']}"))["analysis"]


@pytest.mark.control("UC-D.13")
async def test_a_version_that_was_changed_in_the_database_denies_everything(new_shop: Shop, as_owner: Any):
    talk = await new_shop.buyer()
    await Desk(new_shop).activated(purchase=NO_DEAR_THINGS)
    permit = HEAD.replace("forbid", "permit").replace("tenant_rule", "within_mandate") + ";"
    await as_owner(
        new_shop,
        f"UPDATE policy_versions SET overlay = '{json.dumps({'purchase': permit})}'",  # noqa: S608 - ours
    )

    bought = await talk.buy(await new_shop.checkout(1))
    recalled = await talk.post("/v1/recalls", query="lamps", limit=5)

    assert bought["decision"]["reasons"] == [Reason.EVALUATION_ERROR]
    assert recalled.json()["decision"]["reasons"] == [Reason.EVALUATION_ERROR]


@pytest.mark.control("UC-D.13")
def test_a_version_that_this_release_cannot_use_denies_what_it_is_about_and_only_that():
    refusing = OURS.refusing({"purchase": HEAD + "when { context.of_an_older_schema };"})

    bought = decide_purchase(refusing, given.purchase(), given.NOW)

    assert bought.reasons == (Reason.EVALUATION_ERROR,)
    assert bought.policy_sha256 != OURS.sha256_for("purchase")
    assert decide_recall(refusing, given.person(), given.NOW)[0].allowed


def test_different_texts_never_have_the_same_name():
    names = {
        OURS.sha256_for("purchase"),
        OURS.with_overlay({"purchase": HEAD + ";"}).sha256_for("purchase"),
        OURS.with_overlay({"purchase": "\n" + HEAD + ";"}).sha256_for("purchase"),
        OURS.refusing({"purchase": ""}).sha256_for("purchase"),
    }

    assert len(names) == 4
    assert OURS.with_overlay({"refund": NO_REFUNDS}).sha256_for("purchase") == OURS.sha256_for("purchase")
