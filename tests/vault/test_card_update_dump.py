"""What a dump taken before a card was replaced is worth, to whoever has every key there is after."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.dev.postgres import Cluster
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.killing import keys_command
from tests.vault.test_shredding import NUMBERS, Dumps, thief_of
from tests.vault.updates import replaced


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """A vault with a database and a root of its own: a round concerns all tenants."""
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


@pytest.fixture
def dumps(clusters: dict[str, Cluster]) -> Iterator[Dumps]:
    made = Dumps(clusters["vault"], clusters["house"], [])
    yield made
    made.remove()


@pytest.mark.control("UC-3.7.5", "UC-T.3")
async def test_a_replaced_card_does_not_open_from_a_dump_taken_before_once_a_round_is_through(
    own: Bench, ada: Person, tmp_path: Path, dumps: Dumps
):
    token = await own.new_token(ada)
    before = dumps.take(own.databases)

    await replaced(own, ada, token, NUMBERS[1])
    not_final = await (await thief_of(own, dumps, before)).numbers(before)
    done = keys_command(tmp_path, own.databases, own.settings.keys).run("round")
    after = await (await thief_of(own, dumps, before)).numbers(before)

    fresh = dumps.take(own.databases)
    found = await rows(own.databases.app_dsn, "SELECT cause, final_at FROM shreddings", ada.tenant_id)
    assert (done.code, not_final, after) == (0, {token: APPROVES}, {})
    assert await (await thief_of(own, dumps, fresh)).numbers(fresh) == {token: NUMBERS[1]}
    assert [(row["cause"], row["final_at"] is None) for row in found] == [("replaced", False)]
    assert (await own.charge(ada.charge(token))).json()["state"] == "approved"
