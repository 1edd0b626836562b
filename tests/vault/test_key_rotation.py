"""Tenant keys rotate while cards come in and are charged; what is retired seals nothing, what is empty is destroyed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.keys import acts, cards, change, states, versions
from vault.cleartext.opening import Opener
from vault.keys import resealing, ring, rows
from vault.keys.keeping import Keeping, build_keeping
from vault.keys.settings import LifecycleSettings
from vault.store import Store

OPERATOR = "operator ada"


@pytest.fixture
async def small(
    shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A vault that moves three cards at a time, so that a few cards are several batches."""
    monkeypatch.setattr(resealing, "BATCH", 3)
    async with open_bench(tmp_path, shared_database, processor) as opened:
        yield opened


def keeping_of(bench: Bench, **settings: Any) -> Keeping:
    """Another process's, on the same database and root."""
    given = replace(LifecycleSettings(), **settings)
    return build_keeping(Store(bench.vault.engine), bench.vault.keeping.keys, bench.clock, given)


def other_than(sealed: bytes) -> bytes:
    """Never the same, which a letter put at the end is once in 256 times."""
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


@pytest.mark.control("UC-3.7")
async def test_a_rotated_key_opens_nothing_any_more_and_every_card_is_under_the_next(small: Bench, ada: Person):
    paid = [await small.paid_charge(ada) for _ in range(4)]
    before = await cards(small.databases, ada.tenant_id)

    moved = await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    after = await cards(small.databases, ada.tenant_id)
    assert (moved.cards, moved.stuck, moved.destroyed) == (4, 0, (1,))
    assert await states(small.databases, ada.tenant_id) == [(1, "destroyed", 0), (2, "active", 4)]
    assert (await versions(small.databases, ada.tenant_id))[0]["wrapped_key"] is None
    assert [row["sealed_number"] for row in before] == [row["sealed_number"] for row in after]
    assert not {row["wrapped_key"] for row in before} & {row["wrapped_key"] for row in after}
    assert len({row["fingerprint"] for row in after}) == 1
    assert {row["fingerprint"] for row in after} != {row["fingerprint"] for row in before}
    again = [await small.charge(ada.charge(order.token_id)) for order in paid]
    assert {answer.json()["state"] for answer in again} == {"approved"}
    assert set(await acts(small.databases, ada.tenant_id)) == {
        ("vault", "rotated", "key 1", "retired 0"),
        (OPERATOR, "rotated", "key 2", "retired 1"),
        ("vault", "destroyed", "key 1", "empty"),
    }


@pytest.mark.control("UC-3.7")
async def test_nothing_fails_that_is_taken_in_or_charged_while_keys_rotate(small: Bench, ada: Person):
    on_file = [(await small.paid_charge(ada)).token_id for _ in range(3)]
    keeper, other = keeping_of(small), keeping_of(small)
    resting = asyncio.Event()

    async def rotate() -> int:
        """Two processes at once, again and again, as long as there is something going on."""
        turns = 0
        while not resting.is_set():
            await asyncio.gather(
                keeper.rotation.rotate(ada.tenant_id, OPERATOR), other.rotation.rotate(ada.tenant_id, OPERATOR)
            )
            turns += 1
        return turns

    async def come_and_go(token_id: str) -> list[str]:
        told = [(await small.charge(ada.charge(token_id))).json()["state"] for _ in range(2)]
        return [*told, (await small.charge(ada.charge(await small.new_token(ada)))).json()["state"]]

    rotating = asyncio.ensure_future(rotate())
    answers = await asyncio.gather(*(come_and_go(token_id) for token_id in on_file))
    resting.set()
    turns = await rotating
    await keeper.rotation.rotate(ada.tenant_id, OPERATOR)

    assert answers == [["approved"] * 3] * 3
    assert turns > 2
    stands = await states(small.databases, ada.tenant_id)
    assert {state for _, state, _ in stands[:-1]} == {"destroyed"}
    assert stands[-1][1:] == ("active", 6)


@pytest.mark.control("UC-3.7")
async def test_a_card_sealed_while_its_key_was_retired_is_sealed_again_under_the_next(small: Bench, ada: Person):
    await small.new_token(ada)
    await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    token = await small.new_token(ada)

    (row,) = [row for row in await cards(small.databases, ada.tenant_id) if row["token_id"] == token]
    assert row["key_version"] == 2


@pytest.mark.control("UC-3.7")
async def test_a_card_read_before_its_key_was_rotated_and_destroyed_still_opens(small: Bench, ada: Person):
    """As in a charge that waited for the processor meanwhile, in a process that never had the new key."""
    token = await small.new_token(ada)
    store = Store(small.vault.engine)
    async with store.transaction(ada.tenant_id) as tx:
        read = await tx.card(token)
    assert read is not None
    await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    opened, _ = await Opener(store, keeping_of(small).ring).record_key(read)

    assert (read.key_version, opened.key_version) == (1, 2)


@pytest.mark.parametrize("state", ["retired", "destroyed"])
@pytest.mark.control("UC-3.7")
async def test_the_database_itself_refuses_a_card_under_a_key_that_is_not_active(small: Bench, ada: Person, state: str):
    await small.new_token(ada)
    (old,) = await cards(small.databases, ada.tenant_id)
    if state == "retired":
        await keeping_of(small).ring.make_next(ada.tenant_id, 1)
    else:
        await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    with pytest.raises(sqlalchemy.exc.DBAPIError, match="not active"):
        await change(
            small.databases,
            ada.tenant_id,
            "UPDATE cards SET wrapped_key = :former WHERE token_id = :token_id",
            former=other_than(old["wrapped_key"]),
            token_id=old["token_id"],
        )


