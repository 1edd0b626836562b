"""When a delivery is tried again: a pure function of its ids, its attempt and the clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vault.outbox.schedule import (
    GIVE_UP_AFTER,
    PAUSE_FIRST,
    PAUSE_MAX,
    REST_MAX,
    RETRY_AFTER_MAX,
    next_attempt,
    pause,
    rest,
    retry_after,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
GARBAGE = ["", "soon", "-1", "1.5", "1e9", "\u0661", "Mon, 99 Foo 2026 99:99:99 GMT", "Mon, 01 Jan 99999 00:00:00 GMT"]


@given(attempt=some.integers(1, 10_000), about=some.text(max_size=40))
def test_a_pause_is_the_same_each_time_it_is_asked_for_and_within_its_bounds(attempt: int, about: str):
    whole = min(PAUSE_FIRST * 3 ** min(attempt - 1, 20), PAUSE_MAX)

    assert pause(attempt, about) == pause(attempt, about)
    assert whole / 2 <= pause(attempt, about) <= whole


def test_pauses_of_different_events_are_spread():
    drawn = {pause(5, f"evt_{number}") for number in range(200)}

    assert len(drawn) == 200
    assert max(drawn) - min(drawn) > timedelta(seconds=405) * 0.45


@given(
    attempt=some.integers(1, 30),
    age=some.timedeltas(timedelta(), timedelta(hours=48)),
    asked=some.none() | some.timedeltas(timedelta(), RETRY_AFTER_MAX),
)
def test_the_next_attempt_is_later_and_not_long_after_a_day(attempt: int, age: timedelta, asked: timedelta | None):
    at = next_attempt(NOW, attempt=attempt, about="x", owed_since=NOW - age, retry_after=asked)

    if age >= GIVE_UP_AFTER:
        assert at is None
        return
    assert at is not None
    assert at >= NOW + (asked or timedelta())
    assert at > NOW
    assert at <= max(NOW - age + GIVE_UP_AFTER, NOW + (asked or timedelta()))


def test_the_last_attempt_is_made_when_the_day_is_over():
    almost = NOW - GIVE_UP_AFTER + timedelta(minutes=1)

    at = next_attempt(NOW, attempt=12, about="x", owed_since=almost, retry_after=None)

    assert at == almost + GIVE_UP_AFTER


@given(failures=some.integers(1, 10_000))
def test_no_endpoint_rests_longer_than_its_bound(failures: int):
    assert timedelta() < rest(failures, "ept_x") <= REST_MAX


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("0", timedelta()),
        ("120", timedelta(minutes=2)),
        (" 120 ", timedelta(minutes=2)),
        ("99999999999999999999", RETRY_AFTER_MAX),
        ("Sat, 21 Nov 2026 12:05:00 GMT", timedelta(minutes=5)),
        ("Sat, 21 Nov 2026 12:05:00 -0000", timedelta(minutes=5)),
        ("Sat, 21 Nov 2020 12:05:00 GMT", timedelta()),
        ("Sat, 21 Nov 2099 12:05:00 GMT", RETRY_AFTER_MAX),
        *((text, None) for text in GARBAGE),
    ],
)
def test_what_a_receiver_asks_for_is_read_or_ignored(value: str | None, wait: timedelta | None):
    assert retry_after(value, NOW) == wait
