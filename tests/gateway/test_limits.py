"""Limits at the front door: who is counted, what is answered, and that the answer's promise is true."""

from contextlib import AbstractAsyncContextManager
from dataclasses import MISSING as MISSING_DEFAULT
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event, text

from gateway.bearers import Bearer, CallerKind
from gateway.provision import ManifestRefused, provision, read_manifest
from gateway.settings import PREFIX, Settings
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.chassis.settings import SettingsIncomplete, load
from infra.dev.house import House
from tests.gateway.moved_clock import MovedClock
from tests.gateway.shop import (
    AGENT,
    CART,
    LARKSPUR,
    MCP,
    NORTH,
    OTHER_AGENT,
    SOUTH,
    SOUTH_AGENT,
    Ground,
    Shop,
    Talk,
    manifest,
    open_shop,
    prepare,
)
from tests.support.database import DatabaseMaker

MISSING = "/v1/conversations/cnv_missing"


class StillClock(MovedClock):
    """Stands still until moved."""

    def __init__(self) -> None:
        super().__init__()
        self._start = super().now()

    def now(self) -> Any:
        return self._start + self._moved


@pytest.fixture(scope="module")
async def common(house: House, database: DatabaseMaker) -> Ground:
    return await prepare(house, database)


@pytest.fixture
async def still(common: Ground) -> Ground:
    """Every bucket is full."""
    engine = create_engine(Secret(common.app_dsn), pool_size=1)
    for tenant_id in (NORTH, SOUTH, "-"):
        async with tenant_transaction(engine, tenant_id) as tx:
            await tx.execute(text("DELETE FROM rate_buckets"))
    await engine.dispose()
    return replace(common, clock=StillClock())


def limited(ground: Ground, **limits: tuple[int, int]) -> AbstractAsyncContextManager[Shop]:
    """A gateway with these limits, `scope=(per_minute, burst)`, and no others that are ever met."""
    changes: dict[str, Any] = {}
    for scope, (per_minute, burst) in limits.items():
        changes |= {f"limit_{scope}_per_minute": per_minute, f"limit_{scope}_burst": burst}
    return open_shop(ground, **changes)


def bearer_of(shop: Shop, client_id: str, kind: CallerKind = CallerKind.AGENT) -> str:
    """A new one each time."""
    scopes = frozenset({"conversation", "purchase", "memory", "quote"})
    return shop.bearers.mint(Bearer(kind=kind, client_id=client_id, audience=shop.issuer, scopes=scopes))


async def ask(shop: Shop, client_id: str = AGENT, path: str = MISSING) -> httpx2.Response:
    return await shop.call("GET", path, bearer_of(shop, client_id))


async def until_refused(shop: Shop, client_id: str = AGENT, path: str = MISSING) -> tuple[int, httpx2.Response]:
    """How many were let in before, and the refusal."""
    for count in range(200):
        answer = await ask(shop, client_id, path)
        if answer.status_code == 429:
            return count, answer
    pytest.fail("never refused")


@pytest.mark.parametrize(
    ("scope", "per_minute", "seconds"),
    [("tenant", 20, 3), ("tool", 20, 3), ("agent", 60, 1), ("agent", 7, 9), ("agent", 1, 60), ("agent", 120, 1)],
)
@pytest.mark.control("UC-R.1")
async def test_waiting_as_long_as_retry_after_says_admits_and_a_second_less_does_not(
    still: Ground, scope: str, per_minute: int, seconds: int
):
    async with limited(still, **{scope: (per_minute, 5)}) as shop:
        let_in, refused = await until_refused(shop)
        still.clock.advance(timedelta(seconds=seconds - 1))
        early = await ask(shop)
        still.clock.advance(timedelta(seconds=1))
        in_time = await ask(shop)

    assert let_in == 5
    assert refused.headers["retry-after"] == str(seconds)
    assert refused.headers["ratelimit"] == f'"{scope}";r=0;t={seconds}'
    assert refused.headers["ratelimit-policy"] == f'"{scope}";q={per_minute};w=60'
    assert (refused.json()["code"], refused.json()["violated-policies"]) == ("limit_reached", [scope])
    assert (early.status_code, in_time.status_code) == (429, 404)


@pytest.mark.control("UC-R.1")
async def test_a_new_bearer_begins_nothing_anew(still: Ground):
    async with limited(still, agent=(1, 3)) as shop:
        await until_refused(shop)
        shop.machine_bearers.clear()
        anew = await shop.call("GET", MISSING, await shop.bearer(AGENT))

    assert anew.status_code == 429