async def test_seals_are_counted_before_they_are_made_and_never_too_few(small: Bench, ada: Person):
    for _ in range(3):
        await small.new_token(ada)
    first = (await versions(small.databases, ada.tenant_id))[0]["seals"]
    await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    moved = (await versions(small.databases, ada.tenant_id))[1]["seals"]

    assert (first, moved) == (ring.RESERVED_AT_ONCE, 3)


@pytest.mark.control("UC-3.7")
async def test_a_key_at_its_ceiling_seals_nothing_more_and_the_next_card_is_under_a_new_one(small: Bench, ada: Person):
    keeper = keeping_of(small, tenant_key_seals_max=2 * ring.RESERVED_AT_ONCE)
    await small.new_token(ada)
    given = [(await keeper.ring.sealing_key(ada.tenant_id))[0] for _ in range(ring.RESERVED_AT_ONCE + 1)]

    assert given == [1] * ring.RESERVED_AT_ONCE + [2]
    assert [row["seals"] for row in await versions(small.databases, ada.tenant_id)] == [
        2 * ring.RESERVED_AT_ONCE,
        ring.RESERVED_AT_ONCE,
    ]


@pytest.mark.control("UC-3.7")
async def test_a_key_past_its_period_seals_nothing_though_no_job_ran_and_though_seals_were_reserved(
    small: Bench, ada: Person
):
    await small.new_token(ada)

    small.clock.advance(timedelta(days=365))
    token = await small.new_token(ada)

    (row,) = [row for row in await cards(small.databases, ada.tenant_id) if row["token_id"] == token]
    assert row["key_version"] == 2


@pytest.mark.control("UC-3.7")
async def test_the_job_rotates_before_the_period_ends_and_not_long_before(small: Bench, ada: Person):
    await small.new_token(ada)
    keeper = keeping_of(small)

    small.clock.advance(timedelta(days=328))
    early = await keeper.rotation.keep_up(ada.tenant_id)
    small.clock.advance(timedelta(days=1))
    due = await keeper.rotation.keep_up(ada.tenant_id)
    again = await keeper.rotation.keep_up(ada.tenant_id)

    assert [moved.destroyed for moved in (early, due, again)] == [(), (1,), ()]
    assert await states(small.databases, ada.tenant_id) == [(1, "destroyed", 0), (2, "active", 1)]


async def test_a_card_that_changes_while_it_is_moved_keeps_its_change(
    small: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """Somebody else writes one of the cards between reading the batch and writing it."""
    for _ in range(2):
        await small.paid_charge(ada)
    keeper = keeping_of(small)
    await keeper.ring.make_next(ada.tenant_id, 1)
    real = rows.move_cards
    elsewhere: list[bytes] = []

    async def overtaken(tx: Any, moves: Any) -> int:
        if not elsewhere:
            (first, *_) = moves
            elsewhere.append(other_than(first.wrapped_key))
            sql = "UPDATE cards SET wrapped_key = :theirs WHERE token_id = :token_id"
            await change(small.databases, ada.tenant_id, sql, theirs=elsewhere[0], token_id=first.token_id)
        return await real(tx, moves)

    monkeypatch.setattr(rows, "move_cards", overtaken)
    moved = await keeper.rotation.keep_up(ada.tenant_id)

    assert (moved.cards, moved.destroyed) == (1, (1,))
    assert (await cards(small.databases, ada.tenant_id))[0]["wrapped_key"] == elsewhere[0]


async def test_a_card_that_does_not_open_keeps_its_key_and_is_reported_not_lost(small: Bench, ada: Person):
    tokens = sorted([await small.new_token(ada) for _ in range(4)])
    await change(
        small.databases,
        ada.tenant_id,
        "UPDATE cards SET wrapped_key = wrapped_key || 'x' WHERE token_id = :token_id",
        token_id=tokens[1],
    )

    moved = await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)

    assert (moved.cards, moved.stuck, moved.destroyed) == (3, 1, ())
    assert await states(small.databases, ada.tenant_id) == [(1, "retired", 1), (2, "active", 3)]


async def test_two_movers_do_not_work_on_one_tenant_at_a_time(small: Bench, ada: Person):
    await small.new_token(ada)
    keeper = keeping_of(small)
    await keeper.ring.make_next(ada.tenant_id, 1)

    async with keeping_of(small).store.alone(f"re-sealing {ada.tenant_id}") as taken:
        first = await keeper.rotation.keep_up(ada.tenant_id)
    second = await keeper.rotation.keep_up(ada.tenant_id)

    assert taken
    assert (first.busy, first.cards) == (True, 0)
    assert (second.busy, second.cards) == (False, 1)


async def test_a_card_from_before_fingerprints_were_hidden_is_hidden_by_its_first_move(small: Bench, ada: Person):
    await small.new_token(ada)
    plain = bytes(range(32))
    await change(
        small.databases,
        ada.tenant_id,
        "UPDATE cards SET fingerprint = :plain, sealed_fingerprint = NULL WHERE true",
        plain=plain,
    )

    await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)
    (once,) = await cards(small.databases, ada.tenant_id)
    await keeping_of(small).rotation.rotate(ada.tenant_id, OPERATOR)
    (twice,) = await cards(small.databases, ada.tenant_id)

    assert len({plain, once["fingerprint"], twice["fingerprint"]}) == 3
    assert plain not in once["sealed_fingerprint"]


async def test_rotation_goes_to_the_newest_of_two_processes_that_rotate_at_once(small: Bench, ada: Person):
    await small.new_token(ada)

    made = await asyncio.gather(*(keeping_of(small).ring.make_next(ada.tenant_id, 1) for _ in range(4)))

    assert made == [2] * 4
    assert [state for _, state, _ in await states(small.databases, ada.tenant_id)] == ["retired", "active"]
