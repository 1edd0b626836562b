"""No record, no allow; and no decision waits for another one's record. Through the front door, over real PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import cedarpy
import httpx2
import pytest

from gateway.record import store
from gateway.record.entries import EntryTooLarge, Record
from gateway.record.sealer import Sealer
from infra.chassis.engine import DatabaseUnreachable, tenant_transaction
from infra.dev.postgres import Cluster
from tests.gateway.shop import CART, NORTH, Ground, Shop, Talk
from tests.support.waiting import BUSY_SECONDS_MAX

TRIGGER = """
CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {body}; RETURN NEW; END $$;
CREATE {kind} break_it {when} INSERT ON {table} {deferred} FOR EACH ROW EXECUTE FUNCTION break_it();
"""
MEND = "DROP FUNCTION break_it CASCADE;"
RAISE, DIE = "RAISE EXCEPTION 'no'", "PERFORM pg_terminate_backend(pg_backend_pid())"


def broken(body: str, table: str = "record_entries") -> str:
    return TRIGGER.format(body=body, kind="TRIGGER", when="AFTER", table=table, deferred="")


BREAKS = {
    "the insert raises": broken(RAISE),
    "the connection is killed in the insert": broken(DIE),
    "the connection is killed in the commit": TRIGGER.format(
        body=DIE, kind="CONSTRAINT TRIGGER", when="AFTER", table="record_entries", deferred="INITIALLY DEFERRED"
    ),
    "the right to insert is gone": "REVOKE INSERT ON record_entries FROM gateway_app;",
}
MENDS = {"the right to insert is gone": "GRANT INSERT ON record_entries TO gateway_app;"}


@dataclass(frozen=True, slots=True)
class Breaker:
    cluster: Cluster
    database: str

    async def sql(self, statements: str) -> None:
        await asyncio.to_thread(self.cluster.sql, statements, database=self.database)


@pytest.fixture
def breaker(ground: Ground, clusters: dict[str, Cluster]) -> Breaker:
    return Breaker(clusters["house"], urlsplit(ground.app_dsn).path.removeprefix("/"))


async def recorded(shop: Shop) -> int:
    (row,) = await shop.rows("SELECT count(*) AS entries FROM record_entries")
    return int(row["entries"])


@pytest.mark.control("UC-10.3")
async def test_without_a_record_nothing_is_allowed_and_no_money_moves(new_shop: Shop, breaker: Breaker):
    talk = await new_shop.buyer()
    checkouts = {name: await new_shop.checkout() for name in BREAKS}
    before = await recorded(new_shop)
    answers: dict[str, httpx2.Response] = {}

    for name, harm in BREAKS.items():
        await breaker.sql(harm)
        answers[name] = await talk.post("/v1/purchases", checkout_id=checkouts[name], cart_sha256=CART)
        assert await new_shop.taken(talk) == 0
        await breaker.sql(MENDS.get(name, MEND))

    codes = {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()}
    assert {status for status, _ in codes.values()} == {503}, codes
    assert await recorded(new_shop) == before
    assert await new_shop.rows("SELECT 1 FROM purchases") == []
    assert (await talk.buy(checkouts["the insert raises"]))["state"] == "needs_card"


@pytest.mark.control("UC-10.3")
async def test_decisions_of_one_tenant_do_not_wait_for_one_that_holds_its_transaction_open(new_shop: Shop):
    talks = [await new_shop.buyer() for _ in range(2)]
    checkouts = [await new_shop.checkout() for _ in talks]
    record, engine = Record(new_shop.ground.keys.record, new_shop.ground.clock), new_shop.gateway.engine
    sealer = Sealer(engine, record)

    async with tenant_transaction(engine, NORTH) as third:
        await record.append(third, tenant_id=NORTH, decision_id="dec_held_open", body={"v": 1})
        bought = await asyncio.wait_for(
            asyncio.gather(*(talk.buy(checkout) for talk, checkout in zip(talks, checkouts, strict=True))),
            timeout=BUSY_SECONDS_MAX,
        )
        await asyncio.wait_for(sealer.seal(NORTH), timeout=BUSY_SECONDS_MAX)
        early = await sealed(new_shop)
    await sealer.seal(NORTH)
    late = await sealed(new_shop)

    made = {purchase["decision"]["receipt"]["decision_id"] for purchase in bought}
    assert len(made) == 2
    assert made <= set(early)
    assert "dec_held_open" not in early
    assert late == [*early, "dec_held_open"]
    assert len(late) == await recorded(new_shop)


async def sealed(shop: Shop) -> list[str]:
    async with tenant_transaction(shop.gateway.engine, NORTH) as tx:
        return [entry.decision_id or "" async for entry in store.sealed_entries(tx, NORTH)]


@pytest.mark.parametrize("table", ["record_leaves", "record_nodes", "record_checkpoints"])
async def test_a_sealer_whose_connection_is_killed_in_the_middle_loses_and_doubles_nothing(
    new_shop: Shop, breaker: Breaker, table: str
):
    engine, record = new_shop.gateway.engine, Record(new_shop.ground.keys.record, new_shop.ground.clock)
    async with tenant_transaction(engine, NORTH) as tx:
        for number in range(300):
            await record.append(tx, tenant_id=NORTH, decision_id=f"dec_{number}", body={"v": 1})

    await breaker.sql(broken(DIE, table))
    with pytest.raises(DatabaseUnreachable):
        await Sealer(engine, record).seal(NORTH)
    await breaker.sql(MEND)
    between = await sealed(new_shop)
    await asyncio.gather(*(Sealer(engine, record).seal(NORTH) for _ in range(3)))

    assert between == []
    assert await sealed(new_shop) == [f"dec_{number}" for number in range(300)]


@pytest.mark.parametrize(("length", "fits"), [(60_000, True), (66_000, False)])
async def test_an_entry_that_no_tile_could_hold_is_not_recorded(new_shop: Shop, length: int, *, fits: bool):
    record = Record(new_shop.ground.keys.record, new_shop.ground.clock)

    async def append() -> None:
        async with tenant_transaction(new_shop.gateway.engine, NORTH) as tx:
            await record.append(tx, tenant_id=NORTH, decision_id="dec_long", body={"v": 1, "text": "x" * length})

    if fits:
        await append()
    else:
        with pytest.raises(EntryTooLarge):
            await append()
    assert await recorded(new_shop) == int(fits)


Ask = Callable[[Talk, str], Any]
ASKED: dict[str, Ask] = {
    "purchase": lambda talk, checkout: talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART),
    "recall": lambda talk, _: talk.post("/v1/recalls", query="lamps"),
    "remember": lambda talk, _: talk.post("/v1/memories", text="Prefers brass lamps."),
    "forget": lambda talk, _: talk.post("/v1/erasures"),
    "read_mandates": lambda talk, _: talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id),
}


@pytest.mark.parametrize("action", ASKED)
@pytest.mark.control("UC-D.1")
async def test_an_error_while_deciding_is_a_deny_and_an_entry_of_the_record(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, action: str
):
    talk, checkout = await shop.buyer(), await shop.checkout()

    def failing(*_arguments: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(cedarpy, "is_authorized", failing)
    await ASKED[action](talk, checkout)

    query = (
        "SELECT convert_from(canonical, 'UTF8')::json->'body' AS body FROM record_entries"
        " WHERE convert_from(canonical, 'UTF8') LIKE :conversation"
    )
    bodies = [row["body"] for row in await shop.rows(query, conversation=f"%{talk.conversation_id}%")]
    failed = [body for body in bodies if body.get("reasons") == ["evaluation_error"]]
    assert [(body["action"], body["outcome"]) for body in failed] == [(action, "deny")]


@pytest.mark.control("UC-10.3")
async def test_a_refund_that_could_not_be_decided_is_recorded_too(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    talk = await shop.buyer()
    bought = await shop.paid(talk, await shop.checkout())

    def failing(*_arguments: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(cedarpy, "is_authorized", failing)
    path = f"/v1/purchases/{bought['purchase_id']}/refunds"
    await talk.call("POST", path, {"amount_minor": 100, "request_key": "refund-once-1"})

    query = (
        "SELECT convert_from(canonical, 'UTF8')::json->'body' AS body FROM record_entries"
        " ORDER BY entry_id DESC LIMIT 20"
    )
    bodies = [row["body"] for row in await shop.rows(query)]
    about = [body for body in bodies if body.get("resource", {}).get("id") == bought["purchase_id"]]
    assert [(body["action"], body["reasons"]) for body in about] == [("refund", ["evaluation_error"])]
