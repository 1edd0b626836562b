"""Figures as a person reads them, and as a program does."""

import json
from collections.abc import Sequence
from pathlib import Path

from infra.bench.measuring import Figure, Spread
from infra.cli.console import table

HEADINGS = ("figure", "value", "unit", "floor", "ratio", "bar", "", "p10-p90", "of the floor")


def as_table(figures: Sequence[Figure]) -> str:
    """One line a figure; below it what the floors are."""
    floors: dict[str, list[str]] = {}
    for figure in figures:
        floors.setdefault(figure.floor_is, []).append(figure.figure)
    lines = [f"  floor: {floor_is}\n" + "\n".join(f"    of {name}" for name in of) for floor_is, of in floors.items()]
    return "\n".join([table([HEADINGS, *map(_row, figures)]), "", *lines])


def write_json(path: Path, name: str, figures: Sequence[Figure]) -> None:
    document = {"name": name, "figures": [_plain(figure) for figure in figures]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.figure,
        _short(figure.ours.median),
        figure.unit,
        _short(figure.floor.median),
        f"{figure.ratio:.2f}x",
        f"{figure.bar:g}x",
        "held" if figure.held else "missed",
        _range(figure.ours),
        _range(figure.floor),
    )


def _plain(figure: Figure) -> dict[str, str | float | bool]:
    """`value` and `floor` are medians in `unit`; `bar` is the largest `ratio` that holds."""
    return {
        "figure": figure.figure,
        "value": round(figure.ours.median, 3),
        "unit": figure.unit,
        "floor": round(figure.floor.median, 3),
        "ratio": round(figure.ratio, 3),
        "bar": figure.bar,
        "held": figure.held,
    }


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"  # noqa: PLR2004 - three digits, never an exponent


def _range(spread: Spread) -> str:
    return f"{_short(spread.low)}-{_short(spread.high)}"
