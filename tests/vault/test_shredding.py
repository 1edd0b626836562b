"""Shredded cards stay shut, also for whoever has a dump from before and every secret there is today."""

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.keys import CannotDestroy, KeyService, KeyUnusable, SoftwareKeyService
from infra.chassis.keys.ringfile import RingFile
from infra.chassis.secret import Secret
from infra.dev.postgres import SUPERUSER, Cluster, ServiceDatabase, programs
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.keys import acts, cards, change, key_service, states
from tests.vault.killing import KILLED, KeysCommand, keys_command
from vault.envelope import SealBroken, open_sealed
from vault.fingerprint import Fingerprints, hidden
from vault.keys import rows as move_rows
from vault.keys.keeping import build_keeping
from vault.keys.ring import context
from vault.keys.rounds import NOT_DESTROYED, RoundBlocked
from vault.places import place, place_under_terms
from vault.store import Store

NUMBERS = (APPROVES, "5555555555554444", "378282246310005")


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """A vault with a database and a root of its own: a round concerns all tenants."""
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.fixture
def command(own: Bench, tmp_path: Path) -> KeysCommand:
    return keys_command(tmp_path, own.databases, own.settings.keys)


@dataclass(slots=True)
class Thief:
    """Has dumps, and everything there is today: the root, every tenant key it opens, the fingerprint key."""

    root: KeyService
    fingerprints: Fingerprints
    tenant_keys: dict[tuple[str, int], Secret[bytes]]

    async def take_keys(self, dump: str) -> None:
        for row in await rows(dump, "SELECT tenant_id, version, wrapped_key FROM tenant_keys"):
            try:
                bound_to = context(row["tenant_id"], row["version"])
                key = await self.root.unwrap(row["wrapped_key"] or b"", bound_to)
            except KeyUnusable:
                continue
            self.tenant_keys[row["tenant_id"], row["version"]] = key

    async def numbers(self, dump: str) -> dict[str, str]:
        """By token, what every key at hand opens of it, or the fingerprint of which number it is."""
        found: dict[str, str] = {}
        for card in await rows(dump, "SELECT * FROM cards"):
            for key in self.tenant_keys.values():
                number = _opened(card, key) or self._tried_out(card, key)
                if number is not None:
                    found[card["token_id"]] = number
        return found

    def _tried_out(self, card: dict[str, Any], key: Secret[bytes]) -> str | None:
        """As if all numbers were tried; the right one is among these."""
        for number in NUMBERS:
            plain = self.fingerprints.of(card["tenant_id"], memoryview(number.encode()))
            if card["fingerprint"] in {plain, hidden(key, plain)}:
                return number
        return None


def _opened(card: dict[str, Any], key: Secret[bytes]) -> str | None:
    def at(field: str) -> Any:
        return place(card["tenant_id"], card["token_id"], field)

    try:
        record_key = Secret(open_sealed(key, card["wrapped_key"], at("record_key")))
        at_number = place_under_terms(card["tenant_id"], card["token_id"], "number", card["terms"])
        return open_sealed(record_key, card["sealed_number"], at_number).decode()
    except SealBroken:
        return None


