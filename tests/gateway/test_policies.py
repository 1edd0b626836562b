"""A tenant's own rules through the front door: upload, shadow, activate, roll back; who sees what of them."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from gateway.contract import PolicyState, Reason
from infra.dev.postgres import Cluster
from tests.gateway.shop import AGENT, DESK, MCP, SOUTH_DESK, Ground, Shop, open_shop

NO_REFUNDS = '@id("tenant_rule")\nforbid (principal, action == Action::"refund", resource);\n'
NO_DEAR_THINGS = (
    '@id("tenant_rule")\nforbid (principal, action == Action::"purchase", resource)\n'
    "when { resource.amount_minor > 3000 };\n"
)
NO_DEAR_PHONE_ORDERS = (
    '@id("tenant_rule")\nforbid (principal, action == Action::"purchase", resource)\n'
    "when { context.keyed_by_phone && resource.amount_minor > 3000 };\n"
)
NO_THINGS = '@id("cart_changed")\nforbid (principal, action == Action::"purchase", resource);\n'


class Desk:
    """The tenant's agent that may change its rules."""

    def __init__(self, shop: Shop, agent: str = DESK) -> None:
        self.shop = shop
        self.agent = agent

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> httpx2.Response:
        return await self.shop.call(method, f"/v1/policies{path}", await self.shop.bearer(self.agent), body, **query)

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        answer = await self.call(method, path, body, **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def upload(self, **overlay: str) -> str:
        return str((await self.ask("POST", "", {"overlay": overlay}))["version_sha256"])

    async def shadowed(self, **overlay: str) -> str:
        name = await self.upload(**overlay)
        await self.ask("POST", f"/{name}/shadow")
        return name

    async def activated(self, replaces: str | None = None, **overlay: str) -> str:
        name = await self.shadowed(**overlay)
        await self.ask("POST", f"/{name}/activations", {"replaces": replaces})
        return name

    async def state(self, name: str) -> str:
        return str((await self.ask("GET", f"/{name}"))["state"])


async def recorded(shop: Shop, decision_id: str) -> dict[str, Any]:
    answer = await shop.call("GET", f"/v1/record/entries/{decision_id}", await shop.bearer(DESK))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = json.loads(answer.json()["canonical"])["body"]
    return body


async def test_an_active_rule_denies_what_ours_allow_and_says_which_rules_decided(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    name = await desk.activated(purchase=NO_DEAR_THINGS)

    dear = await talk.buy(await new_shop.checkout(3_001))
    cheap = await talk.buy(await new_shop.checkout(3_000))

    assert (dear["state"], dear["decision"]["reasons"]) == ("denied", [Reason.TENANT_RULE])
    assert dear["decision"]["remedies"] == [
        {"kind": "lower_amount", "amount_minor_max": 3_000, "currency": "USD"},
    ]
    assert cheap["decision"]["outcome"] == "allow"
    body = await recorded(new_shop, dear["decision"]["receipt"]["decision_id"])
    assert body["policy_sha256"] == (await desk.ask("GET", f"/{name}"))["policy_sha256"]["purchase"]


async def test_a_rollback_goes_back_to_what_stood_before_and_at_last_to_ours_alone(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    first = await desk.activated(purchase=NO_THINGS)
    second = await desk.activated(replaces=first, purchase=NO_DEAR_THINGS)

    once = await desk.ask("POST", "/rollbacks", {"replaces": second})
    denied = await talk.buy(await new_shop.checkout(1))
    twice = await desk.ask("POST", "/rollbacks", {"replaces": first})
    allowed = await talk.buy(await new_shop.checkout(4_000))
    nothing_left = await desk.call("POST", "/rollbacks", {"replaces": None})

    assert (once["active_sha256"], twice["active_sha256"]) == (first, None)
    assert denied["decision"]["reasons"] == [Reason.CART_CHANGED]
    assert allowed["decision"]["outcome"] == "allow"
    assert nothing_left.status_code == 409
    assert [await desk.state(name) for name in (first, second)] == [PolicyState.RETIRED] * 2


async def test_every_change_of_what_stands_is_in_the_record(new_shop: Shop):
    desk = Desk(new_shop)
    name = await desk.shadowed(refund=NO_REFUNDS)

    change = await desk.ask("POST", f"/{name}/activations", {"replaces": None})

    body = await recorded(new_shop, change["event_id"])
    assert body["event"] == "policies_activated"
    assert (body["active_sha256"], body["replaced_sha256"], body["client_id"]) == (name, None, DESK)


@pytest.mark.parametrize("step", ["activations", "rollbacks"])
async def test_of_two_who_change_the_rules_at_once_one_wins_and_the_other_is_told(new_shop: Shop, step: str):
    desk = Desk(new_shop)
    first = await desk.activated(purchase=NO_DEAR_THINGS)
    other = await desk.shadowed(purchase=NO_THINGS)
    path = f"/{other}/activations" if step == "activations" else "/rollbacks"

    answers = await asyncio.gather(*(desk.call("POST", path, {"replaces": first}) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    told = next(answer.json() for answer in answers if answer.status_code == 409)
    assert told["active_sha256"] == (other if step == "activations" else None)


async def test_steps_that_the_life_of_a_version_does_not_have_are_refused(new_shop: Shop):
    desk = Desk(new_shop)
    name = await desk.upload(refund=NO_REFUNDS)

    unshadowed = await desk.call("POST", f"/{name}/activations", {"replaces": None})
    not_a_shadow = await desk.call("DELETE", f"/{name}/shadow")
    await desk.ask("POST", f"/{name}/shadow")
    again = await desk.call("POST", f"/{name}/shadow")
    mistaken = await desk.call("POST", f"/{name}/activations", {"replaces": name})
    await desk.ask("POST", f"/{name}/activations", {"replaces": None})
    active = await desk.call("POST", f"/{name}/shadow")

    refused = (unshadowed, not_a_shadow, again, mistaken, active)
    assert [answer.status_code for answer in refused] == [409] * 5
    assert {answer.json()["code"] for answer in refused} == {"policy_conflict"}


async def test_a_version_that_was_retired_takes_the_same_way_again(new_shop: Shop):
    desk = Desk(new_shop)
    name = await desk.activated(refund=NO_REFUNDS)
    await desk.ask("POST", "/rollbacks", {"replaces": name})

    await desk.ask("POST", f"/{name}/shadow")
    shadowed = await desk.state(name)
    await desk.ask("DELETE", f"/{name}/shadow")

    assert (shadowed, await desk.state(name)) == (PolicyState.SHADOW, PolicyState.RETIRED)


async def test_a_shadow_changes_no_answer_and_keeps_where_it_would_have_said_otherwise(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    name = await desk.shadowed(purchase=NO_DEAR_THINGS)

    dear = await talk.buy(await new_shop.checkout(4_000))
    await talk.buy(await new_shop.checkout(2_000))

    assert dear["decision"]["reasons"] == [Reason.WITHIN_MANDATE]
    found = await desk.ask("GET", f"/{name}/differences")
    (difference,) = found["differences"]
    assert found["total"] == 1
    assert difference["decision_id"] == dear["decision"]["receipt"]["decision_id"]
    assert (difference["outcome"], difference["shadow_outcome"]) == ("allow", "deny")
    assert difference["shadow_reasons"] == [Reason.TENANT_RULE]
    assert (await desk.ask("GET", f"/{name}/differences", after=found["next_after"]))["differences"] == []


async def test_a_shadow_that_errors_is_a_difference_and_no_more(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    overflowing = (
        '@id("tenant_rule") forbid (principal, action == Action::"purchase", resource)'
        " when { resource.amount_minor * 1000000000000000000 > 5 };"
    )
    name = await desk.shadowed(purchase=overflowing)

    bought = await talk.buy(await new_shop.checkout(2_000))

    assert bought["decision"]["outcome"] == "allow"
    (difference,) = (await desk.ask("GET", f"/{name}/differences"))["differences"]
    assert difference["shadow_reasons"] == [Reason.EVALUATION_ERROR]


async def test_a_shadow_whose_difference_cannot_be_stored_changes_no_answer(
    new_shop: Shop, clusters: dict[str, Cluster]
):
    desk, talk = Desk(new_shop), await new_shop.buyer()
    await desk.shadowed(purchase=NO_THINGS)
    database = new_shop.ground.app_dsn.rpartition("@/")[2].partition("?")[0]
    never = "ALTER TABLE policy_differences ADD CONSTRAINT never CHECK (false) NOT VALID"
    await asyncio.to_thread(clusters["house"].sql, never, database=database)

    bought = await talk.buy(await new_shop.checkout(2_000))

    assert bought["decision"]["outcome"] == "allow"
    assert (await recorded(new_shop, bought["decision"]["receipt"]["decision_id"]))["outcome"] == "allow"


async def test_a_shadow_sees_how_far_a_recall_would_go(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.verified_chat()
    name = await desk.shadowed(
        memory='@id("assurance_too_low") forbid (principal, action == Action::"recall", resource)'
        " when { resource.tier > 1 };"
    )

    recalled = await talk.post("/v1/recalls", query="lamps", limit=5)

    assert recalled.json()["tier_max"] == 2
    (difference,) = (await desk.ask("GET", f"/{name}/differences"))["differences"]
    assert (difference["action"], difference["shadow_outcome"]) == ("recall", "allow")


async def test_the_same_texts_are_the_same_version(new_shop: Shop):
    desk = Desk(new_shop)

    names = [await desk.upload(purchase=NO_THINGS, refund=NO_REFUNDS) for _ in range(2)]
    other = await desk.upload(purchase=NO_THINGS + "\n", refund=NO_REFUNDS)
    listed = await desk.ask("GET", "")

    assert names[0] == names[1] != other
    assert {version["version_sha256"] for version in listed["versions"]} == {names[0], other}
    assert {version["warnings"] for version in listed["versions"]} == {4}


@pytest.mark.control("UC-D.13")
async def test_another_tenants_version_is_not_found_whatever_is_asked_of_it(new_shop: Shop):
    name = await Desk(new_shop).shadowed(purchase=NO_THINGS)
    other = Desk(new_shop, SOUTH_DESK)
    missing = "0" * 64

    for method, path, body in (
        ("GET", "/{}", None),
        ("GET", "/{}/differences", None),
        ("POST", "/{}/shadow", None),
        ("DELETE", "/{}/shadow", None),
        ("POST", "/{}/activations", {"replaces": None}),
    ):
        foreign = await other.call(method, path.format(name), body)
        unknown = await other.call(method, path.format(missing), body)
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert _without_request(foreign) == _without_request(unknown)
    assert (await other.ask("GET", ""))["versions"] == []


async def test_one_tenants_rules_decide_nothing_for_another(new_shop: Shop):
    await Desk(new_shop).activated(memory='@id("tenant_rule") forbid (principal, action, resource);')

    here = await (await new_shop.verified_chat()).post("/v1/recalls", query="lamps", limit=5)
    there = await (await new_shop.verified_chat(agent="agt_southern", brand_id="brd_southern")).post(
        "/v1/recalls", query="lamps", limit=5
    )

    assert here.json()["decision"]["outcome"] == "deny"
    assert there.json()["decision"]["outcome"] == "allow"


async def test_only_agents_with_the_scope_reach_the_rules(shop: Shop):
    unscoped = await Desk(shop, AGENT).call("GET", "")
    machine = await Desk(shop, MCP).call("GET", "")
    nobody = await shop.client.get("/v1/policies")

    assert (unscoped.status_code, unscoped.json()["code"]) == (403, "scope_missing")
    assert (machine.status_code, nobody.status_code) == (404, 401)


async def test_processes_agree_on_what_stands_without_telling_each_other(ground: Ground):
    async with open_shop(ground) as one, open_shop(ground) as two:
        desk, talk = Desk(one), await two.buyer()
        before = await talk.buy(await two.checkout(4_000))

        name = await desk.activated(purchase=NO_DEAR_THINGS)
        after = await talk.buy(await two.checkout(4_000))
        await desk.ask("POST", "/rollbacks", {"replaces": name})
        restored = await talk.buy(await two.checkout(1_000))

    assert [answer["state"] for answer in (before, after, restored)] == ["needs_card", "denied", "needs_card"]


@pytest.mark.control("UC-D.13")
async def test_swapping_rules_under_load_drops_no_request_and_mixes_no_answer(new_shop: Shop):
    desk, talk = Desk(new_shop), await new_shop.verified_chat()
    open_sha = (await desk.ask("GET", f"/{await desk.upload(refund=NO_REFUNDS)}"))["policy_sha256"]["memory"]
    name = await desk.upload(memory='@id("tenant_rule") forbid (principal, action, resource);')
    closed_sha = (await desk.ask("GET", f"/{name}"))["policy_sha256"]["memory"]
    swapping = asyncio.create_task(_swap(desk, name, times=3))
    answers = []
    while not swapping.done():
        recall = {"conversation_id": talk.conversation_id, "action": "recall", "tier": 0}
        answers += await asyncio.gather(*(talk.call("POST", "/v1/decisions", recall) for _ in range(8)))
    await swapping

    assert {answer.status_code for answer in answers} == {200}
    seen = set()
    for answer in answers:
        body = await recorded(new_shop, answer.json()["receipt"]["decision_id"])
        seen.add((body["policy_sha256"], body["outcome"]))
        assert body["outcome"] == answer.json()["outcome"]
    assert seen == {(open_sha, "allow"), (closed_sha, "deny")}


async def _swap(desk: Desk, name: str, times: int) -> None:
    for _ in range(times):
        await desk.ask("POST", f"/{name}/shadow")
        await desk.ask("POST", f"/{name}/activations", {"replaces": None})
        await asyncio.sleep(0)
        await desk.ask("POST", "/rollbacks", {"replaces": name})


def _without_request(answer: httpx2.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}
