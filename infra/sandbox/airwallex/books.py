"""What the second processor remembers: one SQLite file, written before an answer leaves."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from infra.sandbox.ledger import open_database
from infra.sandbox.resources import Card

R = TypeVar("R", bound="Row")
_STATE_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS rows_by_parent ON rows (kind, parent, sequence);
CREATE TABLE IF NOT EXISTS used_request_ids (request_id TEXT PRIMARY KEY) STRICT;
"""


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Amounts are minor units. `parent` is what it is listed by."""

    kind: ClassVar[str]
    id: str
    created_at: str
    updated_at: str

    @property
    def parent(self) -> str | None:
        return None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to pay. `network_code`: what the card's network said to refuse it; `back_url`: where 3-D Secure ends."""

    id: str
    status: str
    card: Card
    created_at: str
    captured: int = 0
    refunded: int = 0
    failure_code: str | None = None
    network_code: str | None = None
    authenticated: bool = False
    back_url: str | None = None


class Intent(Row, frozen=True, kw_only=True):
    kind: ClassVar[str] = "intent"
    request_id: str
    merchant_order_id: str
    amount: int
    currency: str
    status: str
    auto_capture: bool
    card_input_via: str
    metadata: dict[str, str]
    attempt: Attempt | None = None
    return_url: str | None = None
    cancellation_reason: str | None = None
    cancelled_at: str | None = None

    @property
    def parent(self) -> str | None:
        return self.merchant_order_id


class Refund(Row, frozen=True, kw_only=True):
    kind: ClassVar[str] = "refund"
    request_id: str
    payment_intent_id: str
    payment_attempt_id: str
    amount: int
    currency: str
    status: str
    metadata: dict[str, str]
    reason: str | None = None

    @property
    def parent(self) -> str | None:
        return self.payment_intent_id


class Dispute(Row, frozen=True, kw_only=True):
    kind: ClassVar[str] = "dispute"
    payment_intent_id: str
    payment_attempt_id: str
    merchant_order_id: str
    amount: int
    currency: str
    stage: str
    status: str
    reason_code: str
    due_at: str

    @property
    def parent(self) -> str | None:
        return self.payment_intent_id


class Books:
    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection = open_database(path, _SCHEMA, version=_STATE_VERSION)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def use_up(self, request_id: str) -> bool:
        """False when it was used before."""
        found = self._database.execute("INSERT OR IGNORE INTO used_request_ids VALUES (?)", (request_id,))
        return found.rowcount == 1

    def is_used(self, request_id: str) -> bool:
        sql = "SELECT 1 FROM used_request_ids WHERE request_id = ?"
        return self._database.execute(sql, (request_id,)).fetchone() is not None

    def find(self, kind: type[R], identifier: str) -> R | None:
        sql = "SELECT body FROM rows WHERE id = ? AND kind = ?"
        row = self._database.execute(sql, (identifier, kind.kind)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=kind)

    def save(self, row: Row) -> None:
        self._database.execute(
            "INSERT INTO rows (id, kind, parent, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (row.id, row.kind, row.parent, msgspec.json.encode(row).decode()),
        )

    def listed(self, kind: type[R], parent: str | None, *, number: int, size: int) -> tuple[list[R], bool]:
        """One page, newest first, and whether there is more."""
        found = self._database.execute(
            "SELECT body FROM rows WHERE kind = ? AND (? IS NULL OR parent = ?)"
            " ORDER BY sequence DESC LIMIT ? OFFSET ?",
            (kind.kind, parent, parent, size + 1, number * size),
        ).fetchall()
        return [msgspec.json.decode(row[0], type=kind) for row in found[:size]], len(found) > size


def written(moment: datetime) -> str:
    """A time as Airwallex writes it: `2020-06-21T05:23:25+0000`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
