"""Card numbers that are said bit by bit, over several turns of one conversation.

What is kept between turns are no digits. Of each part of a turn that could belong to a card number it keeps how many
digits it had, its two Luhn sums modulo ten, and how long a card number that begins so can be. From these a whole number
is recognised when its last part comes. They say something still: half of all groups of four leave the same as at least
50 others do, one in five the same as fewer than 10, and one or two digits in a turn can be worked out.

It lives in this process only: in no database and with no other worker. Who runs several must send a conversation to one
of them, or a number whose turns meet different workers is missed.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.chassis.clock import Clock
from infra.chassis.screen import found_in
from infra.chassis.screen.folding import fold
from infra.chassis.screen.judging import is_printed, parts_of
from infra.chassis.screen.networks import LENGTH_MAX, LENGTH_MIN, check_sums, lengths_of
from infra.chassis.screen.reading import Read, Span, read
from infra.chassis.screen.words import words

TURNS_MAX: Final = 6
"""A number is looked for over so many turns, this one included."""
PARTS_MAX: Final = 4
"""Of one turn; more groups of digits than these are no part of one number."""
KEPT: Final = timedelta(minutes=15)
"""After the last turn. Nobody takes longer between two parts of one number."""
CONVERSATIONS_MAX: Final = 10_000
"""In one process: about 10 MB at most. Beyond, the one that was silent longest is forgotten."""
SAME_COUNT_MAX: Final = 4
"""Digits of a part that may be said again and again within one number, as 4242 is in the test number."""
PRINTED_SIZES: Final = frozenset({4, 6, 8, 10, 12})
"""Digits between two gaps of an embossed number, in any of its forms; the last group may be of any size."""
STRANGERS_MAX: Final = 5
"""Words in a turn that say nothing of digits; what has more talks about something else."""
STRANGERS_TO_ONE_MAX: Final = 3
"""Words likewise, in a turn with a single digit: "the tall one in the window" is no part of a number."""
_LABELS: Final = words(
    "order orders invoice ticket booking reference zip postcode postal phone mobile telephone call born birthday "
    "house street floor room flat apartment total price euro euros dollars pounds code pedido factura reserva "
    "referencia telefono movil nacido nacida casa calle piso precio codigo commande facture reservation portable ne "
    "nee maison rue etage prix bestellung bestellnummer rechnung buchung postleitzahl plz telefon handy geboren haus "
    "strasse stock summe preis am pm percent "
)
"""Who names a number in such words says another number than a card's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a turn says with those before it. `spans`: from and to, in this turn's text, of what must not go on."""

    spans: tuple[Span, ...] = ()
    earlier_turns: int = 0
    """How many turns back the number began; 0 when it stands in this turn alone. Those texts have been passed on."""

    @property
    def clear(self) -> bool:
        return not self.spans


@dataclass(frozen=True, slots=True, repr=False)
class _Said:
    """What is left of some digits. `lengths`: bit n for a card of 13 + n digits that can begin with them."""

    count: int
    odd: int
    even: int
    lengths: int


@dataclass(frozen=True, slots=True, repr=False)
class _Kept:
    """A part of a turn, in the ways it can be read. `bare`: the turn says nothing else and names it nothing else."""

    turn: int
    bare: bool
    ways: tuple[_Said, ...]


@dataclass(slots=True, repr=False)
class _Conversation:
    seen_at: datetime
    turn: int
    kept: list[_Kept]


class TurnScreen:
    """Reads the turns of many conversations. Not for several threads."""

    def __init__(self, clock: Clock, conversations_max: int = CONVERSATIONS_MAX) -> None:
        self._clock = clock
        self._conversations_max = conversations_max
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()

    def read(self, conversation: str, text: str) -> Verdict:
        """Judge a turn. A clear one is remembered as far as it could be part of a number; a refused one is not."""
        return self._judged(conversation, text, keep=True)

    def look(self, conversation: str, text: str) -> Verdict:
        """Judge a text that may yet change, such as one still being spoken: nothing of it is remembered."""
        return self._judged(conversation, text, keep=False)

    def forget(self, conversation: str) -> None:
        self._conversations.pop(conversation, None)

    def _judged(self, conversation: str, text: str, *, keep: bool) -> Verdict:
        folded, places = fold(text)
        seen = read(folded)
        spans = found_in(text, folded, places, seen)
        if spans:
            return Verdict(tuple(spans))
        known = self._known(conversation)
        turn = known.turn + 1 if known is not None else 1
        parts = _parts(seen, turn, folded)
        if known is not None and parts:
            before = [kept for kept in known.kept if turn - kept.turn < TURNS_MAX]
            began = _began(before, [kept for kept, _ in parts])
            if began is not None:
                own = [span for _, span in parts]
                return Verdict(tuple(_original(span, places) for span in own), turn - began)
        if keep and (parts or known is not None):
            self._keep(conversation, known, turn, [kept for kept, _ in parts])
        return Verdict()

    def _known(self, conversation: str) -> _Conversation | None:
        now = self._clock.now()
        while self._conversations:
            oldest, known = next(iter(self._conversations.items()))
            if now - known.seen_at <= KEPT:
                break
            del self._conversations[oldest]
        return self._conversations.get(conversation)

    def _keep(self, conversation: str, known: _Conversation | None, turn: int, parts: list[_Kept]) -> None:
        before = [] if known is None else [kept for kept in known.kept if turn - kept.turn < TURNS_MAX - 1]
        if not before and not parts:
            self.forget(conversation)
            return
        self._conversations[conversation] = _Conversation(self._clock.now(), turn, [*before, *parts])
        self._conversations.move_to_end(conversation)
        if len(self._conversations) > self._conversations_max:
            self._conversations.popitem(last=False)


def _parts(seen: Read, turn: int, folded: str) -> list[tuple[_Kept, Span]]:
    """What of this turn could be part of a number, and where it stands."""
    if seen.strangers > STRANGERS_MAX or len(seen.runs) > PARTS_MAX:
        return []
    found = [parts for parts in map(parts_of, seen.runs) if parts]
    if seen.strangers > STRANGERS_TO_ONE_MAX:
        found = [parts for parts in found if len(parts[0].digits) > 1]
    labelled = not _LABELS.isdisjoint(folded.replace(",", " ").replace(".", " ").split())
    bare = len(found) == 1 and not labelled
    return [
        (
            _Kept(turn, bare, tuple(_said(part.digits) for part in parts)),
            (min(part.start for part in parts), max(part.end for part in parts)),
        )
        for parts in found
    ]


def _said(digits: str) -> _Said:
    odd, even = check_sums(digits)
    return _Said(len(digits), odd % 10, even % 10, lengths_of(digits) >> LENGTH_MIN)


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last parts of what may be a number: their sizes, their share of the check sum, whether all are bare.

    `one`: what all of them are, when they are all the same.
    """

    sizes: tuple[int, ...] = ()
    check: int = 0
    bare: bool = True
    one: _Said | None = None

    def after(self, kept: _Kept, said: _Said) -> "_Tail":
        """With one more part before it. In Luhn the last digit counts plainly, so what is doubled hangs on the end."""
        from_end = said.count + sum(self.sizes)
        check = self.check + (said.odd if from_end % 2 else said.even)
        one = said if not self.sizes or self.one == said else None
        return _Tail((said.count, *self.sizes), check, self.bare and kept.bare, one)

    @property
    def is_grouped(self) -> bool:
        """Two numbers of eight digits meet often, so fours count from three parts on.

        An order number that is asked about twice is no card number of twice its length.
        """
        if self.one is not None and self.one.count > SAME_COUNT_MAX:
            return False
        return self.bare or (len(self.sizes) > 2 and is_printed(self.sizes))  # noqa: PLR2004 - as said


def _began(before: list[_Kept], now: list[_Kept]) -> int | None:
    """The turn in which a card number began that ends with a part of this one."""
    for last in range(1, len(now) + 1):
        turn = _began_before(_Tail(), [*before, *now[:last]], len(before))
        if turn is not None:
            return turn
    return None


def _began_before(tail: _Tail, parts: Sequence[_Kept], earlier: int) -> int | None:
    """Go back through `parts`, the first `earlier` of which are of earlier turns, in every way they can be read."""
    kept = parts[-1]
    for said in kept.ways:
        whole = tail.after(kept, said)
        total = sum(whole.sizes)
        if total > LENGTH_MAX or not (whole.bare or not tail.sizes or said.count in PRINTED_SIZES):
            continue
        long_enough = total >= LENGTH_MIN and said.lengths >> (total - LENGTH_MIN) & 1
        if len(parts) <= earlier and long_enough and whole.check % 10 == 0 and whole.is_grouped:
            return kept.turn
        turn = _began_before(whole, parts[:-1], earlier) if len(parts) > 1 else None
        if turn is not None:
            return turn
    return None


def _original(span: Span, places: list[int] | None) -> Span:
    return span if places is None else (places[span[0]], places[span[1]])
