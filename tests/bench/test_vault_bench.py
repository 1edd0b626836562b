"""What the vault's benchmark prepares is what a vault holds, and its bars are the issue's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from infra.bench import stored_cards
from infra.bench.card_forms import open_forms
from infra.bench.card_load import CALLERS, Pressed, figures_of, pace
from infra.bench.load import Load
from infra.bench.measuring import BenchFailed, Call
from infra.bench.stage import Door, client
from infra.bench.stored_cards import fill, sql, stored
from infra.dev.house import House
from tests.support.house import throwaway_house

MS = 1_000_000
CARDS = "SELECT count(*), count(DISTINCT token_id), count(DISTINCT subject_id), count(DISTINCT fingerprint) FROM cards"
INDEXES = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'cards'::regclass ORDER BY 1"


@pytest.fixture(scope="module")
def vault(throwaway_folder: Path) -> Iterator[House]:
    with throwaway_house(throwaway_folder / "bench", services=("vault",)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with client() as asking:
        yield asking


async def test_a_form_that_is_open_without_the_door_is_taken_and_once(vault: House, http: aiohttp.ClientSession):
    calls = await open_forms(vault, Door(http, vault.urls["vault_page"]), 5)

    for call in calls:
        await call()
    await calls[0]()

    assert sql(vault, CARDS).strip() == "5|5|5|1"


async def test_cards_that_only_lie_there_have_tokens_fingerprints_and_indexes_like_real_ones(
    vault: House, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_cards, "BATCH", 300)
    before = sql(vault, INDEXES)
    async with stored(vault, http) as card:
        fill(vault, 1_000)
        await (await card.hand_over())()
        (call,) = await open_forms(vault, Door(http, vault.urls["vault_page"]), 1)
        await call()

    shape = "SELECT count(*) FROM cards WHERE token_id !~ '^tok_[bcdfghjkmnpqrstvwxyz]{26}$' OR key_version <> 1"
    kinds = "SELECT count(DISTINCT left(token_id, 6)) FROM cards"
    total, tokens, people, fingerprints = map(int, sql(vault, CARDS).split("|"))
    assert sql(vault, INDEXES) == before
    assert total == tokens == people > 1_000
    assert fingerprints == 1_001
    assert sql(vault, shape).strip() == "0"
    assert int(sql(vault, kinds)) == 400
    assert sql(vault, "SELECT to_regclass('bench_indexes') IS NULL").strip() == "t"


async def test_a_card_that_does_not_open_is_no_figure(vault: House, http: aiohttp.ClientSession):
    async with stored(vault, http) as card:
        token_id = card.order.token_id
        sql(vault, f"UPDATE cards SET sealed_number = sealed_details WHERE token_id = '{token_id}'")  # noqa: S608 - an id of ours
        with pytest.raises(BenchFailed):
            await (await card.hand_over())()


def test_the_bars_are_500_cards_a_second_of_a_core_and_15_ms_for_the_slowest_hundredth():
    just, tail = Pressed(Load([30 * MS] * 1_000, 2.0), 2.0), Load([15 * MS] * 1_000, 2.0)
    slower, longer = Pressed(Load([30 * MS] * 1_000, 2.002), 2.002), Load([15 * MS + 1] * 1_000, 2.0)

    assert [figure.held for figure in figures_of([just, just], [tail, tail])] == [True, True, True]
    assert [figure.held for figure in figures_of([slower, slower], [longer, longer])] == [False, False, False]


async def test_a_card_that_waits_for_a_free_caller_has_waited_since_it_was_to_be_sent():
    held, sent = asyncio.Event(), list[int]()

    def call_of(number: int) -> Call:
        async def call() -> None:
            sent.append(number)
            if number == CALLERS:
                held.set()
            if number < CALLERS:
                await (held.wait() if number else asyncio.sleep(0.05))

        return call

    load = await pace([call_of(number) for number in range(CALLERS + 1)], per_second=1_000_000)

    assert sorted(sent) == list(range(CALLERS + 1))
    assert len(load.took) == CALLERS + 1
    assert min(load.took) >= 49 * MS
