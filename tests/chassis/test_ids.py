"""Ids: their form, and that every letter is as likely as any other."""

import secrets
from collections import Counter

import pytest

from infra.chassis import ids
from infra.chassis.ids import ALPHABET, BODY_LENGTH, new_id


def test_an_id_says_its_kind_and_has_nothing_but_our_letters():
    made = {new_id("tok") for _ in range(2_000)}

    assert len(made) == 2_000
    assert all(one[:4] == "tok_" and len(one) == 4 + BODY_LENGTH and set(one[4:]) <= set(ALPHABET) for one in made)
    assert {one[place] for one in made for place in range(4, 4 + BODY_LENGTH)} == set(ALPHABET)


def test_every_letter_is_drawn_by_as_many_bytes_and_the_others_are_thrown_away(monkeypatch: pytest.MonkeyPatch):
    every_byte = bytes(range(256))
    monkeypatch.setattr(ids, "BODY_LENGTH", 240)
    monkeypatch.setattr(secrets, "token_bytes", lambda _size: every_byte)

    drawn = Counter(new_id("tok")[4:])

    assert drawn == dict.fromkeys(ALPHABET, 12)


def test_one_draw_that_gives_too_few_letters_is_followed_by_another(monkeypatch: pytest.MonkeyPatch):
    draws = iter([bytes([255]) * 33 + bytes([1]), bytes([2]) * 34])
    monkeypatch.setattr(secrets, "token_bytes", lambda _size: next(draws))

    assert new_id("tok") == "tok_" + ALPHABET[1] + ALPHABET[2] * 25
