"""The benchmark harness as typed, over figures so small that nothing needs to be started."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infra import bench
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure, Prepare, Spread, measure
from infra.bench.stage import measured
from infra.cli import arguments, measuring

Calls = list[str]


def typed(*words: str) -> int:
    return measuring.bench(arguments.parse(["bench", *words]))


def tick(name: str, calls: Calls, prepared: Calls | None = None) -> Prepare:
    async def call() -> None:
        calls.append(name)

    async def prepare() -> Call:
        if prepared is not None:
            prepared.append(name)
        return call

    return prepare


def comparison(bar: float, calls: Calls | None = None, *, prepared: Calls | None = None) -> Comparison:
    """Two things that do nothing, so only the bar says whether it is held."""
    noted: Calls = [] if calls is None else calls
    return Comparison(
        figure=f"tiny: under {bar:g}",
        floor_is="nothing at all",
        ours=tick("ours", noted, prepared),
        floor=tick("floor", noted),
        bar=bar,
        unit="µs",
        rounds=4,
        calls=3,
    )


def benchmark(*comparisons: Comparison) -> Callable[[], Awaitable[list[Figure]]]:
    async def run() -> list[Figure]:
        return [await measured(one) for one in comparisons]

    return run


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bench.Bench]:
    """The benchmarks there are, for this test."""
    mine: dict[str, bench.Bench] = {
        "held": benchmark(comparison(1e9)),
        "missed": benchmark(comparison(0.0)),
        "both": benchmark(comparison(1e9), comparison(0.0)),
    }
    monkeypatch.setattr(bench, "BENCHES", mine)
    return mine


def test_the_table_shows_each_figure_beside_its_floor_with_ratio_bar_and_spread(
    benches: dict[str, bench.Bench], capsys: pytest.CaptureFixture[str]
):
    code = typed("both")

    shown = capsys.readouterr().out.splitlines()
    begin = next(number for number, line in enumerate(shown) if line.startswith("  figure "))
    heading, held, missed = shown[begin : begin + 3]
    assert code == 0
    assert heading.split() == ["figure", "value", "unit", "floor", "ratio", "bar", "p10-p90", "of", "the", "floor"]
    assert held.startswith("  tiny: under 1e+09 ")
    assert " held " in held
    assert missed.startswith("  tiny: under 0 ")
    assert " missed " in missed
    assert shown[begin + 4 :][:3] == ["  floor: nothing at all", "    of tiny: under 1e+09", "    of tiny: under 0"]


def test_a_busy_machine_is_named_since_its_figures_say_little(
    benches: dict[str, bench.Bench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("os.getloadavg", lambda: (64.0, 1.0, 1.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    typed("held")

    assert "2 cores, load 64.0 when it began: others are using this machine" in capsys.readouterr().out


def test_progress_is_shown_while_it_measures(benches: dict[str, bench.Bench], capsys: pytest.CaptureFixture[str]):
    typed("held")

    assert "tiny: under 1e+09 …" in capsys.readouterr().out


def test_the_json_file_has_the_promised_shape(benches: dict[str, bench.Bench], tmp_path: Path):
    typed("both", "--json", str(tmp_path / "figures.json"))

    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert set(document) == {"name", "figures"}
    assert document["name"] == "both"
    assert [set(figure) for figure in document["figures"]] == [
        {"figure", "value", "unit", "floor", "ratio", "bar", "held"}
    ] * 2
    assert [(figure["bar"], figure["held"]) for figure in document["figures"]] == [(1e9, True), (0.0, False)]
    assert all(
        figure["value"] >= 0 and figure["floor"] > 0 and figure["unit"] == "µs" for figure in document["figures"]
    )


def test_without_a_name_everything_is_measured_and_called_all(benches: dict[str, bench.Bench], tmp_path: Path):
    typed("--json", str(tmp_path / "figures.json"))

    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert (document["name"], len(document["figures"])) == ("all", 4)


@pytest.mark.parametrize(
    ("words", "code"),
    [(["held", "--strict"], 0), (["missed", "--strict"], 1), (["missed"], 0), (["held", "missed", "--strict"], 1)],
)
def test_only_strict_fails_for_a_missed_bar(benches: dict[str, bench.Bench], words: list[str], code: int):
    assert typed(*words) == code


def test_an_unknown_name_is_refused_with_the_names_there_are_and_nothing_is_measured(
    benches: dict[str, bench.Bench], capsys: pytest.CaptureFixture[str]
):
    code = typed("held", "vualt")

    said = capsys.readouterr()
    assert code == 2
    assert "no benchmark vualt" in said.err
    assert "held, missed, both" in said.err
    assert not said.out


def test_a_file_that_could_not_be_written_is_refused_before_anything_is_measured(
    benches: dict[str, bench.Bench], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = typed("held", "--json", str(tmp_path / "missing" / "figures.json"))

    said = capsys.readouterr()
    assert code == 2
    assert "no folder" in said.err
    assert not said.out


def test_a_failed_call_ends_the_benchmark_with_its_reason_and_without_figures(
    benches: dict[str, bench.Bench], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async def broken() -> list[Figure]:
        raise BenchFailed("POST /v1/captures was answered 500, not 200")

    benches["held"] = broken

    code = typed("held", "--json", str(tmp_path / "figures.json"))

    assert code == 1
    assert "was answered 500" in capsys.readouterr().err
    assert not (tmp_path / "figures.json").exists()


async def test_ours_and_the_floor_take_turns_and_the_first_round_is_not_counted():
    calls: Calls = []
    prepared: Calls = []
    shown: list[str] = []

    await measure(comparison(1.0, calls, prepared=prepared), shown.append)

    assert calls == (["ours"] * 3 + ["floor"] * 3) * 5
    assert len(prepared) == 15
    assert shown == [f"round {number} of 4" for number in (1, 2, 3, 4)]


def test_the_spread_is_the_median_and_the_middle_eight_tenths():
    spread = Spread.of([float(number) for number in range(101)])

    assert (spread.low, spread.median, spread.high) == (10.0, 50.0, 90.0)


def test_the_ratio_is_of_the_medians_and_a_bar_is_held_when_just_reached():
    ours, floor = Spread(median=13.0, low=1.0, high=99.0), Spread(median=10.0, low=9.0, high=11.0)
    figure = Figure(figure="x", floor_is="y", unit="ms", bar=1.3, ours=ours, floor=floor)

    assert figure.ratio == pytest.approx(1.3)
    assert figure.held


def test_every_service_and_the_whole_purchase_have_a_benchmark():
    assert list(bench.BENCHES) == ["chassis", "gateway", "vault", "memory", "mcp_server", "purchase"]
