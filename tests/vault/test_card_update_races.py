"""A card is replaced while something else has hold of it: each order is forced, and each ends with one whole card."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.destination import Forwarding
from tests.vault.keys import states
from tests.vault.processor_rigs import open_rig
from tests.vault.test_airwallex_charges import airwallex_settings
from tests.vault.test_vault_at_once import form_of, just_before_storing, posted
from tests.vault.updates import AMEX, MASTERCARD, asked, opened, replaced, row_of
from vault import at_once
from vault.cleartext import tokenise as tokenise_module
from vault.cleartext.forwarding import network
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors.airwallex import AirwallexProcessor
from vault.cleartext.processors.stripe import StripeProcessor
from vault.contract import ChargeOrder
from vault.keys import rows as key_rows

NEW = (MASTERCARD, 3, 2038)
PATIENT_SECONDS = 60
"""A processor that is waited for however busy the machine is."""


@pytest.fixture
async def patient(shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, shared_database, processor, processor_timeout_seconds=PATIENT_SECONDS) as running:
        yield running


async def told(bench: Bench, order: ChargeOrder) -> tuple[str, str | None]:
    answer = (await bench.charge(order)).json()
    return answer["state"], answer["reason"]


async def last4_told(bench: Bench, order: ChargeOrder) -> str:
    sql = "SELECT payload FROM outbox_events WHERE about = :charge_id"
    (event,) = await rows(bench.databases.app_dsn, sql, order.tenant_id, charge_id=order.charge_id)
    last4: str = json.loads(event["payload"])["data"]["last4"]
    return last4


def around(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    """Once, something happens right before or right after a step of the code."""
    step, done = getattr(where, name), list[str]()

    async def stepped(*arguments: Any, **named: Any) -> Any:
        first = not done
        done.append(name)
        if first and before is not None:
            await before()
        result = await step(*arguments, **named)
        if first and after is not None:
            await after()
        return result

    monkeypatch.setattr(where, name, stepped)


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("on_file", [False, True])
@pytest.mark.parametrize(("step", "when"), [("open_payment", "before"), ("present_card", "after")])
async def test_a_card_is_not_charged_once_another_one_has_its_place(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, step: str, when: str, *, on_file: bool
):
    """Also when it lies at the processor already, presented and not yet confirmed."""
    token = (await patient.paid_charge(ada)).token_id if on_file else await patient.new_token(ada)
    around(monkeypatch, StripeProcessor, step, **{when: lambda: replaced(patient, ada, token)})
    charge = ada.charge(token)

    answer = await told(patient, charge)

    assert answer == ("failed", "card_replaced")
    assert patient.processor_charges(charge.charge_id) == []
    assert await last4_told(patient, charge) == "4242"
    after = ada.charge(token)
    assert await told(patient, after) == ("approved", None), "the new card, with its code"
    assert await last4_told(patient, after) == "4444"


@pytest.mark.control("UC-T.3")
async def test_a_card_that_waits_in_memory_for_its_confirmation_is_not_charged_either(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    async with open_rig("airwallex", processor) as rig:
        changes = {
            "processors": airwallex_settings(tmp_path, rig.sandbox, default_processor="airwallex"),
            "processor_timeout_seconds": PATIENT_SECONDS,
        }
        async with open_bench(tmp_path, database("vault"), processor, **changes) as bench:
            token = await bench.new_token(ada)
            around(monkeypatch, AirwallexProcessor, "present_card", after=lambda: replaced(bench, ada, token))
            charge = ada.charge(token)

            answers = [await told(bench, charge), await told(bench, ada.charge(token))]

            assert answers == [("failed", "card_replaced"), ("approved", None)]
            assert rig.taken_minor(charge.charge_id) == 0


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("fault", [None, "timeout_after_charge"])
async def test_a_charge_that_is_on_its_way_stays_the_old_cards_and_puts_the_new_one_on_no_file(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person, fault: str | None,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    async with open_bench(
        tmp_path, database("vault"), processor, processor_timeout_seconds=1 if fault else PATIENT_SECONDS
    ) as bench:
        token = await bench.new_token(ada)
        around(monkeypatch, StripeProcessor, "confirm_payment", before=lambda: replaced(bench, ada, token))
        if fault is not None:
            bench.processor.fault(fault)
        charge = ada.charge(token)

        first = await told(bench, charge)
        await bench.vault.reconciler.run_once()
        ended = await told(bench, charge)

        row = await row_of(bench, ada, token)
        assert (first, ended) == ((("unknown" if fault else "approved"), None), ("approved", None))
        assert bench.taken_minor(charge.charge_id) == charge.amount_minor
        assert await last4_told(bench, charge) == "4242"
        assert (row["generation"], row["on_file_since"]) == (2, None)
        assert bench.vault.codes.holds(ada.tenant_id, token, 2), "its code is still to be asked for"


@pytest.mark.control("UC-T.3")
async def test_of_charges_and_updates_at_once_each_charge_is_with_one_whole_card(
    patient: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    typed = {
        APPROVES: (12, 2040, "123"), MASTERCARD: (3, 2038, "456"), AMEX: (5, 2037, "7890"),
    }  # fmt: skip
    presented: list[tuple[str, int, int, str | None]] = []
    present = StripeProcessor.present_card

    async def noted(itself: StripeProcessor, key: str, card: CardDetails, code: VerificationCode | None) -> str:
        number = bytes(card.number.reveal()).decode()
        typed_code = None if code is None else bytes(code.reveal()).decode()
        presented.append((number, card.exp_month, card.exp_year, typed_code))
        return await present(itself, key, card, code)

    async def update() -> None:
        for number in (MASTERCARD, AMEX):
            month, year, code = typed[number]
            await replaced(patient, ada, token, number, expiry=f"{month:02}/{year % 100}", code=code)

    monkeypatch.setattr(StripeProcessor, "present_card", noted)
    token = (await patient.paid_charge(ada)).token_id

    updating = asyncio.ensure_future(update())
    answers = await asyncio.gather(*(told(patient, ada.charge(token)) for _ in range(8)))
    await updating
    last = await told(patient, ada.charge(token))

    reasons = {reason for _, reason in answers}
    assert reasons <= {None, "card_replaced", "verification_code_missing"}, "one of them has the new card's code"
    assert last in {("approved", None), ("failed", "verification_code_missing")}
    for number, month, year, code in presented:
        assert (month, year) == typed[number][:2]
        assert code in {None, typed[number][2]}
    assert await opened(patient, ada, token) == (AMEX, 5, 2037)


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
            await wait_until(waits, 30)
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

    around(monkeypatch, tokenise_module.Cards, "_sealed", before=shred_and_begin_anew)
    answer = await send()
    monkeypatch.setattr(type(shredding), "finish", finish)
    await shredding.finish(ada.tenant_id)

    assert answer == 409
    assert (await row_of(patient, ada, token))["shredded_at"] is not None


@pytest.mark.control("UC-T.3")
async def test_a_card_that_is_replaced_before_it_is_forwarded_goes_nowhere(
    ready: Forwarding, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    async def replace() -> None:
        await replaced(bench, ready.person, ready.token_id)

    around(monkeypatch, network.Network, "addresses", after=replace)

    first, second = await ready.sent(), await ready.sent()

    assert (first["state"], first["reason"]) == ("failed", "card_unavailable")
    assert second["state"] == "forwarded"
    assert [MASTERCARD in one.body.decode() for one in ready.company.received] == [True]


@pytest.mark.control("UC-T.3")
async def test_an_order_to_charge_that_is_given_again_after_the_update_is_answered_as_it_was(
    patient: Bench, ada: Person
):
    charge = await patient.paid_charge(ada)
    await replaced(patient, ada, charge.token_id)
    patient.clock.advance(timedelta(minutes=1))

    again = await told(patient, charge)
    refunded = (await patient.refund(ada.refund(charge.charge_id, 1000))).json()["state"]

    assert (again, refunded) == (("approved", None), "refunded")
    assert len(patient.processor_charges(charge.charge_id)) == 1
