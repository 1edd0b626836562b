"""AuthZEN 1.0 for enforcement points: the standard's shapes, our facts, and nothing for anybody else."""

from typing import Any

import httpx2
import pytest

from tests.gateway.points import EVALUATION, EVALUATIONS, Point
from tests.gateway.shop import (
    AGENT,
    AUTHZEN_URL,
    CART,
    MCP,
    OTHER_AGENT,
    SOUTH_AGENT,
    SOUTH_POINT,
    SOUTHERN,
    TSUBAKI,
    Shop,
    Talk,
)

ENFORCES = {"supported_mandatory_extensions": ["obligations"], "supported_obligations": ["step-up"]}
MISSING = {"status": 404, "message": "There is nothing here that you may see."}
NOTHING = {"decision": False, "context": {"error": MISSING}}


async def entries(shop: Shop) -> int:
    (row,) = await shop.rows("SELECT count(*) AS n FROM record_entries")
    return int(row["n"])


@pytest.mark.control("UC-7.6")
async def test_an_allow_and_a_deny_are_decided_on_our_facts_and_recorded(shop: Shop, point: Point):
    ada, checkout = await shop.buyer(payment_cap=5_000), await shop.checkout(4_000)
    dear = await shop.checkout(6_000)
    before = await entries(shop)

    allowed = await point.may(ada, "purchase", "checkout", checkout, properties={"cart_sha256": CART})
    denied = await point.may(ada, "purchase", "checkout", dear)

    assert (allowed["decision"], allowed["context"]["reasons"]) == (True, ["within_mandate"])
    assert (denied["decision"], denied["context"]["reasons"]) == (False, ["over_payment_cap"])
    assert denied["context"]["remedies"][0] == {"kind": "lower_amount", "amount_minor_max": 5_000, "currency": "USD"}
    assert await entries(shop) == before + 2
    assert await shop.taken(ada) == 0


@pytest.mark.control("UC-7.6")
async def test_no_property_that_is_sent_becomes_a_fact(shop: Shop, point: Point):
    talk, checkout = await shop.chat(), await shop.checkout(4_000)
    lies = {"subject_id": "sub_ada", "level": 4, "owner": "sub_ada", "amount_minor": 1, "role": "admin", "risk": 0.1}

    plain = await point.may(talk, "purchase", "checkout", checkout)
    lied = await point.ask(
        EVALUATION,
        subject={"type": "conversation", "id": talk.conversation_id, "properties": lies},
        action={"name": "purchase", "properties": lies},
        resource={"type": "checkout", "id": checkout, "properties": lies},
        context={"level": 4, "assurance": "confirmed", "time": "2026-11-21T12:00:00Z"},
        future_field={"nested": True},
    )

    assert plain["decision"] is lied["decision"] is False
    assert plain["context"]["reasons"] == lied["context"]["reasons"] == ["assurance_too_low", "subject_unknown"]


@pytest.mark.control("UC-7.6")
async def test_a_step_up_is_an_obligation_for_whoever_promises_to_enforce_it(shop: Shop, point: Point):
    talk = await shop.chat("somebody@example.com")

    plain = await point.may(talk, "recall", "memories", f"{talk.conversation_id}:2")
    adopted = await point.may(talk, "recall", "memories", f"{talk.conversation_id}:2", context=ENFORCES)
    unlisted = await point.may(
        talk, "recall", "memories", f"{talk.conversation_id}:2", context={**ENFORCES, "supported_obligations": []}
    )

    assert plain["decision"] is adopted["decision"] is False
    assert "obligations" not in plain["context"]
    assert "obligations" not in unlisted["context"]
    (obligation,) = adopted["context"]["obligations"]
    assert obligation.keys() == {"id", "type", "properties"}
    assert (obligation["type"], obligation["properties"]) == (
        "step-up",
        {"acr_value": "urn:undercroft:acr:verified"},
    )


