"""The files that take longest begin first; a renamed one would lose its place without a word."""

from dataclasses import dataclass
from typing import cast

import pytest

from compliance.checks.tree import ROOT
from tests.support.order import LONGEST, longest_first


@dataclass(frozen=True, slots=True)
class Item:
    nodeid: str


def test_every_file_named_as_long_is_there_once():
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_long_files_come_first_and_the_others_stay_as_they_were():
    short = ["tests/chassis/test_a.py::b", "tests/chassis/test_a.py::a"]
    items = [Item(short[0]), Item(f"tests/{LONGEST[1]}::z"), Item(short[1]), Item(f"tests/{LONGEST[0]}::a[x::y]")]

    longest_first(cast("list[pytest.Item]", items))

    assert [item.nodeid for item in items] == [f"tests/{LONGEST[0]}::a[x::y]", f"tests/{LONGEST[1]}::z", *short]
