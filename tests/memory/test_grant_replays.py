"""Used once, whoever asks: several processes, at the same moment, with fresh proofs, with old ones."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.memory.conftest import ISSUER, PATHS, Bench, Subject, open_bench
from tests.support.database import DatabaseMaker
from tests.support.grants import TestMint


@pytest.fixture
async def twin(bench: Bench, database: DatabaseMaker, tmp_path: Path) -> AsyncIterator[Bench]:
    """Another process of the same memory: its own engine, the same database, the same trusted keys."""
    same = ServiceDatabase(name="", owner_dsn=bench.owner_dsn, app_dsn=bench.app_dsn)
    async with open_bench(same, tmp_path, bench.mint, bench.clock) as opened:
        yield opened


@pytest.mark.control("UC-G.1")
async def test_two_processes_together_let_one_of_twenty_uses_through(bench: Bench, twin: Bench, ada: Subject):
    """Each with a proof of its own: the sender itself repeats the call."""
    order = ada.recall()
    grant = bench.grant("recall", order)

    answers = await asyncio.gather(*(use.send("recall", order, grant) for use in (bench, twin) * 10))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19


@pytest.mark.control("UC-G.2")
async def test_a_proof_is_used_once_over_all_processes(bench: Bench, twin: Bench, ada: Subject):
    order, path = ada.recall(), PATHS["recall"]
    first, second = bench.grant("recall", order), bench.grant("recall", order)

    answers = [
        await bench.post("recall", order, bench.mint.headers(first, "POST", path, jti="the-same")),
        await twin.post("recall", order, bench.mint.headers(second, "POST", path, jti="the-same")),
        await twin.send("recall", order, second),
    ]

    assert [answer.status_code for answer in answers] == [200, 409, 200], "the refused one did not use its grant up"


@pytest.mark.parametrize(("seconds", "status"), [(-6, 403), (-5, 200), (0, 200), (29, 200), (30, 403)])
@pytest.mark.control("UC-G.2")
async def test_a_proof_is_good_for_half_a_minute(bench: Bench, ada: Subject, seconds: int, status: int):
    order = ada.recall()
    made_at = bench.clock.now() - timedelta(seconds=seconds)
    grant = bench.grant("recall", order)

    answer = await bench.post("recall", order, bench.mint.headers(grant, "POST", PATHS["recall"], now=made_at))

    assert answer.status_code == status


@pytest.mark.control("UC-G.1")
async def test_another_issuer_is_refused_before_its_ids_matter(bench: Bench, ada: Subject):
    order = ada.recall()
    foreign = TestMint(bench.clock, "memory", f"{ISSUER}.elsewhere", bench.mint.key, bench.mint.sender)

    answer = await bench.send("recall", order, foreign.grant("recall", order))

    assert answer.status_code == 403