@pytest.mark.control("UC-R.1")
async def test_each_limit_counts_its_own(still: Ground):
    async with limited(still, agent=(1, 3)) as shop:
        await until_refused(shop)
        assert (await ask(shop, OTHER_AGENT)).status_code == 404, "another agent of the tenant"
    async with limited(still, tenant=(1, 3)) as shop:
        await until_refused(shop)
        assert (await ask(shop, OTHER_AGENT)).status_code == 429, "the tenant's, whoever asks"
        assert (await ask(shop, SOUTH_AGENT)).status_code == 404, "another tenant"
    async with limited(still, tool=(1, 3)) as shop:
        await until_refused(shop)
        assert (await ask(shop, OTHER_AGENT)).status_code == 429, "the operation's, whoever asks"
        assert (await ask(shop, AGENT, "/v1/quotes/cko_missing")).status_code == 422, "another operation"
        assert (await ask(shop, SOUTH_AGENT)).status_code == 404, "another tenant"


async def test_an_mcp_server_is_counted_by_itself_for_it_has_no_tenant(still: Ground):
    async with limited(still, agent=(1, 3)) as shop:
        seen = []
        for _ in range(4):
            bearer = bearer_of(shop, MCP, CallerKind.MCP_SERVER)
            seen.append((await shop.call("GET", "/v1/mandates", bearer)).status_code)
        others = await ask(shop)

    assert seen == [404, 404, 404, 429]
    assert others.status_code == 404


async def own_talk(shop: Shop, agent: str = AGENT, subject_id: str | None = None) -> Talk:
    """A conversation of this agent with this subject, as if verified."""
    conversation_id = new_id("cnv")
    await shop.rows(
        "INSERT INTO conversations (tenant_id, conversation_id, brand_id, channel, client_id, subject_id, opened_at)"
        " VALUES (:t, :c, :b, 'chat', :a, :s, now()) RETURNING 1",
        t=NORTH,
        c=conversation_id,
        b=LARKSPUR,
        a=agent,
        s=subject_id,
    )
    return Talk(shop, agent, conversation_id, NORTH, subject_id)


@pytest.mark.control("UC-R.1")
async def test_a_subject_is_counted_over_agents_assistants_conversations_and_places_where_one_is_named(still: Ground):
    async with limited(still, subject=(1, 6)) as shop:
        ada = await shop.assistant("ada.limits@example.com")
        bob = await shop.assistant("bob.limits@example.com")
        first, second = [await own_talk(shop, AGENT, ada.subject_id) for _ in range(2)]
        seen = [
            await ada.call("GET", "/v1/mandates"),
            await ada.call("GET", "/v1/mandates"),
            await first.call("GET", "/v1/mandates", conversation_id=first.conversation_id),
            await first.call("GET", f"/v1/conversations/{first.conversation_id}"),
            await second.post("/v1/recalls", query=""),
            await second.post("/v1/purchases", checkout_id="cko_missing", cart_sha256=CART),
        ]
        refused = [
            await ada.call("GET", "/v1/mandates"),
            await first.call("GET", f"/v1/conversations/{first.conversation_id}"),
            await second.post("/v1/recalls", query=""),
        ]
        others = [await bob.call("GET", "/v1/mandates"), await ask(shop)]

    assert 429 not in {answer.status_code for answer in seen}
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.headers["ratelimit"].partition(";")[0] for answer in refused} == {'"subject"'}
    assert 429 not in {answer.status_code for answer in others}


@pytest.mark.control("UC-R.1")
async def test_nobody_uses_up_or_learns_of_a_subject_through_a_conversation_of_others(still: Ground):
    async with limited(still, subject=(1, 3)) as shop:
        ada = await shop.assistant("ada.foreign@example.com")
        talk = await own_talk(shop, AGENT, ada.subject_id)
        path = f"/v1/conversations/{talk.conversation_id}"
        foreign = [await ask(shop, agent, path) for agent in (OTHER_AGENT, SOUTH_AGENT) for _ in range(6)]
        own = [await talk.call("GET", path) for _ in range(4)]
        afterwards = await ask(shop, OTHER_AGENT, path)

    assert 429 not in {answer.status_code for answer in (*foreign, afterwards)}
    assert [answer.status_code for answer in own] == [200, 200, 200, 429]


