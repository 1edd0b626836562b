"""How much the card screen finds and how much it refuses for nothing, on texts it was not tuned on."""

import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from infra.chassis.clock import FixedClock
from infra.chassis.screen import luhn
from infra.chassis.screen.turns import TurnScreen
from tests.chassis.screen_corpus import held_back, held_back_negatives, tuning, tuning_negatives
from tests.chassis.screen_corpus.shapes import HELD_BACK_CARDS, TUNING_CARDS, Sample, made

RECALL_MIN = 0.97
FALSE_POSITIVES_MAX = 0.01
"""Issue 4, capability 10."""
SEED = 20261121
Table = dict[tuple[str, str], Counter[bool]]


def judged(samples: Iterable[Sample]) -> Table:
    """By form and language: how many were refused, by any of their turns, and how many were not."""
    table: Table = {}
    clock = FixedClock(datetime(2026, 11, 21, tzinfo=UTC))
    for sample in samples:
        screen = TurnScreen(clock)
        refused = any(not screen.read("cnv_one", turn).clear for turn in sample.turns)
        table.setdefault((sample.form, sample.language), Counter())[refused] += 1
    return table


def share(table: Table) -> float:
    return sum(row[True] for row in table.values()) / sum(row.total() for row in table.values())


def shown(title: str, table: Table) -> str:
    """With `pytest -s`, and when a bar is missed."""
    rows = [
        f"| {form} | {language} | {row[True]} of {row.total()} |" for (form, language), row in sorted(table.items())
    ]
    return "\n".join(["", f"{title}: {share(table):.2%} of {sum(row.total() for row in table.values())}", *rows, ""])


@pytest.mark.control("UC-3.3")
def test_at_least_97_of_100_disguised_numbers_are_found_in_texts_nobody_tuned_on():
    table = judged(made(held_back.POSITIVES, 40, SEED))

    sys.stdout.write(shown("found", table))
    assert share(table) >= RECALL_MIN
    assert sum(row.total() for row in table.values()) >= 2_000


@pytest.mark.control("UC-3.3")
def test_at_most_1_of_100_ordinary_texts_nobody_tuned_on_is_refused():
    table = judged(made(held_back_negatives.NEGATIVES, 160, SEED))

    sys.stdout.write(shown("refused for nothing", table))
    assert share(table) <= FALSE_POSITIVES_MAX
    assert sum(row.total() for row in table.values()) >= 3_000


def test_the_bars_are_held_on_the_texts_it_was_tuned_on_too():
    assert share(judged(made(tuning.POSITIVES, 12, SEED))) >= RECALL_MIN
    assert share(judged(made(tuning_negatives.NEGATIVES, 400, SEED))) <= FALSE_POSITIVES_MAX


def test_a_screen_that_sees_nothing_or_everything_would_fail_these_bars():
    """The corpus itself: as many cards as it says, and none where it says none, but what passes by chance."""
    assert all(sample.holds_card for sample in made(held_back.POSITIVES, 2, SEED))
    assert not any(sample.holds_card for sample in made(held_back_negatives.NEGATIVES, 2, SEED))
    (ids,) = [maker for maker in held_back_negatives.NEGATIVES if next(made([maker], 1, 1)).form.startswith("sixteen")]
    digits = ["".join(filter(str.isdigit, sample.turns[0]))[:16] for sample in made([ids], 1000, SEED)]
    assert 60 < sum(map(luhn, digits)) < 140


def test_no_card_number_is_in_both_splits():
    assert len(HELD_BACK_CARDS) > 15
    assert len(TUNING_CARDS) > 15
    assert not set(TUNING_CARDS) & set(HELD_BACK_CARDS)
    assert all(luhn(card) for card in (*TUNING_CARDS, *HELD_BACK_CARDS))


def test_a_seed_makes_the_same_texts_again_and_another_seed_makes_others():
    makers = (*held_back.POSITIVES, *held_back_negatives.NEGATIVES)
    some = list(made(makers, 3, seed=1))

    assert some == list(made(makers, 3, seed=1))
    assert some != list(made(makers, 3, seed=2))


def test_a_card_is_said_in_six_turns_at_most():
    assert max(len(sample.turns) for sample in made(held_back.POSITIVES, 30, seed=3)) == 6
