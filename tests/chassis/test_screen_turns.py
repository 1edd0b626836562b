"""Card numbers said bit by bit, and what is kept of them in between."""

import gc
import pickle
import time
from collections import Counter, OrderedDict
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.clock import FixedClock
from infra.chassis.screen.turns import KEPT, TURNS_MAX, TurnScreen, _Conversation

FOURS = ("4012", "8888", "8888", "1881")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 21, tzinfo=UTC))


@pytest.fixture
def screen(clock: FixedClock) -> TurnScreen:
    return TurnScreen(clock)


def kept(screen: TurnScreen) -> OrderedDict[str, _Conversation]:
    return screen._conversations  # noqa: SLF001 - what is kept between turns is what these tests are about


def refused(screen: TurnScreen, *turns: str, conversation: str = "cnv_one") -> list[bool]:
    return [not screen.read(conversation, turn).clear for turn in turns]


@pytest.mark.control("UC-3.3")
@pytest.mark.parametrize(
    "turns",
    [
        FOURS,
        ("my card starts 4012", "then 8888", "hold on, the door", "8888 again", "and 1881"),
        ("forty twelve", "eighty-eight eighty-eight", "double eight double eight", "eighteen eighty-one"),
        ("cuarenta doce ochenta y ocho ochenta y ocho", "ochenta y ocho ochenta y ocho dieciocho ochenta y uno"),
        ("vierzig zwölf", "achtundachtzig achtundachtzig", "8888", "achtzehn einundachtzig"),
        ("401", "288", "888", "888", "188", "1"),
        ("3782", "822463", "10005"),
        ("3782 822463", "one zero zero zero five"),
    ],
)
def test_a_number_said_bit_by_bit_is_refused_with_its_last_bit(screen: TurnScreen, turns: tuple[str, ...]):
    assert refused(screen, *turns) == [False] * (len(turns) - 1) + [True]


def test_the_verdict_says_what_to_cut_and_how_far_back_the_number_began(screen: TurnScreen):
    refused(screen, *FOURS[:3])

    verdict = screen.read("cnv_one", "and finally 1881, ok?")

    assert verdict.spans == ((12, 16),)
    assert verdict.earlier_turns == 3


def test_a_number_in_one_turn_is_cut_out_of_that_turn(screen: TurnScreen):
    verdict = screen.read("cnv_one", "it is 4012888888881881")

    assert (verdict.spans, verdict.earlier_turns) == (((6, 22),), 0)


def test_the_last_bit_stays_refused_however_often_it_is_tried(screen: TurnScreen):
    refused(screen, *FOURS[:3])

    assert refused(screen, "1881", "1881", "it is 1881") == [True, True, True]


def test_a_number_that_is_asked_about_again_is_not_put_together_with_itself(screen: TurnScreen):
    assert not any(refused(screen, "42424242", "where is 42424242?", "42424242"))
    screen.forget("cnv_one")
    assert refused(screen, "4242", "4242", "4242", "4242") == [False, False, False, True]


def test_a_part_sent_again_because_its_answer_was_lost_does_not_hide_the_number(screen: TurnScreen):
    assert refused(screen, "4012", "4012", "8888", "8888", "1881")[-1]
    assert refused(screen, "40128888", "40128888", "88881881", conversation="cnv_two")[-1]


def test_conversations_do_not_mix(screen: TurnScreen):
    assert not any(refused(screen, turn, conversation=f"cnv_{number}")[0] for number, turn in enumerate(FOURS))


def test_more_turns_than_six_are_not_put_together(screen: TurnScreen):
    chatter = ["just a moment please"] * (TURNS_MAX - 3)

    assert refused(screen, *FOURS[:3], *chatter[:-1], FOURS[3])[-1]
    screen.forget("cnv_one")
    assert not any(refused(screen, *FOURS[:3], *chatter, FOURS[3]))


