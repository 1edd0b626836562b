"""The corpus the card screen is judged on, before anything is judged."""

from infra.chassis.screen import luhn
from tests.chassis.screen_corpus.held_back import POSITIVES
from tests.chassis.screen_corpus.held_back_negatives import NEGATIVES
from tests.chassis.screen_corpus.shapes import HELD_BACK_CARDS, TUNING_CARDS, made


def test_no_card_number_is_in_both_splits():
    assert len(HELD_BACK_CARDS) > 15
    assert len(TUNING_CARDS) > 15
    assert not set(TUNING_CARDS) & set(HELD_BACK_CARDS)
    assert all(luhn(card) for card in (*TUNING_CARDS, *HELD_BACK_CARDS))


def test_a_seed_makes_the_same_texts_again_and_another_seed_makes_others():
    some = list(made(POSITIVES + NEGATIVES, 3, seed=1))

    assert some == list(made(POSITIVES + NEGATIVES, 3, seed=1))
    assert some != list(made(POSITIVES + NEGATIVES, 3, seed=2))


def test_a_card_is_said_in_six_turns_at_most():
    assert max(len(sample.turns) for sample in made(POSITIVES, 30, seed=3)) == 6
