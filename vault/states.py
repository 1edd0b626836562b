"""The states of money and every move between them. What is not in this table does not happen.

    charges    intended ─┬─▶ unknown ─┬─▶ approved                     taken at once
               (order)   ├────────────┼─▶ held ─┬─▶ settled            taken, wholly or in part
                         │            │         ├─▶ voided             let go by an order of ours
                         │            │         └─▶ expired            let go by the processor
                         ├────────────┼─▶ declined                     the card's bank said no
                         ├────────────┼─▶ failed                       nothing was and nothing will be taken
                         └────────────┴─▶ needs_action ─▶ approved, held, declined or failed
                                                                       the card's holder is asked by their bank
    hold_ends  intended ─┬─▶ unknown ─┬─▶ done
    (settle,             └────────────┴─▶ failed                       the hold stands, or ended otherwise
    void)
    refunds    intended ─┬─▶ unknown ─┬─▶ refunded
                         └────────────┴─▶ failed
    disputes   inquiry ──▶ closed │ open ──▶ lost ──▶ won              won: the chargeback was reversed

Every row begins as an intention, but a dispute, which may be seen first when it is long over.

Two may move: the *carrier*, who carries out an order and hears the processor's answer, and the *reconciler*, who looks
up at the processor what nobody heard. An event of the processor moves nothing; it makes the reconciler look. The
database holds the same moves in the trigger `allow_move` (migrations), where there is one role and so no mover.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mover(StrEnum):
    CARRIER = "carrier"
    RECONCILER = "reconciler"


@dataclass(frozen=True, slots=True)
class Move:
    """`kind` is the table the state is in."""

    kind: str
    was: str
    becomes: str
    by: frozenset[Mover]


class MoveForbidden(Exception):
    """Code of ours tried a move that is not in the table: a fault, never a caller's."""


_BOTH: Final = frozenset(Mover)
_RECONCILER: Final = frozenset({Mover.RECONCILER})


def _moves(kind: str, was: str, becomes: str, by: frozenset[Mover]) -> tuple[Move, ...]:
    return tuple(Move(kind, start, end, by) for start in was.split() for end in becomes.split() if start != end)


MOVES: Final = frozenset(
    (
        *_moves("charges", "intended unknown", "unknown approved declined failed held needs_action", _BOTH),
        *_moves("charges", "needs_action", "approved declined failed held", _RECONCILER),
        *_moves("charges", "held", "settled voided expired", _BOTH),
        *_moves("hold_ends", "intended unknown", "unknown done failed", _BOTH),
        *_moves("refunds", "intended unknown", "unknown refunded failed", _BOTH),
        *_moves("disputes", "inquiry", "closed open lost won", _RECONCILER),
        *_moves("disputes", "closed", "open lost won", _RECONCILER),
        *_moves("disputes", "open", "lost won", _RECONCILER),
        *_moves("disputes", "lost", "won", _RECONCILER),
    )
)
_KNOWN: Final = frozenset((move.kind, move.was, move.becomes, by) for move in MOVES for by in move.by)


def may_move(kind: str, was: str, becomes: str, by: Mover) -> bool:
    return (kind, was, becomes, by) in _KNOWN


def starts_of(kind: str, becomes: str, by: Mover) -> list[str]:
    """From which states `by` may move to this one; an unknown stays unknown. Raises MoveForbidden when from none."""
    starts = {move.was for move in MOVES if (move.kind, move.becomes) == (kind, becomes) and by in move.by}
    if not starts:
        raise MoveForbidden(f"{kind} to {becomes} by {by}")
    return sorted(starts | ({"unknown"} if becomes == "unknown" else set()))
