"""A card is replaced while something else has hold of it: each order is forced, and each ends with one whole card."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.keys import states
from tests.vault.test_vault_at_once import form_of, just_before_storing, posted
from tests.vault.updates import MASTERCARD, around, asked, last4_told, opened, row_of, told
from vault import at_once
from vault.cleartext import tokenise as tokenise_module
from vault.cleartext.sealing import CardSealer
from vault.keys import rows as key_rows

NEW = (MASTERCARD, 3, 2038)
PATIENT_SECONDS = 60
"""A processor that is waited for however busy the machine is."""


@pytest.fixture
async def patient(shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, shared_database, processor, processor_timeout_seconds=PATIENT_SECONDS) as running:
        yield running


async def typing(bench: Bench, person: Person, token: str) -> Callable[[], Awaitable[int]]:
    """The new card, ready to be sent off; the answer's status."""
    order = await asked(bench, person, token)
    fields = await form_of(bench, order, MASTERCARD) | {"expiry": "03/38"}
    return lambda: posted(bench, order, fields)


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("order", ["before it is sealed", "between sealing and storing", "moved only"])
async def test_a_rotation_of_the_tenants_key_and_an_update_undo_nothing_of_each_other(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, order: str
):
    token, keeping = await patient.new_token(ada), patient.vault.keeping
    send = await typing(patient, ada, token)
    if order == "before it is sealed":
        around(monkeypatch, tokenise_module, "stored_card", after=lambda: keeping.rotation.rotate(ada.tenant_id, "ada"))
    elif order == "between sealing and storing":
        just_once = iter([keeping.rotation.rotate])
        just_before_storing(monkeypatch, lambda: _once(just_once, ada))
    else:
        await keeping.ring.make_next(ada.tenant_id, 1)
        just_before_storing(monkeypatch, lambda: keeping.rotation.keep_up(ada.tenant_id))

    answer = await send()

    assert answer == 303
    assert await states(patient.databases, ada.tenant_id) == [(1, "destroyed", 0), (2, "active", 1)]
    assert await opened(patient, ada, token) == NEW
    assert (await row_of(patient, ada, token))["generation"] == 2
    assert await told(patient, ada.charge(token)) == ("approved", None)


async def _once(acts: Any, person: Person) -> None:
    for act in acts:
        await act(person.tenant_id, "ada")


@pytest.mark.control("UC-T.3")
async def test_a_card_that_is_moved_after_it_was_replaced_is_moved_as_the_new_one(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The mover has opened the old card and sealed it anew when the update comes in."""
    token, keeping = await patient.new_token(ada), patient.vault.keeping
    send = await typing(patient, ada, token)
    around(monkeypatch, key_rows, "move_cards", before=send)

    moved = await keeping.rotation.rotate(ada.tenant_id, "ada")

    assert (moved.cards, moved.destroyed) == (0, (1,))
    assert await opened(patient, ada, token) == NEW
    assert (await row_of(patient, ada, token))["generation"] == 2


class Open:
    """In place of the store: the update's statement, run and not yet committed."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def at_once(self, call: str, *values: Any) -> list[Any]:
        found: list[Any] = await self.connection.fetch(call, *values)
        return found


async def while_storing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, send: Callable[[], Awaitable[int]],
    other: Callable[[], Awaitable[Any]],
) -> Any:  # fmt: skip
    """What `other` comes to when it begins while an update has changed the row and has not been committed."""
    store_it, begun = at_once.take_card, list[asyncio.Future[Any]]()
    connection = await asyncpg.connect(bench.databases.app_dsn.replace("+asyncpg", ""))
    pid = connection.get_server_pid()

    async def waits() -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"
        return begun[0].done() or bool(await rows(bench.databases.app_dsn, sql, pid=pid))

    async def open_for_a_while(_: Any, *arguments: Any) -> Any:
        async with connection.transaction():
            answer = await store_it(Open(connection), *arguments)  # type: ignore[arg-type]  # the one method of a store it uses
            begun.append(asyncio.ensure_future(other()))
            await wait_until(waits)
        return answer

    monkeypatch.setattr(tokenise_module, "take_card", open_for_a_while)
    try:
        assert await send() == 303
        return await begun[0]
    finally:
        await connection.close()


