"""Which digits of a run are a card number: length, network, check digit, and how they are grouped.

One in ten numbers passes Luhn by chance and one in three begins like a card, so where it may begin and end decides
how many ordinary numbers are refused. Allowed are: a group of digits by itself; a whole run; groups cut where a card is
printed with gaps; single digits and words from or to an end of the run or a punctuation mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from infra.chassis.screen.networks import LENGTH_MAX, LENGTH_MIN, is_barcode, lengths_of, running_sums
from infra.chassis.screen.reading import Atom, Run, Span, readings

FOURS: Final = frozenset({4, 8, 12, 16})
PRINTED_GAPS: Final = {
    13: FOURS,
    14: frozenset({4, 10}),
    15: frozenset({4, 10}),
    16: FOURS,
    17: FOURS,
    18: FOURS,
    19: FOURS,
}
"""After which digits such a card is printed with a gap: fours, 4-6-5 on American Express, 4-6-4 on Diners Club."""
GLUED_LENGTHS: Final = (16, 15, 14)
"""Looked for at either end of longer rows of digits, as in a number with expiry and code run together."""


class Digits:
    """The digits of some groups in a row, ready to ask of any part whether it can be a card number."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.digits = "".join(groups)
        self.bounds = [0, *accumulate(len(group) for group in groups)]
        self._sums = running_sums(self.digits)

    def passes(self, start: int, end: int) -> bool:
        """Begins like a card, is as long as one and has a right check digit."""
        if not lengths_of(self.digits[start : start + 4]) >> (end - start) & 1:
            return False
        sums = self._sums[(end - 1) % 2]
        return (sums[end] - sums[start]) % 10 == 0


def is_printed(sizes: Sequence[int]) -> bool:
    """Whether groups of these sizes end only where the embossed number has a gap."""
    gaps = PRINTED_GAPS.get(sum(sizes))
    return gaps is not None and all(bound in gaps for bound in accumulate(sizes[:-1]))


def spans_in(run: Run) -> list[Span]:
    """Where card numbers stand in `run`, in order and apart; by the first reading that has any."""
    if run.capacity < LENGTH_MIN:
        return []
    return next((spans for atoms in readings(run) if (spans := _spans(atoms))), [])


def _spans(atoms: list[Atom]) -> list[Span]:
    digits = Digits([atom.digits for atom in atoms])
    if len(digits.digits) < LENGTH_MIN:
        return []
    hard = [place for place, atom in enumerate(atoms) if not atom.soft]
    first, last = (hard[0], hard[-1]) if hard else (len(atoms), 0)
    found: list[Span] = []
    at = 0
    while at < len(atoms):
        end = _end_of_card(atoms, digits, at, first, last)
        if end is not None:
            found.append((atoms[at].start, atoms[end].end))
            at = end
        elif _is_glued(atoms[at].digits):
            found.append((atoms[at].start, atoms[at].end))
        at += 1
    return found


def _end_of_card(atoms: list[Atom], digits: Digits, at: int, first: int, last: int) -> int | None:
    """The atom with which a card number ends that begins with `at`. Outside `first` and `last` are only soft words."""
    bounds = digits.bounds
    for end in range(at, len(atoms)):
        length = bounds[end + 1] - bounds[at]
        if length > LENGTH_MAX:
            return None
        if length < LENGTH_MIN or not digits.passes(bounds[at], bounds[end + 1]):
            continue
        if end == at:
            if is_barcode(atoms[at].digits):
                continue
            return end
        begins = at <= first or atoms[at].strong
        ends = end >= last or atoms[end + 1].strong
        if at <= first and end >= last:
            return end
        window = atoms[at : end + 1]
        if is_printed([len(atom.digits) for atom in window]):
            return end
        if (begins or ends) and all(atom.spoken or len(atom.digits) == 1 for atom in window):
            return end
    return None


def _is_glued(digits: str) -> bool:
    if len(digits) <= LENGTH_MAX - 2:
        return False
    whole = Digits([digits])
    return any(whole.passes(start, start + length) for length in GLUED_LENGTHS for start in (0, len(digits) - length))


STRANGERS_MAX: Final = 4
"""Words between two parts of one number that the screen does not know: fillers nobody listed."""
PARTS_MAX: Final = 9
"""Parts of one number: a long card in pairs."""

WAYS_MAX: Final = 3
"""In which the words of one part are read."""


def spans_across(runs: list[Run]) -> list[Span]:
    """Card numbers whose parts stand in several runs, with a few unknown words between them.

    Only parts that end where a card is printed with a gap, or that are spoken digit by digit: ordinary prose is full of
    numbers.
    """
    found: list[Span] = []
    if sum(run.capacity for run in runs) < LENGTH_MIN:
        return found
    chain: list[Part] = []
    for run in runs:
        if run.strangers > STRANGERS_MAX:
            chain = []
        parts = parts_of(run)
        if not parts:
            chain = []
            continue
        chain = [*chain[1 - PARTS_MAX :], parts[0]] if len(chain) >= PARTS_MAX else [*chain, parts[0]]
        span = _last_span(chain)
        if span is not None:
            found.append(span)
            chain = []
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """One run, as a part of a number that goes on elsewhere."""

    digits: str = field(repr=False)
    start: int
    end: int
    one_by_one: bool
    """Spoken, each word one digit."""


def parts_of(run: Run) -> list[Part]:
    """The run's digits in up to three ways, the likeliest first; none when they are too many, or stuck to letters.

    A soft word beside a word of another kind may be left out: "charge it to | four two four two". That is likelier when
    it leaves fours.
    """
    found: dict[str, Part] = {}
    for atoms in () if run.stuck else readings(run):
        trimmed = atoms
        while run.strangers and trimmed and trimmed[0].soft:
            trimmed = trimmed[1:]
        while run.cut and trimmed and trimmed[-1].soft:
            trimmed = trimmed[:-1]
        fours = trimmed and sum(len(atom.digits) for atom in trimmed) % 4 == 0
        for said in (trimmed, atoms) if fours else (atoms, trimmed):
            digits = "".join(atom.digits for atom in said)
            if 0 < len(digits) < LENGTH_MAX and len(found) < WAYS_MAX:
                one_by_one = len(digits) > 1 and all(atom.spoken and len(atom.digits) == 1 for atom in said)
                found.setdefault(digits, Part(digits, said[0].start, said[-1].end, one_by_one))
    return list(found.values())


def _last_span(chain: list[Part]) -> Span | None:
    """The card number that ends with the last part of the chain."""
    digits = Digits([part.digits for part in chain])
    end = len(digits.digits)
    for first in range(len(chain) - 1):
        start = digits.bounds[first]
        parts = chain[first:]
        grouped = is_printed([len(part.digits) for part in parts]) or all(part.one_by_one for part in parts)
        if LENGTH_MIN <= end - start <= LENGTH_MAX and grouped and digits.passes(start, end):
            return parts[0].start, parts[-1].end
    return None
