"""From folded text to runs: stretches of digits and number words with nothing but fillers between them.

A run is read into atoms, each some digits that belong together. Words can be read in more ways than one ("quatre vingt
douze" is 92 or 4 20 12), so a run has up to four readings. Everything here is one pass over the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from infra.chassis.screen.words import LEXICON, Kind, Word, parts_of

_TOKEN: Final = re.compile(r"([^\W\d_]+)|([0-9]+)|((?! \w)(?:[\W_]|(?![0-9])\d)+)")
"""Words, digits, and what stands between, but for the single space that nearly always does."""
_DIGIT: Final = re.compile(r"[0-9]")
_WORD, _DIGITS = 1, 2
_JOINING: Final = re.compile(r"[\s\-\u2010-\u2015\xad]*\Z")
"""Between the words of one number stand spaces and hyphens; a comma ends it."""
_BREAKING: Final = re.compile(r"[$\u20ac\xa3\xa5%\u2030\u2192]|\n\s*\n")
_STRONG: Final = re.compile(r"[,.;:!?\n()\[\]{}\"'|/=]")
GAP_MAX: Final = 8
"""Characters that are neither letters nor digits, between two groups of one number: `4242 | - > 4242`."""
REPEATS_MAX: Final = 9
_MANY: Final = {
    Kind.TEEN: 2, Kind.TEN: 2, Kind.TENS: 2, Kind.SOIXANTE: 2, Kind.VINGT: 2,
    Kind.HUNDRED: 3, Kind.HUNDREDS: 3, Kind.THOUSAND: 4,
    Kind.REPEAT: REPEATS_MAX, Kind.TIMES: REPEATS_MAX, Kind.PLURAL: REPEATS_MAX, Kind.AND: 0,
}  # fmt: skip
"""Digits a word can stand for, at most."""
_NAMES: Final = tuple("0123456789")
_GROUP: Final = Word(Kind.GROUP)
Span = tuple[int, int]
"""From, to; of the folded text."""


@dataclass(slots=True, repr=False)
class Atom:
    """A number word or a group of written digits; or, once read, several that are one number."""

    kind: Kind
    value: int
    digits: str
    start: int
    end: int
    soft: bool
    tight: bool
    """Only spaces or hyphens since the atom before."""
    strong: bool
    """Punctuation, or the beginning of the run, stands before it."""

    @property
    def spoken(self) -> bool:
        return self.kind is not Kind.GROUP


@dataclass(slots=True, repr=False)
class Run:
    pieces: list[Atom] = field(default_factory=list)
    strangers: int = 0
    """Words before it, since the run before, that the screen does not know."""
    capacity: int = 0
    """Digits it can say at most."""
    kinds: int = 0
    """Bit n is set for a piece of kind n."""
    cut: bool = False
    """It ends at a word that is no number."""
    stuck: bool = False
    """Letters stand right beside it, as in identifiers: no part of a number that goes on elsewhere."""


@dataclass(slots=True)
class Read:
    runs: list[Run]
    strangers: int
    """All words of the text that are neither numbers nor fillers."""


def read(folded: str) -> Read:
    reader = _Runs()
    any_digits = _DIGIT.search(folded) is not None
    for match in _TOKEN.finditer(folded):
        said = match.group()
        which = match.lastindex
        if which == _DIGITS:
            reader.take(_GROUP, said, match.span())
        elif which == _WORD:
            reader.hear(said, match.span(), stuck=any_digits and _is_stuck(folded, *match.span()))
        elif len(said) <= GAP_MAX and _BREAKING.search(said) is None:
            reader.tight = reader.tight and _JOINING.match(said) is not None
            reader.strong = reader.strong or _STRONG.search(said) is not None
        else:
            reader.end_run(cut=False)
    return reader.read()


def _is_stuck(folded: str, start: int, end: int) -> bool:
    """Whether digits stand right beside a word, as in identifiers and in 28th."""
    return folded[end : end + 1].isdecimal() or folded[max(start - 1, 0) : start].isdecimal()


def _is_no_number(word: str, known: Word) -> bool:
    return known.kind is Kind.FILLER or (known.soft and word.strip("o") != "")


class _Runs:
    """The runs so far, and what stood since the last number. `tight` and `strong` as of an atom."""

    def __init__(self) -> None:
        self.tight = True
        self.strong = True
        self._runs: list[Run] = []
        self._run = Run()
        self._strangers = 0

    def hear(self, word: str, span: Span, *, stuck: bool) -> None:
        known = LEXICON.get(word)
        if known is not None and not (stuck and _is_no_number(word, known)):
            if known.kind is Kind.FILLER:
                self.tight = False
            else:
                self.take(known, word, span)
            return
        parts = None if stuck else parts_of(word)
        if parts is not None:
            for part in parts:
                self.take(part, word, span)
            return
        self.end_run(cut=True, stuck=stuck)
        self._run.strangers += 1
        self._strangers += 1

    def take(self, known: Word, said: str, span: Span) -> None:
        kind, run = known.kind, self._run
        if kind is Kind.GROUP:
            digits = "0" * known.value or said
            run.capacity += len(digits)
        elif kind is Kind.DIGIT:
            digits = _NAMES[known.value]
            run.capacity += 1
        else:
            digits = ""
            run.capacity += _MANY[kind]
        run.kinds |= 1 << kind
        run.pieces.append(Atom(kind, known.value, digits, *span, known.soft, self.tight, self.strong))
        self.tight, self.strong = True, False

    def end_run(self, *, cut: bool, stuck: bool = False) -> None:
        if self._run.pieces:
            self._run.cut = cut
            self._run.stuck = self._run.stuck or stuck
            self._runs.append(self._run)
            self._run = Run()
        self._run.stuck = stuck
        self.tight, self.strong = False, True

    def read(self) -> Read:
        self.end_run(cut=False)
        return Read(self._runs, self._strangers)


@dataclass(frozen=True, slots=True)
class Manner:
    """How freely neighbouring words are joined into one number."""

    tens: bool = True
    """twenty two is 22, not 20 2."""
    seventies: bool = True
    """soixante dix is 70, not 60 10."""
    eighties: bool = True
    """quatre vingt douze is 92, not 4 20 12."""
    rest: bool = True
    """four hundred two is 402, not 400 2."""
    many: bool = True
    """Of digits said one by one the last belongs to what follows: uno dos mil is 1 2000, not 12 1000."""


_FREELY: Final = Manner()


def _bits(*kinds: Kind) -> int:
    return sum(1 << kind for kind in kinds)


_ONE_WAY: Final = _bits(Kind.GROUP, Kind.DIGIT)
_MANNERS: Final = (
    (_bits(Kind.HUNDRED, Kind.HUNDREDS, Kind.THOUSAND), Manner(rest=False)),
    (_bits(Kind.HUNDRED, Kind.THOUSAND), Manner(many=False)),
    (_bits(Kind.SOIXANTE), Manner(seventies=False)),
    (_bits(Kind.VINGT), Manner(eighties=False)),
    (_bits(Kind.TENS, Kind.SOIXANTE, Kind.VINGT), Manner(tens=False, seventies=False, eighties=False, rest=False)),
)
"""Which pieces make it worth reading a run in another manner."""


def readings(run: Run) -> Iterator[list[Atom]]:
    """The likeliest first."""
    if not run.kinds & ~_ONE_WAY:
        yield run.pieces
        return
    yield _Reader(run.pieces, _FREELY).atoms()
    for kinds, manner in _MANNERS:
        if run.kinds & kinds:
            yield _Reader(run.pieces, manner).atoms()


_BELOW_HUNDRED: Final = (Kind.TEEN, Kind.TEN, Kind.TENS, Kind.SOIXANTE, Kind.VINGT)


class _Reader:
    def __init__(self, pieces: list[Atom], manner: Manner) -> None:
        self._pieces = pieces
        self._manner = manner
        self._end = len(pieces)

    def atoms(self) -> list[Atom]:
        atoms: list[Atom] = []
        at = 0
        while at < self._end:
            digits, after = self._said(at)
            if digits:
                pieces = self._pieces[at:after]
                atoms.append(
                    Atom(
                        kind=pieces[0].kind if after == at + 1 else Kind.TEEN,
                        value=0,
                        digits=digits,
                        start=pieces[0].start,
                        end=pieces[-1].end,
                        soft=all(piece.soft for piece in pieces),
                        tight=pieces[0].tight,
                        strong=pieces[0].strong,
                    )
                )
            at = after
        return atoms

    def _said(self, at: int) -> tuple[str, int]:
        """The digits said from `at` on, and where the next begin."""
        piece = self._pieces[at]
        if piece.kind is Kind.GROUP:
            if len(piece.digits) == 1 and self._is(at + 1, Kind.TIMES, Kind.PLURAL):
                return self._repeated(int(piece.digits), at + 1)
            return piece.digits, at + 1
        if piece.kind is Kind.REPEAT:
            return self._after_repeat(piece.value, at + 1)
        if piece.kind is Kind.DIGIT and self._is(at + 1, Kind.TIMES, Kind.PLURAL):
            return self._repeated(piece.value, at + 1)
        if piece.kind in {Kind.AND, Kind.TIMES, Kind.PLURAL}:
            return "", at + 1
        number, after = self._number(at)
        return str(number), after

    def _repeated(self, count: int, at: int) -> tuple[str, int]:
        """As in "three fives" and "three times five"; otherwise the count is a digit of its own."""
        piece = self._pieces[at]
        if piece.kind is Kind.PLURAL and 1 < count <= REPEATS_MAX:
            return str(piece.value) * count, at + 1
        if piece.kind is Kind.TIMES and self._is(at + 1, Kind.DIGIT):
            return str(self._pieces[at + 1].value) * count, at + 2
        if piece.kind is Kind.TIMES and self._is(at + 1, Kind.GROUP) and len(self._pieces[at + 1].digits) == 1:
            return self._pieces[at + 1].digits * count, at + 2
        return str(count), at

    def _after_repeat(self, count: int, at: int) -> tuple[str, int]:
        if self._is(at, Kind.GROUP) and len(self._pieces[at].digits) <= 2:  # noqa: PLR2004 - "double 4", "double 42"
            return self._pieces[at].digits * count, at + 1
        if self._is(at, Kind.DIGIT, Kind.PLURAL):
            return str(self._pieces[at].value) * count, at + 1
        if self._is(at, *_BELOW_HUNDRED):
            value, after = self._below_hundred(at)
            return str(value) * count, after
        return "", at

    def _number(self, at: int) -> tuple[int, int]:
        value, after = self._below_thousand(at)
        if not self._multiplies(after, Kind.THOUSAND, value, at):
            return value, after
        value = max(value, 1) * 1000
        after += 1
        if self._manner.rest and self._joined(after) and self._starts_number(after):
            rest, behind = self._below_thousand(after)
            if rest and not self._belongs_to_thousand(behind):
                return value + rest, behind
        return value, after

    def _below_thousand(self, at: int) -> tuple[int, int]:
        """Zero and `at` itself when no number below a thousand begins there."""
        if self._is(at, Kind.HUNDREDS):
            value, after = self._pieces[at].value, at + 1
        else:
            value, after = self._below_hundred(at)
            if not self._multiplies(after, Kind.HUNDRED, value, at):
                return value, after
            value, after = max(value, 1) * 100, after + 1
        follows = after + 1 if self._is(after, Kind.AND) and self._joined(after) else after
        if self._manner.rest and self._joined(follows) and self._is_small(follows):
            rest, behind = self._below_hundred(follows)
            if rest and not self._is(behind, Kind.HUNDRED) and not self._belongs_to_thousand(behind):
                return value + rest, behind
        return value, after

    def _below_hundred(self, at: int) -> tuple[int, int]:
        """Zero and `at` itself when none begins there."""
        if at >= self._end:
            return 0, at
        piece = self._pieces[at]
        if piece.kind is Kind.DIGIT:
            return self._digit(piece, at)
        if piece.kind is Kind.TEN and self._is(at + 1, Kind.DIGIT) and self._joined(at + 1):
            ones = self._pieces[at + 1].value
            return (10 + ones, at + 2) if ones in {7, 8, 9} else (10, at + 1)
        if piece.kind in {Kind.TEEN, Kind.TEN}:
            return piece.value, at + 1
        if piece.kind in {Kind.TENS, Kind.SOIXANTE, Kind.VINGT}:
            return self._after_tens(piece.value, at + 1)
        return 0, at

    def _digit(self, piece: Atom, at: int) -> tuple[int, int]:
        if piece.value == 4 and self._manner.eighties and self._is(at + 1, Kind.VINGT) and self._joined(at + 1):  # noqa: PLR2004 - quatre-vingt
            return self._after_tens(80, at + 2)
        inverted = self._is(at + 1, Kind.AND) and self._is(at + 2, Kind.TENS)
        if inverted and piece.value and self._joined(at + 1) and self._joined(at + 2):
            return self._pieces[at + 2].value + piece.value, at + 3
        return piece.value, at + 1

    def _after_tens(self, tens: int, at: int) -> tuple[int, int]:
        """What follows forty in forty-two, cuarenta in cuarenta y dos, soixante in soixante et onze."""
        and_first = self._is(at, Kind.AND) and self._joined(at)
        follows = at + 1 if and_first else at
        if not self._joined(follows) or not (self._manner.tens or and_first):
            return tens, at
        if self._is(follows, Kind.DIGIT) and self._pieces[follows].value:
            german = self._is(follows + 1, Kind.AND) and self._is(follows + 2, Kind.TENS) and self._joined(follows + 1)
            of_the_next = german or (self._manner.many and self._belongs_to_thousand(follows + 1))
            return (tens, at) if of_the_next else (tens + self._pieces[follows].value, follows + 1)
        french = self._pieces[at - 1].kind
        counts_on = (french is Kind.SOIXANTE and self._manner.seventies) or (french is Kind.VINGT and tens > 20)  # noqa: PLR2004 - quatre-vingt
        if counts_on and self._is(follows, Kind.TEEN, Kind.TEN):
            teen, behind = self._below_hundred(follows)
            if teen < 20:  # noqa: PLR2004 - soixante-dix-neuf is the last
                return tens + teen, behind
        return tens, at

    def _multiplies(self, after: int, unit: Kind, value: int, at: int) -> bool:
        """Whether hundred or thousand stands at `after`: alone, or for `value` times as many."""
        if not self._is(after, unit):
            return False
        if after == at:
            return True
        if not self._joined(after) or not 0 < value < (10 if unit is Kind.THOUSAND else 100):
            return False
        return self._manner.many or not self._is(at - 1, Kind.DIGIT)

    def _belongs_to_thousand(self, at: int) -> bool:
        """Whether the piece before `at` is a digit that says how many thousand: no card is read in ten thousands."""
        return self._is(at, Kind.THOUSAND) and self._joined(at) and self._is(at - 1, Kind.DIGIT)

    def _is(self, at: int, *kinds: Kind) -> bool:
        return 0 <= at < self._end and self._pieces[at].kind in kinds

    def _is_small(self, at: int) -> bool:
        return self._is(at, Kind.DIGIT, *_BELOW_HUNDRED)

    def _starts_number(self, at: int) -> bool:
        return self._is_small(at) or self._is(at, Kind.HUNDRED, Kind.HUNDREDS)

    def _joined(self, at: int) -> bool:
        return at < self._end and self._pieces[at].tight
