"""Commands that belong to a service: the gateway's are told where the house keeps things, the vault's needs nothing."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli import delegating
from infra.dev.house import House

ROOT = Path(__file__).parents[2]
# The bootstrap would install again where the tests run in an environment it did not make.
RUN = "import sys; from infra import bootstrap, cli; bootstrap.enter = lambda _: None; sys.exit(cli.main())"


TELLS = """
import json, os, subprocess, sys
from infra.cli import delegating
given = []
delegating.subprocess.run = lambda program, **more: given.append((program, more)) or subprocess.CompletedProcess([], 0)
delegating.os.execve = lambda path, program, environment: given.append((program, {"env": environment}))
import argparse, pathlib
options = argparse.Namespace(arguments=["status"], folder=pathlib.Path(sys.argv[1]))
for name in ("keys", "tokens", "custody", "ledger", "policy"):
    getattr(delegating, name)(options)
print(json.dumps([[program, more["env"]] for program, more in given]))
"""
"""What each command would be started with."""


def undercroft(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERCROFT_")}
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90)


def test_a_services_command_is_given_its_own_settings_and_nothing_else_of_whoever_asks(tmp_path: Path):
    own = {"UNDERCROFT_VAULT_KEY_SERVICE": "software", "SOFTHSM2_CONF": "/etc/softhsm2.conf"}
    others = {"AWS_SECRET_ACCESS_KEY": "no", "UNDERCROFT_GATEWAY_BIND": "no", "LD_PRELOAD": "", "PGPASSWORD": "no"}
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONHASHSEED": "0", **own, **others}

    answer = subprocess.run(
        [sys.executable, "-c", TELLS, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, check=True
    )

    *vaults, gateways = json.loads(answer.stdout)
    always = {"PATH", "LANG", "PYTHONUNBUFFERED", "PYTHONPATH"}
    assert [set(given) for _, given in vaults] == [always | set(own)] * 4
    assert set(gateways[1]) == always | {"UNDERCROFT_GATEWAY_BIND", "SOFTHSM2_CONF"}
    assert all(program[1:3] == ["-P", "-m"] for program, _ in (*vaults, gateways))


def test_where_cards_are_opened_root_stays_who_he_is_until_the_command_has_closed_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who became the vault's user before would have been open to it: a new program is, from its first instruction."""
    became: dict[str, list[str]] = {}
    monkeypatch.setattr(delegating, "_owner", lambda *_: 1)
    for verb in ("export", "import", "import-key", "canary"):
        done = became[verb] = []
        for name in ("setgroups", "setgid", "setuid", "execve"):
            monkeypatch.setattr(os, name, lambda *_, name=name, done=done: done.append(name))
        delegating.tokens(argparse.Namespace(arguments=[verb], folder=tmp_path))

    assert became.pop("canary") == ["setgroups", "setgid", "setuid", "execve"]
    assert all(done == ["setgroups", "execve"] for done in became.values())


def test_what_lies_in_the_folder_somebody_stands_in_is_not_run(tmp_path: Path):
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "__init__.py").write_text("raise SystemExit('somebody else')")
    run = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {RUN}"

    done = subprocess.run(
        [sys.executable, "-P", "-c", run, "keys", "list", "--folder", str(tmp_path)],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2, done.stderr
    assert "UNDERCROFT_VAULT_DATABASE_URL_FILE is missing" in done.stderr


def test_the_policies_are_asked_their_cases_without_any_house(tmp_path: Path):
    done = undercroft("policy", "test", "--folder", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("cases, 0 failures")


def test_the_record_of_a_running_house_is_decided_again(house: House):
    tenant = min(house.brands)

    done = undercroft("record", "replay", "--tenant", tenant, "--folder", str(house.folder))

    assert done.returncode == 0, done.stderr
    assert f"{tenant}: the same again" in done.stdout


def test_two_sets_of_rules_are_compared_on_a_running_house(house: House):
    done = undercroft("policy", "diff", "base", "base", "--last", "5", "--folder", str(house.folder))

    assert done.returncode == 0, done.stderr
    assert all(f"{tenant}: " in done.stdout for tenant in house.brands)


def test_without_a_house_the_missing_setting_is_named(tmp_path: Path):
    done = undercroft("record", "replay", "--folder", str(tmp_path))

    assert done.returncode == 2
    assert "UNDERCROFT_GATEWAY_DATABASE_URL_FILE is missing" in done.stderr


def test_help_is_the_gateways_own():
    done = undercroft("policy", "diff", "--help")

    assert (done.returncode, "--last N" in done.stdout) == (0, True)


def test_the_card_page_of_a_running_house_is_what_its_inventory_says(house: House):
    done = undercroft("page", "check", house.urls["vault_page"])

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("are those of the inventory")


def test_the_vaults_keys_are_shown_beside_a_running_house(house: House):
    done = undercroft("keys", "list", "--folder", str(house.folder))

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"shreddings that wait for a round: \d+", done.stdout.splitlines()[-1])


def test_where_the_vaults_database_is_the_owners_command_does_not_ask_the_vault(house: House):
    """Who broke into the vault may write there: an address of his would be told the owner's password."""
    served = house.keyring.path("vault/app.url")
    before = served.read_bytes()
    house.keyring.write("vault/app.url", b"postgresql+asyncpg://vault_app@127.0.0.1:1/vault")
    try:
        done = undercroft("destinations", "list", min(house.brands), "--folder", str(house.folder))
    finally:
        house.keyring.write("vault/app.url", before)

    assert done.returncode == 0, done.stderr
