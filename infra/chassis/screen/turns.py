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
from infra.chassis.screen.judging import is_printed, part_of
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
class _Kept:
    """What is left of some digits. `lengths`: bit n for a card of 13 + n digits that can begin with them."""

    turn: int
    count: int
    odd: int
    even: int
    lengths: int
    bare: bool


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
    found = [part for part in map(part_of, seen.runs) if part is not None]
    if seen.strangers > STRANGERS_TO_ONE_MAX:
        found = [part for part in found if len(part.digits) > 1]
    labelled = not _LABELS.isdisjoint(folded.replace(",", " ").replace(".", " ").split())
    kept = []
    for part in found:
        odd, even = check_sums(part.digits)
        lengths = lengths_of(part.digits) >> LENGTH_MIN
        bare = len(found) == 1 and not labelled
        kept.append((_Kept(turn, len(part.digits), odd % 10, even % 10, lengths, bare), (part.start, part.end)))
    return kept


def _began(before: list[_Kept], now: list[_Kept]) -> int | None:
    """The turn in which a card number began that ends with a part of this one."""
    for last in range(1, len(now) + 1):
        parts = [*before, *now[:last]]
        for first in range(len(before)):
            if _is_card(parts[first:]):
                return parts[first].turn
    return None


def _is_card(parts: Sequence[_Kept]) -> bool:
    total = sum(part.count for part in parts)
    if not LENGTH_MIN <= total <= LENGTH_MAX or not parts[0].lengths >> (total - LENGTH_MIN) & 1:
        return False
    sizes = [part.count for part in parts]
    fours = is_printed(sizes) and len(sizes) > 2  # noqa: PLR2004 - two numbers of eight digits meet often
    if not fours and not all(part.bare for part in parts):
        return False
    check, at = 0, 0
    for part in parts:
        check += part.even if (total - at) % 2 == 0 else part.odd
        at += part.count
    return check % 10 == 0


def _original(span: Span, places: list[int] | None) -> Span:
    return span if places is None else (places[span[0]], places[span[1]])
