"""Acts of one statement: each is its own transaction, of one tenant, and whole or not at all."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from infra.chassis import at_once as kept_connections
from infra.chassis.engine import DatabaseUnreachable, StatementRefused, create_engine, tenant_transaction
from infra.chassis.secret import Secret
from tests.sandbox.running import APPROVES
from tests.support.waiting import wait_until
from tests.vault.bench import PAGE_URL, Bench, Person, rows
from tests.vault.keys import cards, versions
from tests.vault.test_key_rotation import keeping_of
from vault import at_once
from vault import captures as captures_module
from vault.captures import ATTEMPTS_MAX
from vault.cleartext import tokenise as tokenise_module
from vault.contract import CaptureOrder
from vault.keys import ring
from vault.store import Store

WRONG = "4242424242424241"
TENANT_IN_FORCE = "SELECT coalesce(current_setting('undercroft.tenant', true), '')"
MISSING = "SELECT take_card($1, $2, $3, 10, now(), '{}', '{}')"


async def opened(bench: Bench, person: Person) -> CaptureOrder:
    order = person.capture()
    assert (await bench.order_capture(order)).status_code == 200
    assert (await bench.enter(order)).status_code == 303
    return order


async def form_of(bench: Bench, order: CaptureOrder, number: str = APPROVES) -> dict[str, str]:
    found = re.search(r'name="csrf" value="([^"]+)"', (await bench.page(order)).text)
    assert found is not None
    return {"csrf": found[1], "number": number, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}


async def posted(bench: Bench, order: CaptureOrder, fields: dict[str, str]) -> int:
    answer = await bench.browser.post(f"/captures/{order.capture_id}", data=fields, headers={"origin": PAGE_URL})
    return answer.status_code


async def capture_row(bench: Bench, order: CaptureOrder) -> dict[str, Any]:
    sql = "SELECT * FROM captures WHERE capture_id = :capture_id"
    (row,) = await rows(bench.databases.app_dsn, sql, order.tenant_id, capture_id=order.capture_id)
    return row


@pytest.mark.control("UC-7.3")
async def test_the_tenant_of_a_call_is_gone_with_it_also_when_it_fails(bench: Bench, ada: Person):
    engine = create_engine(Secret(bench.databases.app_dsn), pool_size=1)
    store, left = Store(engine), []
    order = await opened(bench, ada)

    found = await store.at_once("SELECT * FROM capture_of($1, $2)", ada.tenant_id, order.capture_id)
    left.append(await store.at_once(TENANT_IN_FORCE))
    with pytest.raises(StatementRefused):
        await store.at_once("SELECT redeem_grant($1, 'i', NULL, NULL, NULL, now())", ada.tenant_id)
    left.append(await store.at_once(TENANT_IN_FORCE))
    unwalled = await store.at_once("SELECT count(*) FROM captures")

    assert len(found) == 1
    assert [answer[0][0] for answer in left] == ["", ""]
    assert unwalled[0][0] == 0
    await engine.dispose()


@pytest.mark.control("UC-7.3")
async def test_a_call_for_one_tenant_finds_nothing_of_another_whatever_it_names(bench: Bench, ada: Person):
    order, eve = await opened(bench, ada), Person()
    await opened(bench, eve)
    hash_there = (await capture_row(bench, order))["browser_hash"]
    store = Store(bench.vault.engine)

    read = await store.at_once("SELECT * FROM capture_of($1, $2)", eve.tenant_id, order.capture_id)
    taken = await store.at_once(MISSING, eve.tenant_id, order.capture_id, hash_there)
    nobodys = await store.at_once("SELECT * FROM capture_of($1, $2)", "", order.capture_id)

    assert (read, taken[0][0], nobodys) == ([], "gone", [])
    assert (await capture_row(bench, order))["attempts"] == 0


@pytest.mark.control("UC-7.3")
async def test_a_call_that_is_cancelled_in_the_middle_leaves_its_connection_whole_and_without_a_tenant(
    bench: Bench, ada: Person
):
    engine = create_engine(Secret(bench.databases.app_dsn), pool_size=1)
    store = Store(engine)
    pid = (await store.at_once("SELECT pg_backend_pid()"))[0][0]
    asked: list[int] = []

    async def sleeps() -> bool:
        sql = "SELECT 1 AS found FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'PgSleep'"
        return bool(await rows(bench.databases.app_dsn, sql, pid=pid))

    for _ in range(3):
        call = asyncio.ensure_future(store.at_once("SELECT act_for($1), pg_sleep(60)", ada.tenant_id))
        await wait_until(sleeps)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        (left,) = await store.at_once(f"{TENANT_IN_FORCE} AS tenant, pg_backend_pid() AS pid")
        async with store.transaction(Person().tenant_id) as tx:
            assert (await tx.run("SELECT 1", {})).scalar_one() == 1
        asked.append(left["pid"])
        assert left["tenant"] == ""

    assert asked == [pid] * 3
    assert engine.sync_engine.pool.status().endswith("Current Checked out connections: 0")
    await engine.dispose()


@pytest.mark.control("UC-7.3")
async def test_a_call_within_another_tenants_transaction_is_refused(bench: Bench, ada: Person):
    engine = create_engine(Secret(bench.databases.app_dsn), pool_size=1)
    calls = (
        "SELECT capture_of('tnt_other', 'cap_x')",
        "SELECT card_of('tnt_other', 'tok_x')",
        "SELECT enter_capture('tnt_other', 'cap_x', 'brd_x', 'sub_x', '')",
        "SELECT take_card('tnt_other', 'cap_x', '', 1, now(), '{}', '{}')",
        "SELECT replace_card('tnt_other', 'cap_x', '', 1, now(), '{}', '{}')",
        "SELECT redeem_grant('tnt_other', 'i', 'j', NULL, NULL, now())",
    )

    for call in calls:
        with pytest.raises(DBAPIError, match="another tenant's"):
            async with tenant_transaction(engine, ada.tenant_id) as tx:
                await tx.execute(text(call))

    await engine.dispose()


@pytest.mark.control("UC-7.2")
async def test_the_functions_have_their_callers_rights_and_nobody_else_may_call_them(bench: Bench):
    found = await rows(
        bench.databases.owner_dsn,
        """SELECT p.proname AS name, p.prosecdef AS as_owner, (SELECT count(*) FROM aclexplode(p.proacl) a
                WHERE a.grantee NOT IN (p.proowner, 'vault_app'::regrole)) AS others
            FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
                AND p.proname IN ('act_for', 'redeem_grant', 'enter_capture', 'capture_of', 'card_of',
                    'tell_event', 'take_card', 'replace_card')""",
    )

    assert {(row["as_owner"], row["others"]) for row in found} == {(False, 0)}
    assert len(found) == 8


async def test_what_the_database_refuses_is_told_by_its_number_and_never_in_its_words(bench: Bench, ada: Person):
    store = Store(bench.vault.engine)
    said = []

    for value in ("a\x00secret", "2020-01-01 secret"):
        with pytest.raises(StatementRefused) as refused:
            await store.at_once("SELECT CAST($1 AS text)::date", value)
        said.append((str(refused.value), refused.value.sqlstate))
    with pytest.raises(StatementRefused) as mistyped:
        await store.at_once("SELECT $1::integer", "secret")

    assert [state for _, state in said] == ["22021", "22007"]
    assert not [words for words in (*(each for each, _ in said), str(mistyped.value)) if "secret" in words]


async def test_a_connection_that_died_is_one_clear_error_and_then_all_is_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Used just before, however long ending it takes here: after a second it would be tried first."""
    monkeypatch.setattr(kept_connections, "IDLE_SECONDS_MAX", 3600.0)
    engine = create_engine(Secret(bench.databases.app_dsn), pool_size=2)
    store = Store(engine)
    pid = (await store.at_once("SELECT pg_backend_pid()"))[0][0]
    admin = await asyncpg.connect(bench.databases.app_dsn.replace("+asyncpg", ""))
    assert await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    await admin.close()

    with pytest.raises(DatabaseUnreachable):
        await store.at_once("SELECT 1")
    after = await store.at_once("SELECT pg_backend_pid()")

    assert after[0][0] != pid
    await engine.dispose()


