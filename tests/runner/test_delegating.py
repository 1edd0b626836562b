"""Commands that belong to a service: the gateway's are told where the house keeps things, the vault's needs nothing."""

import os
import subprocess
import sys
from pathlib import Path

from infra.dev.house import House

ROOT = Path(__file__).parents[2]
# The bootstrap would install again where the tests run in an environment it did not make.
RUN = "import sys; from infra import bootstrap, cli; bootstrap.enter = lambda _: None; sys.exit(cli.main())"


def undercroft(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERCROFT_")}
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90)


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
    assert done.stdout.splitlines()[-1] == "shreddings that wait for a round: 0"