@pytest.mark.control("UC-7.4", "UC-7.6")
async def test_what_is_not_its_tenants_and_brands_is_as_missing_as_what_never_was(shop: Shop, point: Point):
    ada, closed = await shop.buyer(), await shop.chat()
    checkout = await shop.checkout()
    tsubaki = await shop.verified_chat(agent=OTHER_AGENT, brand_id=TSUBAKI)
    south = await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)
    await closed.call("DELETE", f"/v1/conversations/{closed.conversation_id}")
    eve = await shop.buyer()
    others = (await eve.buy(await shop.checkout()))["purchase_id"]
    before = await entries(shop)

    for talk in (tsubaki, south, closed, Talk(shop, AGENT, "cnv_nothing"), Talk(shop, AGENT, "no id' OR 1=1")):
        assert await point.may(talk, "purchase", "checkout", checkout) == NOTHING
        assert await point.may(talk, "remember", "conversation", talk.conversation_id) == NOTHING
    for kind, action, named in (
        ("checkout", "purchase", await shop.checkout(brand_id=TSUBAKI)),
        ("checkout", "purchase", "cko_nothing"),
        ("purchase", "refund", others),
        ("purchase", "refund", "pur_nothing"),
        ("mandate", "revoke_mandate", await shop.mandate(eve, payment_cap=1, day_cap=1)),
        ("memories", "recall", f"{eve.conversation_id}:0"),
        ("memories", "recall", f"{ada.conversation_id}:9"),
        ("conversation", "forget", eve.conversation_id),
        ("spaceship", "purchase", checkout),
        ("checkout", "refund", checkout),
    ):
        answer = await point.may(ada, action, kind, named, properties={"amount_minor": 1, "cart_sha256": CART})
        assert answer == NOTHING, (kind, action, named)
    assert await entries(shop) == before


@pytest.mark.control("UC-7.6")
async def test_only_an_enforcement_points_bearer_opens_it_and_that_opens_nothing_else(
    shop: Shop, authzen: httpx2.AsyncClient, point: Point
):
    assistant = await shop.assistant("ada-authzen@example.com")
    body = {"subject": {"type": "agent", "id": AGENT}}

    statuses = [
        (await Point(authzen, bearer).post(EVALUATION, body)).status_code
        for bearer in (await shop.bearer(AGENT), await shop.bearer(MCP), await assistant.bearer(), "nonsense")
    ]
    nobody = await authzen.post(EVALUATION, json=body)
    document = (await shop.client.get("/schema/openapi.json")).json()
    elsewhere = {
        (await shop.call("GET", path, point.bearer)).status_code
        for path, item in document["paths"].items()
        if path.startswith("/v1/") and "get" in item and "{" not in path
    }

    assert statuses == [403, 403, 403, 401]
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert elsewhere <= {403, 404, 422}


async def test_another_tenants_point_sees_its_own_and_nothing_of_ours(shop: Shop, authzen: httpx2.AsyncClient):
    ada, south = await shop.buyer(), await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)
    southern = Point(authzen, await shop.bearer(SOUTH_POINT))

    assert (await southern.may(south, "read_mandates", "conversation", south.conversation_id))["decision"] is True
    assert await southern.may(ada, "read_mandates", "conversation", ada.conversation_id) == NOTHING


async def test_an_assistant_is_asked_about_as_its_consent_stands(shop: Shop, point: Point):
    """A conversation without a consent in the store is nobody's to act in, whatever bearer there was."""
    talk = await shop.assistant("no-consent@example.com")

    assert await point.may(talk, "read_mandates", "conversation", talk.conversation_id) == NOTHING


async def test_several_are_answered_in_order_with_defaults_and_each_with_its_own_error(shop: Shop, point: Point):
    ada = await shop.buyer(payment_cap=5_000)
    fits, dear = await shop.checkout(1_000), await shop.checkout(6_000)
    subject = {"type": "conversation", "id": ada.conversation_id}

    answer = await point.ask(
        EVALUATIONS,
        subject=subject,
        action={"name": "purchase"},
        evaluations=[
            {"resource": {"type": "checkout", "id": fits}},
            {"resource": {"type": "checkout", "id": dear}},
            {},
            {"action": {"name": "read_mandates"}, "resource": subject},
        ],
    )

    assert answer.keys() == {"evaluations"}
    assert [one["decision"] for one in answer["evaluations"]] == [True, False, False, True]
    assert answer["evaluations"][2]["context"]["error"]["status"] == 400


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_the_three_semantics_stop_where_they_say(shop: Shop, point: Point, semantic: str, decisions: list[bool]):
    ada = await shop.buyer(payment_cap=5_000)
    checkouts = [await shop.checkout(amount) for amount in (1_000, 6_000, 1_000)]

    answer = await point.ask(
        EVALUATIONS,
        subject={"type": "conversation", "id": ada.conversation_id},
        action={"name": "purchase"},
        options={"evaluations_semantic": semantic},
        evaluations=[{"resource": {"type": "checkout", "id": one}} for one in checkouts],
    )

    assert [one["decision"] for one in answer["evaluations"]] == decisions


async def test_without_several_it_is_one(shop: Shop, point: Point):
    ada = await shop.buyer()
    whom = {"type": "conversation", "id": ada.conversation_id}

    asked = {"subject": whom, "action": {"name": "forget"}, "resource": whom}
    for body in (asked, {**asked, "evaluations": []}):
        answer = await point.ask(EVALUATIONS, **body)
        assert answer["decision"] is True


