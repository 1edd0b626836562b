"""The card screen: finds card numbers in text that people and models write.

Deterministic, without any model, linear in the text; before every free-text field, memory, tool argument and log
value. It says where a number stands and never which it is. `find_cards` reads one text; `turns.TurnScreen` also
finds numbers that are said bit by bit over several turns. How well: compliance/decisions.
"""

import re
from typing import Final

from infra.chassis.ids import ALPHABET, BODY_LENGTH
from infra.chassis.screen.encoded import decoded
from infra.chassis.screen.folding import fold
from infra.chassis.screen.innocent import says_what_it_is
from infra.chassis.screen.judging import spans_across, spans_in
from infra.chassis.screen.networks import LENGTH_MIN, luhn
from infra.chassis.screen.reading import Read, Span, read

__all__ = ["MASK", "find_card_number", "find_cards", "luhn", "mask"]

MASK: Final = "[card number removed]"
_ID: Final = re.compile(rf"[a-z]{{3}}_[{ALPHABET}]{{{BODY_LENGTH}}}")
"""Most of what is logged. It has no digit, no vowel for a number word, and none of the capitals M, N and O that begin
each three digits in base64."""


def find_cards(text: str) -> list[Span]:
    """From and to of everything in `text` that says a card number; in order, apart. Empty when there is none."""
    if len(text) < LENGTH_MIN or _ID.fullmatch(text) is not None:
        return []
    folded, places = fold(text)
    return found_in(text, folded, places, read(folded))


def found_in(text: str, folded: str, places: list[int] | None, seen: Read) -> list[Span]:
    """As `find_cards`, of a text that has been read already."""
    here = [*_plain(folded, seen)]
    spans = here if places is None else [(places[start], places[end]) for start, end in here]
    spans += [(start, end) for start, end, plain in decoded(text) if _plain(plain, read(plain))]
    return _apart(spans)


def find_card_number(text: str) -> Span | None:
    """Where the first card number in `text` stands, or None. Never the digits."""
    return next(iter(find_cards(text)), None)


def mask(text: str) -> str:
    """`text` with a mark where each card number stood."""
    kept, at = [], 0
    for start, end in find_cards(text):
        kept += [text[at:start], MASK]
        at = end
    return "".join([*kept, text[at:]])


def _plain(folded: str, seen: Read) -> list[Span]:
    found = [span for run in seen.runs for span in spans_in(run)]
    if not found:
        found = spans_across(seen.runs)
    return [span for span in found if not says_what_it_is(folded, *span)]


def _apart(spans: list[Span]) -> list[Span]:
    """In order, those that touch made one."""
    apart: list[Span] = []
    for start, end in sorted(spans):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart
