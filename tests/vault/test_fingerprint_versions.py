"""The same card is recognised through every change of the keys that its fingerprint depends on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.keys.ringfile import RingFile, decode, encode
from infra.chassis.secret import Secret
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.commanding import command_of
from tests.vault.keys import cards
from vault.cleartext.fingerprint_renewal import FingerprintRenewal
from vault.cleartext.opening import Opener
from vault.cleartext.pan import CardNumber
from vault.fingerprint import FingerprintKeyUnusable, Fingerprints
from vault.keys import rows
from vault.keys.resealing import Resealing
from vault.store import Store

MASTERCARD = "5555555555554444"


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@asynccontextmanager
async def restarted(bench: Bench, folder: Path, fingerprint_key: Secret[bytes]) -> AsyncIterator[Bench]:
    """The same vault, started with another ring of fingerprint keys."""
    others = {"keys": bench.settings.keys, "fingerprint_key": fingerprint_key}
    await asyncio.to_thread(folder.mkdir)
    async with open_bench(folder, bench.databases, bench.processor, **others) as opened:
        yield opened


def rotated(fingerprint_key: Secret[bytes], bench: Bench) -> Secret[bytes]:
    return Secret(encode(decode(fingerprint_key.reveal()).rotated(bench.clock.now())))


def only_newest(fingerprint_key: Secret[bytes]) -> Secret[bytes]:
    ring = decode(fingerprint_key.reveal())
    return Secret(encode(replace(ring, kept=ring.kept[-1:])))


async def typed(bench: Bench, person: Person, number: str = "4242424242424242") -> tuple[str, str | None]:
    """The new token, and the earlier one the vault knows the card by. Each card comes a second after the one before."""
    bench.clock.advance(timedelta(seconds=1))
    order = person.capture()
    await bench.order_capture(order)
    await bench.enter(order)
    await bench.type_card(order, number)
    view = (await bench.show_capture(order)).json()
    return view["token_id"], view["earlier_token_id"]


@pytest.mark.control("UC-3.5.1.1")
async def test_a_card_typed_again_names_its_first_token_to_nobody_but_its_subject_at_its_brand(
    bench: Bench, ada: Person
):
    first, nothing = await typed(bench, ada)

    again = [await typed(bench, ada) for _ in range(2)]
    others = [
        await typed(bench, ada, MASTERCARD),
        await typed(bench, replace(ada, brand_id="brd_other")),
        await typed(bench, Person(tenant_id=ada.tenant_id)),
        await typed(bench, replace(ada, tenant_id=Person().tenant_id)),
    ]

    assert nothing is None
    assert [earlier for _, earlier in again] == [first, first]
    assert [earlier for _, earlier in others] == [None] * 4


@pytest.mark.control("UC-3.5.1.1")
async def test_the_same_card_is_found_across_versions_of_the_fingerprints_key(own: Bench, ada: Person, tmp_path: Path):
    first, _ = await typed(own, ada)

    async with restarted(own, tmp_path / "next", rotated(own.settings.fingerprint_key, own)) as after:
        again, earlier = await typed(after, ada)

    stored = {row["token_id"]: row for row in await cards(own.databases, ada.tenant_id)}
    assert earlier == first
    assert [stored[token]["fingerprint_version"] for token in (first, again)] == [1, 2]
    assert stored[first]["fingerprint"] != stored[again]["fingerprint"]


@pytest.mark.control("UC-3.5.1.1")
async def test_the_same_card_is_found_while_cards_wait_to_be_moved_to_the_tenants_next_key(own: Bench, ada: Person):
    first, _ = await typed(own, ada)
    await own.vault.keeping.ring.make_next(ada.tenant_id, 1)

    waiting = await typed(own, ada)
    await own.vault.keeping.rotation.keep_up(ada.tenant_id)
    moved = await typed(own, ada)

    assert [row["key_version"] for row in await cards(own.databases, ada.tenant_id)] == [2, 2, 2]
    assert (waiting[1], moved[1]) == (first, first)


@pytest.mark.control("UC-3.5.1.1")
async def test_a_charged_card_gets_the_newest_fingerprint_and_then_needs_no_older_key(
    own: Bench, ada: Person, tmp_path: Path
):
    paid, left = await own.paid_charge(ada), (await typed(own, ada, MASTERCARD))[0]
    ring = rotated(own.settings.fingerprint_key, own)

    async with restarted(own, tmp_path / "both", ring) as both:
        charged = await both.charge(ada.charge(paid.token_id))
    async with restarted(own, tmp_path / "newest", only_newest(ring)) as newest:
        found = [await typed(newest, ada), await typed(newest, ada, MASTERCARD)]
        on_with_it = await newest.charge(ada.charge(paid.token_id))

    stored = {row["token_id"]: row["fingerprint_version"] for row in await cards(own.databases, ada.tenant_id)}
    assert (charged.json()["state"], on_with_it.json()["state"]) == ("approved", "approved")
    assert (stored[paid.token_id], stored[left]) == (2, 1)
    assert [earlier for _, earlier in found] == [paid.token_id, None]


@pytest.mark.control("UC-3.5.1.1")
async def test_a_shredded_card_is_recognised_by_nothing(own: Bench, ada: Person):
    first, _ = await typed(own, ada)
    await own.vault.keeping.shredding.shred_card(ada.tenant_id, first, "operator ada")

    assert (await typed(own, ada))[1] is None


async def test_a_mover_that_read_a_card_before_it_got_a_newer_fingerprint_leaves_it_alone(
    own: Bench, ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its batch is read; before it is written, the card is charged by a vault with the next fingerprint key."""
    paid = await own.paid_charge(ada)
    first = paid.token_id
    ring = rotated(own.settings.fingerprint_key, own)
    async with restarted(own, tmp_path / "next", ring) as after:
        await after.vault.keeping.ring.make_next(ada.tenant_id, 1)
        genuine, charges = rows.move_cards, [ada.charge(first)]

        async def late(tx: Any, moves: Any) -> int:
            while charges:
                assert (await after.charge(charges.pop())).json()["state"] == "approved"
            return await genuine(tx, moves)

        monkeypatch.setattr(rows, "move_cards", late)
        keeping = own.vault.keeping
        moved = await Resealing(store=keeping.store, ring=keeping.ring, clock=own.clock).move_all(ada.tenant_id)
        again = await typed(after, ada)

    (row, _) = sorted(await cards(own.databases, ada.tenant_id), key=lambda row: row["created_at"])
    assert (moved.cards, moved.stuck, moved.destroyed) == (1, 0, (1,))
    assert (row["fingerprint_version"], row["key_version"]) == (2, 2)
    assert again[1] == first


async def test_a_fingerprint_that_cannot_be_renewed_costs_nobody_a_charge(
    own: Bench, ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paid = await own.paid_charge(ada)

    async def fail(*_: object) -> bool:
        raise OSError

    monkeypatch.setattr(FingerprintRenewal, "_renew", fail)
    async with restarted(own, tmp_path / "next", rotated(own.settings.fingerprint_key, own)) as after:
        charged = await after.charge(ada.charge(paid.token_id))

    assert charged.json()["state"] == "approved"
    assert [row["fingerprint_version"] for row in await cards(own.databases, ada.tenant_id)] == [1]


async def test_a_renewal_after_the_card_moved_changes_nothing(own: Bench, ada: Person):
    paid = await own.paid_charge(ada)
    store, ring = Store(own.vault.engine), own.vault.keeping.ring
    async with store.transaction(ada.tenant_id) as tx:
        read = await tx.card(paid.token_id)
    assert read is not None
    await own.vault.keeping.rotation.rotate(ada.tenant_id, "operator ada")
    (before,) = await cards(own.databases, ada.tenant_id)
    fingerprints = Fingerprints(rotated(own.settings.fingerprint_key, own))

    fresh, record_key = await Opener(store, ring).record_key(read)
    stale = replace(fresh, wrapped_key=read.wrapped_key)
    await FingerprintRenewal(store, ring, fingerprints).keep_up(stale, record_key, CardNumber("4242424242424242"))

    assert await cards(own.databases, ada.tenant_id) == [before]


async def test_the_command_makes_a_next_version_and_counts_the_cards_of_each(own: Bench, ada: Person, tmp_path: Path):
    command = command_of(own, tmp_path)
    path = Path(command.environment["UNDERCROFT_VAULT_FINGERPRINT_KEY_FILE"])
    await typed(own, ada)

    made = command.run("tokens", "fingerprint-key")
    async with restarted(own, tmp_path / "next", Secret(await asyncio.to_thread(path.read_bytes))) as after:
        await typed(after, ada)
    RingFile(path).change(lambda ring: ring.without_those_before(2, own.clock.now()))
    listed = command.run("tokens", "fingerprints")
    await asyncio.to_thread(path.write_text, "nonsense")
    damaged = command.run("tokens", "fingerprint-key")

    assert (made.code, listed.code, damaged.code) == (0, 0, 1)
    assert made.out.startswith("version 2: restart the vault")
    assert [line.split() for line in listed.lines] == [
        ["tenant", "version", "cards"],
        [ada.tenant_id, "1", "1", "key", "not", "in", "the", "file"],
        [ada.tenant_id, "2", "1"],
    ]
    assert "nothing was changed" in damaged.errors


@pytest.mark.parametrize("content", [b"short", b"{}", b'{"undercroft_root_ring": 1, "versions": [], "destroyed": []}'])
def test_a_damaged_ring_is_not_used(content: bytes):
    with pytest.raises(FingerprintKeyUnusable):
        Fingerprints(Secret(content))
