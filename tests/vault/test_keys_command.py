"""`undercroft keys`: what an operator sees and does beside a running vault, and what is written down of it."""

import json
import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench
from tests.vault.keys import cards, states, versions
from tests.vault.killing import KILLED, KeysCommand, keys_command

ME = f"operator {pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.fixture
def command(own: Bench, tmp_path: Path) -> KeysCommand:
    return keys_command(tmp_path, own.databases, own.settings.keys)


async def test_the_list_shows_every_version_with_its_seals_and_cards(own: Bench, ada: Person, command: KeysCommand):
    await own.new_token(ada)

    rotated = command.run("rotate", ada.tenant_id)
    told = command.run("list")

    assert rotated.out == f"{ada.tenant_id}: a new key; cards moved 1, not opening 0, versions destroyed 1\n"
    lines = [line.split() for line in told.out.splitlines()]
    assert lines[0] == ["tenant", "version", "state", "created", "retired", "seals", "cards"]
    assert [(line[0], line[1], line[2], line[-1]) for line in lines[1:3]] == [
        (ada.tenant_id, "1", "destroyed", "0"),
        (ada.tenant_id, "2", "active", "1"),
    ]
    assert told.out.splitlines()[-1] == "shreddings that wait for a round: 0"


@pytest.mark.control("UC-10.2")
async def test_every_act_is_written_down_with_who_when_what_and_outcome(own: Bench, ada: Person, command: KeysCommand):
    token = await own.new_token(ada)
    command.run("rotate", ada.tenant_id)
    command.run("shred", "--card", ada.tenant_id, token, "--final")

    exported = json.loads(command.run("export").out)

    (tenant,) = exported["tenants"]
    told = [(act["actor"], act["act"], act["what"]) for act in tenant["acts"]]
    assert set(told) >= {
        (ME, "rotated", "key 2"),
        ("vault", "destroyed", "key 1"),
        (ME, "shredded", f"card {token}"),
        ("vault", "final", exported["rounds"][0]["round_id"]),
    }
    assert all(act["at"] and act["outcome"] for act in (*tenant["acts"], *exported["acts"]))
    assert [(act["actor"], act["act"]) for act in exported["acts"]] == [(ME, "round begun"), (ME, "round finished")]
    assert exported["rounds"][0]["outcome"] == "final"
    assert [one["state"] for one in exported["root"]["versions"]] == ["destroyed", "active"]


async def test_the_export_holds_no_key_no_wrap_and_no_digit_of_a_card(own: Bench, ada: Person, command: KeysCommand):
    await own.new_token(ada)
    assert own.settings.keys.root_key_file is not None
    root = own.settings.keys.root_key_file.read_bytes()
    wrapped = (await versions(own.databases, ada.tenant_id))[0]["wrapped_key"]

    text = command.run("export").out

    for secret in (root, wrapped, (await cards(own.databases, ada.tenant_id))[0]["wrapped_key"]):
        assert secret.hex() not in text
        assert secret[:24].hex() not in text
    assert "wrapped" not in text
    assert "4242" not in text


async def test_what_cannot_be_done_says_why_and_ends_with_one(own: Bench, command: KeysCommand, tmp_path: Path):
    nowhere = tmp_path / "nowhere.url"
    nowhere.write_text(f"postgresql+asyncpg://vault_app:x@/vault?host={tmp_path}")

    unknown = command.run("rotate", "tnt_nobody")
    away = command.run("list", DATABASE_URL_FILE=str(nowhere))
    root_gone = command.run("rotate", ROOT_KEY_FILE=str(tmp_path / "gone"))

    assert (unknown.code, unknown.errors) == (1, "keys: there is no such tenant\n")
    assert (away.code, away.errors.split(";")[0]) == (1, "keys: DatabaseUnreachable")
    assert (root_gone.code, root_gone.errors) == (2, "UNDERCROFT_VAULT_ROOT_KEY_FILE cannot be used")


ROTATION_STEPS = [
    "rotation_wrapped",
    "rotation_advanced",
    "rotation_batch_sealed",
    "rotation_batch_moved",
    "rotation_emptied",
    "rotation_destroyed",
]


@pytest.mark.control("UC-3.7")
@pytest.mark.parametrize("step", ROTATION_STEPS)
async def test_a_rotation_killed_at_any_step_loses_no_card_and_is_ended_by_the_job(
    own: Bench, ada: Person, command: KeysCommand, step: str
):
    paid = [await own.paid_charge(ada) for _ in range(2)]

    killed = command.run("rotate", ada.tenant_id, die_at=step)
    meanwhile = [(await own.charge(ada.charge(order.token_id))).json()["state"] for order in paid]
    await own.vault.keeping.lifecycle.run_once()
    afterwards = [(await own.charge(ada.charge(order.token_id))).json()["state"] for order in paid]

    assert killed.code == KILLED
    assert meanwhile == afterwards == ["approved"] * 2
    expected = [(1, "active", 2)] if step == "rotation_wrapped" else [(1, "destroyed", 0), (2, "active", 2)]
    assert await states(own.databases, ada.tenant_id) == expected