def test_what_was_kept_is_gone_after_a_quarter_of_an_hour(screen: TurnScreen, clock: FixedClock):
    refused(screen, *FOURS[:3])
    clock.advance(KEPT + timedelta(seconds=1))

    assert refused(screen, FOURS[3]) == [False]
    assert refused(screen, "hello", conversation="cnv_other") == [False]
    assert len(kept(screen)) == 1


def test_a_text_still_being_spoken_is_judged_and_not_remembered(screen: TurnScreen):
    refused(screen, *FOURS[:2])

    assert screen.look("cnv_one", FOURS[2]).clear
    assert screen.look("cnv_one", FOURS[2]).clear
    assert screen.read("cnv_one", FOURS[2]).clear
    assert not screen.look("cnv_one", FOURS[3]).clear


def test_the_longest_silent_conversation_makes_room(clock: FixedClock):
    screen = TurnScreen(clock, conversations_max=2)
    for conversation in ("cnv_one", "cnv_two", "cnv_three"):
        refused(screen, *FOURS[:3], conversation=conversation)

    assert refused(screen, FOURS[3], conversation="cnv_one") == [False]
    assert refused(screen, FOURS[3], conversation="cnv_three") == [True]


def test_neither_chatter_nor_a_conversation_without_digits_is_kept(screen: TurnScreen):
    refused(screen, "hello", "do you have the tall one in oak?", "thanks")

    assert not kept(screen)


@pytest.mark.control("UC-3.3")
def test_no_digits_are_kept_between_turns(screen: TurnScreen):
    refused(screen, *FOURS[:3])

    parts = kept(screen)["cnv_one"].kept
    said = [way for part in parts for way in part.ways]
    held = [getattr(one, name) for one in said for name in one.__slots__]
    assert [one.count for one in said] == [4, 4, 4]
    assert max(held) < 128
    assert not any(isinstance(value, str | bytes) for value in held)
    assert not any(digits in repr((screen, parts, kept(screen))) for digits in FOURS)
    assert not any(digits.encode() in pickle.dumps(held) for digits in FOURS)
    strings = [one for one in gc.get_referents(screen, *kept(screen).values()) if isinstance(one, str)]
    assert strings in ([], ["cnv_one"])


def test_half_of_all_groups_of_four_leave_the_same_as_fifty_others(screen: TurnScreen):
    left: Counter[object] = Counter()
    groups = ["".join(digits) for digits in product("0123456789", repeat=4)]
    for group in groups:
        screen.forget("cnv_one")
        assert screen.read("cnv_one", group).clear
        (piece,) = kept(screen)["cnv_one"].kept
        left[piece] += 1

    shared_with = sorted(left[piece] - 1 for piece in left.elements())
    assert len(shared_with) == 10_000
    assert shared_with[5_000] >= 50
    assert shared_with[2_100] >= 9


@given(st.lists(st.text(max_size=60), max_size=8))
def test_no_turns_break_the_screen(turns: list[str]):
    screen = TurnScreen(FixedClock(datetime(2026, 11, 21, tzinfo=UTC)))

    for turn in turns:
        assert all(0 <= start < end <= len(turn) for start, end in screen.read("cnv_one", turn).spans)


@pytest.mark.parametrize(
    "turn",
    [
        "x to 1 x to 1 x to 1 x to 1 x",
        "to four",
        "quatre vingt x quatre vingt x quatre vingt x quatre vingt",
        "soixante quatre vingt",
    ],
)
def test_no_turns_made_to_be_read_in_many_ways_take_long(screen: TurnScreen, turn: str):
    started = time.process_time()
    refused(screen, *[turn] * TURNS_MAX)

    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "turns",
    [
        ("my zip is 94107", "order 45123456", "call me on 415 555 0132", "two please"),
        ("order 42424242", "order 42424242"),
        ("it was 4242 euros for the room 4242", "and for 4242 people in house 4242"),
    ],
)
def test_numbers_that_are_called_something_else_are_not_put_together(screen: TurnScreen, turns: tuple[str, ...]):
    assert not any(refused(screen, *turns))
