"""Statements about inquiries at a card updater: one a card and calendar month, noted before it is made.

What stands there says of a card only which token it is under and how the inquiry ended.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from vault.cleartext.updaters import Outcome
from vault.outbox.events import CardData, Kind, add_event
from vault.store import Tx
from vault.tables import CardRow

DAYS_AHEAD: Final = 45
"""How long before the end of its month a card is asked about: issuers send the next one some weeks before."""
DECLINED_DAYS: Final = 30
TRIES_MAX: Final = 3
"""Of an inquiry that had no answer."""
BUDGET_WINDOW: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Due:
    """A card that is to be asked about, and why: `expiring` or `declined`."""

    token_id: str
    cause: str


async def is_on(tx: Tx) -> bool:
    return (await tx.run("SELECT 1 FROM card_updating WHERE tenant_id = :tenant_id", {})).first() is not None


async def turn_on(tx: Tx, actor: str, now: datetime) -> bool:
    """False when it was on before."""
    sql = """INSERT INTO card_updating (tenant_id, turned_on_by, turned_on_at) VALUES (:tenant_id, :actor, :now)
        ON CONFLICT DO NOTHING RETURNING 1"""
    return (await tx.run(sql, {"actor": actor, "now": now})).first() is not None


async def turn_off(tx: Tx) -> bool:
    """False when it was off before."""
    sql = "DELETE FROM card_updating WHERE tenant_id = :tenant_id RETURNING 1"
    return (await tx.run(sql, {})).first() is not None


async def due(tx: Tx, now: datetime, *, after: str, limit: int) -> list[Due]:
    """Cards on file that end soon or were declined for what they are, and were not asked about this month.

    By token, from the one after `after`. None that a charge is under way with: it is begun with the card as it is. And
    none that nothing is charged with any more, because its one use is spent or its time is over: whoever did not want
    their card kept does not have it sent anywhere. Terms that are none are told when the card is opened.
    """
    sql = f"{_DUE} ORDER BY 1 LIMIT :limit"
    row = _limits(now) | {"after": after, "limit": limit}
    return [Due(**found) for found in (await tx.run(sql, row)).mappings()]


async def due_count(tx: Tx, now: datetime) -> int:
    sql = f"SELECT count(*) FROM ({_DUE}) cards"  # noqa: S608 - our own words
    return int((await tx.run(sql, _limits(now) | {"after": ""})).scalar_one())


async def claim(tx: Tx, one: Due, now: datetime, again_at: datetime) -> CardRow | None:
    """The card, its inquiry noted as ours until `again_at`; None when it is not to be asked about any more."""
    row = {
        "token_id": one.token_id,
        "cause": one.cause,
        "now": now,
        "month": month_of(now),
        "again_at": again_at,
        "tries": TRIES_MAX,
    }
    claimed = (await tx.run(_CLAIM, row)).first() is not None
    return await tx.card(one.token_id) if claimed else None


async def answered(tx: Tx, token_id: str, month: date, outcome: Outcome, now: datetime) -> None:
    """How it ended; what stands there already stays."""
    sql = """UPDATE card_inquiries SET outcome = :outcome, answered_at = :now
        WHERE tenant_id = :tenant_id AND token_id = :token_id AND month = :month AND outcome IS NULL"""
    await tx.run(sql, {"token_id": token_id, "month": month, "outcome": outcome.value, "now": now})


async def not_asked(tx: Tx, token_id: str, month: date, again_at: datetime) -> None:
    """The updater took nothing in: this was no try."""
    sql = """UPDATE card_inquiries SET tries = tries - 1, again_at = :again_at
        WHERE tenant_id = :tenant_id AND token_id = :token_id AND month = :month AND outcome IS NULL AND tries > 0"""
    await tx.run(sql, {"token_id": token_id, "month": month, "again_at": again_at})


async def close_card(tx: Tx, card: CardRow, now: datetime) -> bool:
    """Mark it as closed and tell the tenant; False when it is another card by now, or shredded."""
    row = {"token_id": card.token_id, "generation": card.generation, "now": now}
    closed = (await tx.run(_CLOSE, row)).mappings().first()
    if closed is None:
        return False
    await add_event(tx, Kind.CARD_CLOSED, CardData(**closed), about=card.token_id, at=now)
    return True


async def asked_since(tx: Tx, moment: datetime) -> int:
    sql = """SELECT coalesce(sum(tries), 0) FROM card_inquiries
        WHERE tenant_id = :tenant_id AND asked_at > :moment"""
    return int((await tx.run(sql, {"moment": moment})).scalar_one())


async def counts(tx: Tx, month: date) -> dict[str, int]:
    """How the inquiries of a month ended; `unanswered` are those that have not."""
    sql = """SELECT coalesce(outcome, 'unanswered') AS outcome, count(*) AS cards FROM card_inquiries
        WHERE tenant_id = :tenant_id AND month = :month GROUP BY 1 ORDER BY 1"""
    return {row["outcome"]: row["cards"] for row in (await tx.run(sql, {"month": month})).mappings()}


def _limits(now: datetime) -> dict[str, object]:
    return {
        "now": now,
        "month": month_of(now),
        "ends_before": now.date() + timedelta(days=DAYS_AHEAD),
        "declined_after": now - timedelta(days=DECLINED_DAYS),
        "tries": TRIES_MAX,
    }


def month_of(now: datetime) -> date:
    return now.date().replace(day=1)


_DUE: Final = """
WITH found AS (
    SELECT token_id, generation, 'expiring' AS cause FROM cards
    WHERE tenant_id = :tenant_id AND good_through < :ends_before AND shredded_at IS NULL AND closed_at IS NULL
        AND on_file_since IS NOT NULL
    UNION ALL
    SELECT token_id, card_generation, 'declined' FROM charges
    WHERE tenant_id = :tenant_id AND state = 'declined' AND reason IN ('expired_card', 'lost_or_stolen')
        AND updated_at > :declined_after)
SELECT c.token_id, max(f.cause) AS cause FROM found f
JOIN cards c ON c.tenant_id = :tenant_id AND c.token_id = f.token_id AND c.generation = f.generation
WHERE c.token_id > :after AND c.shredded_at IS NULL AND c.closed_at IS NULL AND c.on_file_since IS NOT NULL
    AND c.card_brand IN ('visa', 'mastercard', 'amex')
    AND NOT EXISTS (SELECT 1 FROM charges h WHERE h.tenant_id = c.tenant_id AND h.token_id = c.token_id
        AND (h.state IN ('intended', 'unknown', 'needs_action')
            OR h.single_use AND h.state IN ('approved', 'held', 'settled')))
    AND (CASE WHEN c.terms IS JSON THEN c.terms::json #>> '{terms,good_until}' END)::timestamptz > :now IS NOT FALSE
    AND NOT EXISTS (SELECT 1 FROM card_inquiries i WHERE i.tenant_id = c.tenant_id AND i.token_id = c.token_id
        AND i.month = :month AND (i.outcome IS NOT NULL OR i.tries >= :tries OR i.again_at > :now))
GROUP BY c.token_id"""
_CLAIM: Final = """
INSERT INTO card_inquiries AS i (tenant_id, token_id, month, cause, asked_at, tries, again_at)
VALUES (:tenant_id, :token_id, :month, :cause, :now, 1, :again_at)
ON CONFLICT (tenant_id, token_id, month) DO UPDATE SET tries = i.tries + 1, asked_at = :now, again_at = :again_at
    WHERE i.outcome IS NULL AND i.tries < :tries AND i.again_at <= :now
RETURNING 1"""
_CLOSE: Final = """
UPDATE cards SET closed_at = :now WHERE tenant_id = :tenant_id AND token_id = :token_id AND generation = :generation
    AND closed_at IS NULL AND shredded_at IS NULL
RETURNING token_id, brand_id, subject_id, card_brand, last4"""