@pytest.mark.control("UC-T.3")
async def test_an_expired_card_that_is_replaced_while_it_is_purged_stays(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The purge has found the old month, and waits for the row in which there is a new one."""
    token = await patient.new_token(ada)
    await rows(patient.databases.app_dsn, "UPDATE cards SET good_through = '2020-01-31' RETURNING 1", ada.tenant_id)
    send = await typing(patient, ada, token)

    purged = await while_storing(
        patient, monkeypatch, send, lambda: patient.vault.keeping.purging.purge(ada.tenant_id, "ada")
    )

    assert purged.cards == 0
    assert await opened(patient, ada, token) == NEW


@pytest.mark.control("UC-T.3")
async def test_a_mover_that_waits_for_a_row_leaves_the_new_card_in_it(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    token, keeping = await patient.new_token(ada), patient.vault.keeping
    await keeping.ring.make_next(ada.tenant_id, 1)
    send = await typing(patient, ada, token)

    await while_storing(patient, monkeypatch, send, lambda: keeping.rotation.keep_up(ada.tenant_id))

    assert await states(patient.databases, ada.tenant_id) == [(1, "destroyed", 0), (2, "active", 1)]
    assert await opened(patient, ada, token) == NEW


@pytest.mark.control("UC-T.3")
async def test_a_charge_that_ends_while_the_card_is_being_replaced_is_the_old_ones(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """Its outcome waits for the row, and does not put the new card on file."""
    token = await patient.new_token(ada)
    send, charge = await typing(patient, ada, token), ada.charge(token)

    answer = await while_storing(patient, monkeypatch, send, lambda: told(patient, charge))

    row = await row_of(patient, ada, token)
    assert answer == ("approved", None)
    assert await last4_told(patient, charge) == "4242"
    assert (row["generation"], row["last4"], row["on_file_since"]) == (2, "4444", None)


@pytest.mark.control("UC-T.3")
async def test_of_two_updates_at_the_same_moment_one_wins_and_the_other_is_told(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    token = await patient.new_token(ada)
    first, second = await typing(patient, ada, token), await typing(patient, ada, token)

    async def with_the_real_store() -> int:
        monkeypatch.setattr(tokenise_module, "take_card", at_once.take_card)
        return await second()

    lost = await while_storing(patient, monkeypatch, first, with_the_real_store)

    assert lost == 409
    assert (await row_of(patient, ada, token))["generation"] == 2
    assert await told(patient, ada.charge(token)) == ("approved", None), "the winner's code"


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("what", ["card", "tenant"])
async def test_a_token_that_is_shredded_meanwhile_stays_shredded(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, what: str
):
    token, shredding = await patient.new_token(ada), patient.vault.keeping.shredding
    send = await typing(patient, ada, token)
    if what == "card":
        just_before_storing(monkeypatch, lambda: shredding.shred_card(ada.tenant_id, token, "ada"))
    else:
        around(monkeypatch, tokenise_module, "take_card", before=lambda: shredding.shred_tenant(ada.tenant_id, "ada"))

    answer = await send()

    row = await row_of(patient, ada, token)
    assert answer == 409
    assert (row["generation"], row["wrapped_key"], row["last4"]) == (1, b"", "4242")
    assert row["shredded_at"] is not None


@pytest.mark.control("UC-T.3")
async def test_a_row_whose_key_was_destroyed_takes_no_card_though_it_is_not_emptied_yet(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The tenant is shredded after the old card was read, and has a new key when the new card is sealed."""
    token, shredding = await patient.new_token(ada), patient.vault.keeping.shredding
    send, bob = await typing(patient, ada, token), Person(ada.tenant_id)
    finish = type(shredding).finish

    async def later(*_: Any) -> int:
        return 0

    async def shred_and_begin_anew() -> None:
        monkeypatch.setattr(type(shredding), "finish", later)
        await shredding.shred_tenant(ada.tenant_id, "ada")
        await patient.new_token(bob)

    around(monkeypatch, CardSealer, "sealed", before=shred_and_begin_anew)
    answer = await send()
    monkeypatch.setattr(type(shredding), "finish", finish)
    await shredding.finish(ada.tenant_id)

    assert answer == 409
    assert (await row_of(patient, ada, token))["shredded_at"] is not None
