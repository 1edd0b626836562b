"""Several callers at once, and the figures made of it."""

import asyncio
from pathlib import Path

import pytest

from infra.bench import capacity
from infra.bench.capacity import CapacityNotOurs, limited
from infra.bench.load import Load, press, scaling_figure, tail_figure
from infra.bench.measuring import BenchFailed

MS = 1_000_000


async def test_as_many_ask_at_once_as_were_named_and_each_answer_counts_once():
    under_way, most, answered = 0, 0, 0

    async def call() -> None:
        nonlocal under_way, most, answered
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        answered += 1

    load = await press(call, callers=4, seconds=0.5)

    assert most == 4
    assert 0 < len(load.took) <= answered <= len(load.took) + 4


async def test_a_failed_call_ends_the_measuring():
    async def broken() -> None:
        raise BenchFailed("POST /v1/decisions was answered 500, not 200")

    with pytest.raises(BenchFailed):
        await press(broken, callers=2, seconds=5.0)


def test_the_tail_is_held_against_the_median_of_the_same_requests():
    calm = Load([10 * MS] * 98 + [50 * MS] * 2, 1.0)
    stormy = Load([10 * MS] * 90 + [500 * MS] * 10, 1.0)

    assert tail_figure("x", [calm, calm], 10.0).held
    assert not tail_figure("x", [stormy, stormy], 10.0).held


@pytest.mark.parametrize(("two", "held"), [(171, True), (169, False)])
def test_the_bar_of_scaling_is_just_1_7_times_as_many_answers(two: int, held: bool):
    one, more = Load([MS] * 100, 1.0), Load([MS] * two, 1.0)

    assert scaling_figure("x", "one", [more, more], [one, one], 1 / 1.7).held is held


def test_a_machine_that_limits_nobody_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(capacity, "_FIRST_VERSION", tmp_path / "missing")
    monkeypatch.setattr(capacity, "_SECOND_VERSION", tmp_path / "missing" / "too")

    with pytest.raises(CapacityNotOurs), limited([1], percent=10):
        pytest.fail("nothing was limited")