GOOD = {"subject": {"type": "a", "id": "b"}, "action": {"name": "c"}, "resource": {"type": "d", "id": "e"}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((EVALUATION, {name: value for name, value in GOOD.items() if name != gone}) for gone in GOOD),
        (EVALUATION, {**GOOD, "subject": {"id": "b"}}),
        (EVALUATION, {**GOOD, "subject": {"type": "a"}}),
        (EVALUATION, {**GOOD, "subject": "alice"}),
        (EVALUATION, {**GOOD, "action": {}}),
        (EVALUATION, {**GOOD, "action": {"name": 123}}),
        (EVALUATION, {**GOOD, "resource": {"type": "d"}}),
        (EVALUATION, {**GOOD, "context": []}),
        (EVALUATION, [GOOD]),
        (EVALUATIONS, {"evaluations": [GOOD], "options": {"evaluations_semantic": "whatever"}}),
        (EVALUATIONS, {"evaluations": [GOOD] * 51}),
        (EVALUATIONS, {"evaluations": "all"}),
        ("/access/v1/search/subject", {"subject": {"type": "a"}, "resource": GOOD["resource"]}),
        ("/access/v1/search/subject", {**GOOD, "resource": {"type": "d"}}),
        ("/access/v1/search/resource", {**GOOD, "subject": {"type": "a"}}),
        ("/access/v1/search/resource", {**GOOD, "page": {"token": "nonsense"}}),
        ("/access/v1/search/resource", {**GOOD, "page": {"limit": -1}}),
        ("/access/v1/search/action", {"subject": GOOD["subject"]}),
    ],
)
async def test_a_request_that_makes_no_sense_is_400(point: Point, path: str, body: Any):
    answer = await point.post(path, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "body_invalid")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"{}", "text/plain"),
        (b'{"a":1,"a":2}', "application/json"),
    ],
)
async def test_a_body_that_is_no_json_is_400(point: Point, content: bytes, kind: str):
    headers = {"Authorization": f"Bearer {point.bearer}", "Content-Type": kind}

    answer = await point.client.post(EVALUATION, content=content, headers=headers)

    assert answer.status_code == 400


async def test_a_refund_is_asked_about_with_its_amount(shop: Shop, point: Point):
    ada = await shop.buyer()
    purchase_id = (await shop.paid(ada, await shop.checkout(4_000)))["purchase_id"]
    asked = {
        "subject": {"type": "agent", "id": AGENT},
        "action": {"name": "refund"},
        "resource": {"type": "purchase", "id": purchase_id},
    }

    answers = [
        await point.post(EVALUATION, {**asked, "action": {"name": "refund", "properties": {"amount_minor": amount}}})
        for amount in (4_000, 4_001)
    ]
    without = await point.post(EVALUATION, asked)
    wrong = await point.post(EVALUATION, {**asked, "action": {"name": "refund", "properties": {"amount_minor": 1.5}}})

    assert [answer.json()["decision"] for answer in answers] == [True, False]
    assert [without.status_code, wrong.status_code] == [400, 400]


async def test_the_interop_scenarios_shapes_are_answered(point: Point):
    """The todo application's requests (openid/authzen, interop): none of its things is here, so each is a deny."""
    whom = {"type": "user", "id": "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"}
    todo = {"type": "todo", "id": "7240d0db-8ff0-41ec-98b2-34a096273b9f", "properties": {"ownerID": "rick@example.com"}}

    one = await point.ask(EVALUATION, subject=whom, action={"name": "can_update_todo"}, resource=todo)
    several = await point.ask(
        EVALUATIONS,
        subject=whom,
        action={"name": "can_update_todo"},
        context={"time": "2024-05-31T15:22-07:00"},
        evaluations=[{"resource": todo}, {"resource": {**todo, "id": "todo-1"}}],
    )

    assert one == NOTHING
    assert several == {"evaluations": [NOTHING, NOTHING]}


async def test_a_request_id_comes_back(point: Point):
    own = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"

    answers = [
        await point.post(EVALUATION, GOOD, **{"X-Request-ID": own}),
        await point.post(EVALUATION, {}, **{"X-Request-ID": own}),
        await point.post(EVALUATION, GOOD, **{"X-Request-ID": "x" * 201}),
    ]

    assert [answer.headers.get_list("x-request-id") for answer in answers[:2]] == [[own], [own]]
    assert answers[2].headers["x-request-id"].startswith("req_")


async def test_it_describes_itself_to_anybody(authzen: httpx2.AsyncClient):
    answer = await authzen.get("/.well-known/authzen-configuration")

    document = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert document["policy_decision_point"] == AUTHZEN_URL
    assert document["access_evaluation_endpoint"] == AUTHZEN_URL + EVALUATION
    assert document["search_action_endpoint"] == f"{AUTHZEN_URL}/access/v1/search/action"
    assert document["supported_obligations"] == ["step-up"]
