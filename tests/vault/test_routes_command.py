"""`python -m vault routes`: a tenant's routes, added, listed and taken away; each tenant its own."""

import argparse
import asyncio
import re
from pathlib import Path

import pytest

from tests.vault.bench import Bench, Person
from vault.routing.commands import add_routes, routes


@pytest.fixture
def environment(bench: Bench, tmp_path: Path) -> dict[str, str]:
    url = tmp_path / "routes.url"
    url.write_text(bench.databases.app_dsn)
    return {"UNDERCROFT_VAULT_DATABASE_URL_FILE": str(url)}


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_routes(parser)
    return parser.parse_args(arguments)


def test_values_that_make_no_route_are_refused(capsys: pytest.CaptureFixture[str]):
    for wrong in (
        ("--processor", "nobody"),
        ("--processor", "stripe", "--weight", "0"),
        ("--processor", "stripe", "--position", "101"),
        ("--processor", "stripe", "--currency", "usd"),
        ("--processor", "stripe", "--card-brand", "loyalty"),
        ("--processor", "stripe", "--from-minor", "-1"),
    ):
        with pytest.raises(SystemExit):
            parsed("add", "--tenant", "tnt_a", *wrong)
    assert "invalid choice" in capsys.readouterr().err


async def test_a_tenants_routes_are_added_shown_and_removed_and_nobody_elses(
    environment: dict[str, str], bench: Bench, ada: Person, capsys: pytest.CaptureFixture[str]
):
    other = Person()
    for person in (ada, other):
        await bench.order_capture(person.capture())

    async def run(person: Person, *arguments: str) -> tuple[int, str]:
        command = parsed(arguments[0], "--tenant", person.tenant_id, *arguments[1:])
        code = await asyncio.to_thread(routes, command, environment)
        told = capsys.readouterr()
        return code, told.out + told.err

    before = await run(ada, "list")
    added = await run(
        ada, "add", "--processor", "airwallex", "--currency", "EUR", "--card-brand", "visa", "--to-minor", "5000",
        "--weight", "3",
    )  # fmt: skip
    listed = await run(ada, "list")
    route_id = added[1].split()[0]
    foreign = await run(other, "remove", route_id)
    paid = (await bench.paid_charge(ada)).charge_id
    tried, not_theirs = await run(ada, "tried", paid), await run(other, "tried", paid)
    removed, again = await run(ada, "remove", route_id), await run(ada, "remove", route_id)

    assert "no routes" in before[1]
    assert listed == added == (0, f"{route_id} position 1: airwallex weight 3, currency EUR card visa to 5000\n")
    assert (tried[0], not_theirs[0]) == (0, 1)
    assert re.search(r"^1 \S+ \S+ stripe pi_\w+ live$", tried[1], re.MULTILINE)
    assert "no routes" in (await run(other, "list"))[1]
    assert (foreign[0], removed[0], again[0]) == (1, 0, 1)
    assert (await run(Person(), "list"))[0] == 2