async def test_a_card_and_its_capture_come_in_one_transaction_and_the_attempt_counts(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    told = [await posted(bench, order, await form_of(bench, order, number)) for number in (WRONG, APPROVES)]

    row = await capture_row(bench, order)
    (card,) = await rows(bench.databases.app_dsn, "SELECT *, xmin::text FROM cards", ada.tenant_id)
    sql = "SELECT xmin::text FROM captures"
    (changed,) = await rows(bench.databases.app_dsn, sql, ada.tenant_id)
    assert told == [422, 303]
    assert (row["attempts"], row["token_id"]) == (2, card["token_id"])
    assert changed["xmin"] == card["xmin"]
    assert (card["brand_id"], card["subject_id"]) == (ada.brand_id, ada.subject_id)


async def test_of_forms_posted_at_the_same_moment_ten_are_told_what_is_wrong_and_no_more(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    fields = await form_of(bench, order, WRONG)

    told = await asyncio.gather(*(posted(bench, order, fields) for _ in range(3 * ATTEMPTS_MAX)))
    right = await posted(bench, order, fields | {"number": APPROVES})

    assert sorted(told) == [410] * (2 * ATTEMPTS_MAX) + [422] * ATTEMPTS_MAX
    assert right == 410
    assert await cards(bench.databases, ada.tenant_id) == []


Before = Callable[[], Awaitable[object]]


def just_before_storing(monkeypatch: pytest.MonkeyPatch, do: Before) -> None:
    """Something happens between the reading of a capture and the storing of its card."""
    store_it = at_once.take_card

    async def after_that(*arguments: Any, **named: Any) -> Any:
        await do()
        return await store_it(*arguments, **named)

    monkeypatch.setattr(tokenise_module, "take_card", after_that)


@pytest.mark.control("UC-8.4")
async def test_a_card_whose_capture_moves_to_another_browser_meanwhile_is_not_kept(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    order = await opened(bench, ada)
    fields = await form_of(bench, order)
    just_before_storing(monkeypatch, lambda: bench.enter(order))

    told = await posted(bench, order, fields)

    assert told == 410
    assert await cards(bench.databases, ada.tenant_id) == []
    assert (await capture_row(bench, order))["token_id"] is None


async def test_a_card_whose_last_attempt_is_used_up_meanwhile_is_not_kept(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    order = await opened(bench, ada)
    fields, wrong = await form_of(bench, order), await form_of(bench, order, WRONG)

    async def use_up() -> None:
        assert [await posted(bench, order, wrong) for _ in range(ATTEMPTS_MAX)] == [422] * ATTEMPTS_MAX

    just_before_storing(monkeypatch, use_up)

    assert await posted(bench, order, fields) == 410
    assert await cards(bench.databases, ada.tenant_id) == []


async def test_a_flawed_form_whose_capture_gets_its_card_meanwhile_is_shown_the_receipt(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    order = await opened(bench, ada)
    fields, wrong = await form_of(bench, order), await form_of(bench, order, WRONG)
    count, told = captures_module.Captures.count_attempt, []

    async def after_the_other(itself: captures_module.Captures, row: Any) -> bool:
        monkeypatch.setattr(captures_module.Captures, "count_attempt", count)
        told.append(await posted(bench, order, fields))
        return await count(itself, row)

    monkeypatch.setattr(captures_module.Captures, "count_attempt", after_the_other)
    told.append(await posted(bench, order, wrong))

    assert told == [303, 303]
    assert len(await cards(bench.databases, ada.tenant_id)) == 1


async def test_however_many_come_at_once_seals_are_reserved_once_for_all(bench: Bench, ada: Person):
    await bench.new_token(ada)
    keeper = keeping_of(bench).ring

    given = await asyncio.gather(*(keeper.sealing_key(ada.tenant_id) for _ in range(ring.RESERVED_AT_ONCE + 1)))

    assert {version for version, _ in given} == {1}
    (key,) = await versions(bench.databases, ada.tenant_id)
    assert key["seals"] == 3 * ring.RESERVED_AT_ONCE
