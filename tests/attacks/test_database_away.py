"""The databases stop under a running house: every service says so at once, does nothing, and comes back by itself."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.grants import GrantMint
from gateway.settings import load_keys
from infra.chassis.clock import SystemClock
from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.conversation import BRAND
from infra.dev.house import House
from infra.dev.provisioning import agent_id
from tests.support.house import throwaway_house
from tests.support.waiting import wait_until

WHOSE = {"tenant_id": "tnt_north", "brand_id": "brd_lamps", "subject_id": "sub_ada"}
RECALL = {**WHOSE, "query": "", "tier_max": 1, "limit": 10}
CAPTURE = {
    **WHOSE, "capture_id": "cap_lamp", "purchase_id": "pur_lamp", "brand_name": "Lamps", "amount_minor": 1,
    "currency": "USD",
}  # fmt: skip
ANSWER_SECONDS_MAX = 8.0


@pytest.fixture(scope="module")
def own_house(throwaway_folder: Path) -> Iterator[House]:
    with throwaway_house(throwaway_folder / "away") as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@contextmanager
def no_databases(house: House) -> Iterator[None]:
    for cluster in house.clusters.values():
        cluster.stop()
    try:
        yield
    finally:
        for cluster in house.clusters.values():
            cluster.start()


async def test_without_its_database_every_service_answers_503_and_recovers(
    own_house: House, http: aiohttp.ClientSession
):
    agent = ChatAgent(http, own_house.urls["gateway"], agent_id(BRAND), own_house.agent_key(BRAND))
    await agent.sign_in()
    opened = await agent.post("/v1/conversations", {"brand_id": BRAND, "channel": "chat"}, expect=201)
    path = f"/v1/conversations/{opened['conversation_id']}"

    with no_databases(own_house):
        started = time.monotonic()
        from_agent = await agent.post(f"{path}/challenges", {"method": "email_code"})
        answers = [
            await said(http, "GET", own_house.urls["gateway"] + "/captures/cap_lamp"),
            await said(http, "GET", own_house.urls["vault_page"] + "/captures/cap_lamp", {"Cookie": "capture=tnt_a.b"}),
            await said(http, "POST", own_house.urls["gateway"] + "/oauth/register", body={"redirect_uris": ["a.b:/c"]}),
            await ordered(http, own_house, "memory", "/v1/recalls", "recall", RECALL),
            await ordered(http, own_house, "vault", "/v1/captures", "capture_card", CAPTURE),
        ]
        seconds = time.monotonic() - started

    assert [from_agent["http_status"], *answers] == [503] * 6
    assert from_agent["code"] == "database_unreachable"
    assert seconds < ANSWER_SECONDS_MAX

    async def back() -> bool:
        return bool((await agent.post(f"{path}/challenges", {"method": "email_code"}))["http_status"] == 409)

    await wait_until(back)
    assert own_house.ended() == {}


async def said(
    http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str] | None = None, body: Any = None
) -> int:
    async with http.request(method, url, headers=headers, json=body) as answer:
        return answer.status


async def ordered(
    http: aiohttp.ClientSession, house: House, service: str, path: str, action: str, order: dict[str, Any]
) -> int:
    """An order with a sound grant."""
    keys = load_keys(house.keyring.path("gateway/keys"))
    mint = GrantMint(keys.grant, house.urls["gateway"], SystemClock(), keys.sender)
    grant = mint.mint(
        audience=service,
        action=action,
        actor="agt_lamps",
        tenant_id=WHOSE["tenant_id"],
        brand_id=WHOSE["brand_id"],
        subject_id=WHOSE["subject_id"],
        decision_id="dec_lamp",
        parameters=order,
    )
    return await said(http, "POST", house.urls[service] + path, mint.headers(grant, method="POST", path=path), order)