@dataclass(slots=True)
class Dumps:
    """Taken with pg_dump from the vault's cluster and restored in another one, which knows none of its roles."""

    vault: Cluster
    other: Cluster
    made: list[str]

    def take(self, databases: ServiceDatabase) -> str:
        name = f"dump_{secrets.token_hex(4)}"
        where = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        dump = subprocess.run(
            [programs() / "pg_dump", "-h", self.vault.socket_folder, "-U", SUPERUSER, "--no-owner", "--no-privileges",
             databases.name],
            env=where, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.other.sql(f"CREATE DATABASE {name}")
        self.other.sql(dump.stdout, database=name)
        self.made.append(name)
        password = secrets.token_hex(16)
        self.other.sql(
            f"CREATE ROLE thief_{name} LOGIN BYPASSRLS PASSWORD '{password}'; "
            f"GRANT CONNECT ON DATABASE {name} TO thief_{name}"
        )
        self.other.sql(
            f"GRANT USAGE ON SCHEMA public TO thief_{name}; "
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO thief_{name}",
            database=name,
        )
        return self.other.dsn(f"thief_{name}", password, name)

    def remove(self) -> None:
        for name in self.made:
            self.other.sql(f"DROP OWNED BY thief_{name} CASCADE", database=name)
            self.other.sql(f"DROP DATABASE {name}")
            self.other.sql(f"DROP ROLE thief_{name}")


@pytest.fixture
def dumps(clusters: dict[str, Cluster]) -> Iterator[Dumps]:
    made = Dumps(clusters["vault"], clusters["house"], [])
    yield made
    made.remove()


async def thief_of(bench: Bench, dumps: Dumps, *dumped: str) -> Thief:
    """With these dumps, and a fresh one of how everything stands now."""
    root = key_service(bench.settings.keys, bench.clock)
    thief = Thief(root, Fingerprints(bench.settings.fingerprint_key), {})
    for dump in (*dumped, dumps.take(bench.databases)):
        await thief.take_keys(dump)
    return thief


@pytest.mark.control("UC-3.7.5")
async def test_a_shredded_card_does_not_open_from_a_dump_taken_before_and_its_neighbours_do(
    own: Bench, ada: Person, command: KeysCommand, dumps: Dumps
):
    shredded, neighbour = await own.new_token(ada), await own.new_token(ada, NUMBERS[1])
    bob = Person()
    theirs = await own.new_token(bob, NUMBERS[2])
    before = dumps.take(own.databases)

    at_once = command.run("shred", "--card", ada.tenant_id, shredded)
    not_final = await (await thief_of(own, dumps, before)).numbers(before)
    done = command.run("round")
    after = await (await thief_of(own, dumps, before)).numbers(before)

    assert (at_once.code, done.code) == (0, 0), (at_once, done)
    assert not_final == {shredded: APPROVES, neighbour: NUMBERS[1], theirs: NUMBERS[2]}, "the dump is worth something"
    assert after == {theirs: NUMBERS[2]}, "the other tenant was not touched; ada's old dump is worth nothing"
    fresh = dumps.take(own.databases)
    thief = await thief_of(own, dumps, fresh)
    assert await thief.numbers(fresh) == {neighbour: NUMBERS[1], theirs: NUMBERS[2]}
    assert (await own.charge(ada.charge(neighbour))).json()["state"] == "approved"


@pytest.mark.control("UC-3.7.5")
async def test_a_shredded_tenant_does_not_open_from_a_dump_taken_before_and_others_do(
    own: Bench, ada: Person, command: KeysCommand, dumps: Dumps
):
    bob = Person()
    for number in NUMBERS[:2]:
        await own.new_token(ada, number)
    theirs = await own.new_token(bob, NUMBERS[2])
    before = dumps.take(own.databases)

    done = command.run("shred", "--tenant", ada.tenant_id, "--final")

    assert done.code == 0, done
    assert await (await thief_of(own, dumps, before)).numbers(before) == {theirs: NUMBERS[2]}
    assert await states(own.databases, ada.tenant_id) == [(1, "destroyed", 0)]
    assert {row["shredded_at"] is None for row in await cards(own.databases, ada.tenant_id)} == {False}
    again = await own.paid_charge(ada)
    assert (await cards(own.databases, ada.tenant_id))[-1]["tenant_id"] == again.tenant_id
    assert (await states(own.databases, ada.tenant_id))[-1] == (2, "active", 1)


@pytest.mark.control("UC-3.7.5")
async def test_a_shredded_card_cannot_be_charged_and_what_it_paid_stays_told(
    own: Bench, ada: Person, command: KeysCommand
):
    paid = await own.paid_charge(ada)

    command.run("shred", "--card", ada.tenant_id, paid.token_id)
    refused = (await own.charge(ada.charge(paid.token_id))).json()
    told = (await own.charge(paid)).json()
    refunded = (await own.refund(ada.refund(paid.charge_id, 1000))).json()
    (card,) = await cards(own.databases, ada.tenant_id)

    assert (refused["state"], refused["reason"]) == ("failed", "card_shredded")
    assert (told["state"], refunded["state"]) == ("approved", "refunded")
    assert (card["last4"], card["card_brand"]) == ("4242", "visa")
    assert not any(card[name] for name in ("wrapped_key", "sealed_number", "sealed_details", "sealed_fingerprint",
                                           "fingerprint"))  # fmt: skip


async def test_shredding_what_is_not_there_says_so_and_shredding_twice_too(
    own: Bench, ada: Person, command: KeysCommand
):
    token, bob = await own.new_token(ada), Person()
    attempts = [
        ("--card", ada.tenant_id, "tok_missing"),
        ("--card", bob.tenant_id, token),
        ("--tenant", bob.tenant_id),
    ]

    told = [command.run("shred", *attempt) for attempt in attempts]
    first = command.run("shred", "--card", ada.tenant_id, token)
    second = command.run("shred", "--card", ada.tenant_id, token)

    assert [ran.code for ran in (*told, first, second)] == [1, 1, 1, 0, 1]
    assert "nothing to shred" in second.errors
    assert [act[1] for act in await acts(own.databases, ada.tenant_id)].count("shredded") == 1


ROUND_STEPS = [
    "round_begun",
    "rotation_wrapped",
    "rotation_advanced",
    "rotation_batch_sealed",
    "rotation_batch_moved",
    "rotation_emptied",
    "rotation_destroyed",
    "round_tenant_done",
    "round_before_root",
    "round_root_made",
    "round_before_rewrap",
    "round_key_rewrapped",
    "round_before_floor",
    "round_floor_raised",
    "round_before_verify",
    "round_before_destroy",
    "round_root_destroyed",
    "round_before_finish",
    "round_shreddings_final",
]


@pytest.mark.control("UC-3.7.5")
async def test_a_round_killed_at_every_step_ends_with_the_card_gone_and_every_other_card_open(
    own: Bench, ada: Person, command: KeysCommand, dumps: Dumps
):
    """One round, which dies at the next step each time it is gone on with."""
    shredded, neighbour = await own.new_token(ada), await own.new_token(ada, NUMBERS[1])
    bob = Person()
    theirs = await own.new_token(bob, NUMBERS[2])
    before = dumps.take(own.databases)

    await own.charge(ada.charge(neighbour))
    killed = [command.run("shred", "--card", ada.tenant_id, shredded, die_at="shred_card_done").code]
    for step in ROUND_STEPS:
        killed.append(command.run("round", die_at=step).code)
        if step in {"rotation_batch_sealed", "round_key_rewrapped", "round_root_destroyed"}:
            assert (await own.charge(ada.charge(neighbour))).json()["state"] == "approved"
    ended = command.run("round")

    assert killed == [KILLED] * (1 + len(ROUND_STEPS))
    assert ended.code == 0, ended
    assert await (await thief_of(own, dumps, before)).numbers(before) == {theirs: NUMBERS[2]}
    assert (await own.charge(bob.charge(theirs))).json()["state"] == "approved"
    found = await rows(own.databases.app_dsn, "SELECT final_at FROM shreddings", ada.tenant_id)
    assert [row["final_at"] is None for row in found] == [False]
    assert await rows(own.databases.app_dsn, "SELECT count(*) AS rounds FROM root_rounds WHERE finished_at IS NULL"
                      ) == [{"rounds": 0}]  # fmt: skip


@pytest.mark.control("UC-3.7.5")
async def test_a_tenants_shredding_killed_at_every_step_is_ended_by_the_job(
    own: Bench, ada: Person, command: KeysCommand
):
    for _ in range(2):
        await own.new_token(ada)

    killed = command.run("shred", "--tenant", ada.tenant_id, die_at="shred_tenant_keys_destroyed")
    half = await cards(own.databases, ada.tenant_id)
    refused = (await own.charge(ada.charge(half[0]["token_id"]))).json()
    await own.vault.keeping.lifecycle.run_once()

    assert killed.code == KILLED
    assert {row["shredded_at"] for row in half} == {None}
    assert (refused["state"], refused["reason"]) == ("failed", "card_shredded")
    assert all(row["shredded_at"] for row in await cards(own.databases, ada.tenant_id))


@pytest.mark.control("UC-3.7")
async def test_no_tenant_key_is_stored_under_a_root_that_is_about_to_go(own: Bench, ada: Person):
    """A process that wrapped a key before the root was rotated, and stores it after."""
    await own.new_token(ada)
    keeping = own.vault.keeping
    late = await keeping.keys.wrap(Secret(secrets.token_bytes(32)), context(ada.tenant_id, 2))
    await keeping.rounds.run("ordered", "operator ada")

    with pytest.raises(Exception, match="root that is going"):
        await rows(
            own.databases.app_dsn,
            "INSERT INTO tenant_keys (tenant_id, version, state, wrapped_key, root_version, created_at) "
            "VALUES (:t, 2, 'active', :w, :r, now()) RETURNING 1",
            ada.tenant_id,
            t=ada.tenant_id,
            w=late,
            r=keeping.keys.version_of(late),
        )


@pytest.mark.control("UC-3.7.5")
async def test_a_tenant_shredded_while_its_cards_are_moved_has_none_of_them_under_a_new_key(
    own: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """The mover has opened the cards and sealed them under the next key when the tenant is shredded."""
    for _ in range(2):
        await own.new_token(ada)
    keeping, real = own.vault.keeping, move_rows.hold_retired

    async def overtaken(tx: Any, version: int) -> bool:
        await keeping.shredding.shred_tenant(ada.tenant_id, "operator ada")
        monkeypatch.setattr(move_rows, "hold_retired", real)
        return await real(tx, version)

    monkeypatch.setattr(move_rows, "hold_retired", overtaken)
    moved = await keeping.rotation.rotate(ada.tenant_id, "operator ada")

    assert moved.cards == 0
    assert [state for _, state, _ in await states(own.databases, ada.tenant_id)] == ["destroyed"] * 2
    assert all(row["shredded_at"] for row in await cards(own.databases, ada.tenant_id))


class KeepsEverything(SoftwareKeyService):
    """As a cloud's key service, which destroys nothing when it is asked to."""

    async def destroy_before(self, version: int) -> None:
        raise CannotDestroy(f"not before {version}")


@pytest.mark.control("UC-3.7.5")
async def test_a_root_that_cannot_be_destroyed_makes_nothing_final_and_a_later_round_does(own: Bench, ada: Person):
    token = await own.new_token(ada)
    root = own.settings.keys.root_key_file
    assert root is not None
    keeping = build_keeping(
        Store(own.vault.engine), KeepsEverything(RingFile(root), own.clock), own.clock, own.settings.lifecycle
    )
    await keeping.shredding.shred_card(ada.tenant_id, token, "operator ada")

    kept = await keeping.rounds.run("shredding", "operator ada")
    (not_yet,) = await rows(own.databases.app_dsn, "SELECT final_at FROM shreddings", ada.tenant_id)
    destroyed = await own.vault.keeping.rounds.run("shredding", "operator ada")
    (final,) = await rows(own.databases.app_dsn, "SELECT final_at, round_id FROM shreddings", ada.tenant_id)

    assert kept is not None
    assert destroyed is not None
    assert (kept.outcome, not_yet["final_at"]) == (NOT_DESTROYED, None)
    assert (destroyed.outcome, final["round_id"]) == ("final", destroyed.round_id)
    assert final["final_at"] is not None


@pytest.mark.control("UC-3.7")
async def test_a_round_destroys_nothing_while_one_tenant_key_does_not_open(own: Bench, ada: Person):
    bob = Person()
    await own.new_token(ada)
    theirs = await own.paid_charge(bob)
    broken = "UPDATE tenant_keys SET wrapped_key = wrapped_key || 'x' WHERE true"
    await change(own.databases, ada.tenant_id, broken)

    with pytest.raises(RoundBlocked, match=f"key 1 of {ada.tenant_id} does not open"):
        await own.vault.keeping.rounds.run("ordered", "operator ada")

    versions = (await own.vault.keeping.keys.describe()).versions
    assert [one.state for one in versions] == ["retired", "active"]
    own.clock.advance(timedelta(minutes=2))
    assert (await own.charge(bob.charge(theirs.token_id))).json()["state"] == "approved"