@pytest.mark.control("UC-R.1")
async def test_a_refusal_reads_no_body_asks_no_database_and_leaves_nothing_in_the_record(still: Ground):
    statements: list[str] = []
    async with limited(still, agent=(1, 3)) as shop:
        await until_refused(shop)
        before = await shop.rows("SELECT count(*) AS n FROM record_entries")

        @event.listens_for(shop.gateway.engine.sync_engine, "before_cursor_execute")
        def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            statements.append(statement)

        headers = {"Authorization": f"Bearer {bearer_of(shop, AGENT)}", "content-type": "application/json"}
        answers = [
            await shop.client.post(path, content=b'{"no": json', headers=headers)
            for path in ("/v1/purchases", "/v1/recalls", "/v1/decisions") * 5
        ]
        asked = list(statements)
        stranger = await shop.client.get(MISSING)
        after = await shop.rows("SELECT count(*) AS n FROM record_entries")

    assert {answer.status_code for answer in answers} == {429}
    assert (asked, before) == ([], after)
    assert stranger.status_code == 401, "who it is comes before how often"


async def test_two_gateways_count_together(still: Ground):
    async with limited(still, agent=(1, 4)) as one, limited(still, agent=(1, 4)) as other:
        seen = [(await ask(shop)).status_code for shop in (one, other) * 3]

    assert seen == [404] * 4 + [429] * 2


@pytest.fixture
def provisioned(still: Ground) -> Any:
    """Provision `still`'s database again, with limits for the northern tenant."""
    owner = Secret(still.owner_dsn)

    async def again(*limits: dict[str, Any]) -> None:
        await provision(owner, manifest(still.client_keys, limits=list(limits)), still.clock)

    return again


@pytest.mark.control("UC-R.1")
async def test_a_tenants_own_limits_take_the_place_of_the_defaults_within_ten_seconds(still: Ground, provisioned: Any):
    async with limited(still, agent=(60, 4)) as shop:
        default, _ = await until_refused(shop)
        await provisioned(
            {"scope": "agent", "per_minute": 1, "burst": 6},
            {"scope": "agent", "name": OTHER_AGENT, "per_minute": 1, "burst": 2},
        )
        still.clock.advance(timedelta(seconds=10))
        own, refused = await until_refused(shop)
        named, _ = await until_refused(shop, OTHER_AGENT)
        elsewhere, _ = await until_refused(shop, SOUTH_AGENT)
        await provisioned()
        still.clock.advance(timedelta(minutes=10))
        again, _ = await until_refused(shop)

    assert (default, own, named, elsewhere, again) == (4, 6, 2, 4, 4)
    assert refused.headers["ratelimit-policy"] == '"agent";q=1;w=60'


@pytest.mark.parametrize(
    "limit",
    [
        {"scope": "agent", "per_minute": 0, "burst": 1},
        {"scope": "agent", "per_minute": 1, "burst": 0},
        {"scope": "agent", "per_minute": -1, "burst": 1},
        {"scope": "agent", "per_minute": 60_000_001, "burst": 1},
        {"scope": "agent", "per_minute": 1, "burst": 1_000_001},
        {"scope": "planet", "per_minute": 1, "burst": 1},
        {"scope": "agent", "per_minute": 1.5, "burst": 1},
        {"scope": "agent", "per_minute": 1},
    ],
)
def test_a_limit_that_makes_no_sense_is_not_provisioned(still: Ground, limit: dict[str, Any]):
    with pytest.raises(ManifestRefused):
        read_manifest(manifest(still.client_keys, limits=[limit]))


async def test_two_limits_for_the_same_are_refused_as_a_whole(still: Ground, provisioned: Any):
    twice = {"scope": "agent", "per_minute": 1, "burst": 1}

    with pytest.raises(ManifestRefused):
        await provisioned(twice, twice)


@pytest.mark.parametrize(("per_minute", "burst"), [("0", "1"), ("-1", "1"), ("60000001", "1"), ("1", "1000001")])
def test_limits_of_the_settings_that_make_no_sense_are_named(tmp_path: Path, per_minute: str, burst: str):
    needed = {field.name: "http://127.0.0.1:1" for field in fields(Settings) if field.default is MISSING_DEFAULT}
    (tmp_path / "url").write_text("postgresql+asyncpg://nobody@localhost/nothing")
    given = {f"UNDERCROFT_GATEWAY_{name.upper()}": value for name, value in needed.items()}
    given |= {"UNDERCROFT_GATEWAY_BIND": "127.0.0.1:0"}
    given |= {f"{name}_FILE": str(tmp_path / "url") for name in given}
    given |= {"UNDERCROFT_GATEWAY_LIMIT_TOOL_PER_MINUTE": per_minute, "UNDERCROFT_GATEWAY_LIMIT_TOOL_BURST": burst}

    settings = load(Settings, PREFIX, given)

    with pytest.raises(SettingsIncomplete, match="LIMIT_TOOL"):
        settings.refuse_senseless_limits()
