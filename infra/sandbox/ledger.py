"""The sandbox's memory: one SQLite file, written before an answer leaves, so that killing the process loses nothing.

Calls are synchronous and run on the event loop's thread: each request is one short transaction, one after another.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from infra.sandbox.resources import Resource

R = TypeVar("R", bound=Resource)

_STATE_VERSION = 1  # raised whenever a stored resource changes its shape
KEY_LIFETIME_SECONDS = 24 * 60 * 60  # https://docs.stripe.com/api/idempotent_requests

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS resources_by_kind ON resources (kind, sequence);
CREATE INDEX IF NOT EXISTS resources_by_parent ON resources (parent, kind, sequence);
CREATE TABLE IF NOT EXISTS answers (
    idempotency_key TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    parameters_mac BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    retry_advice TEXT,
    request_id TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (created);
CREATE TABLE IF NOT EXISTS deliveries (
    event_id TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_by_due ON deliveries (due);
"""

_OLDER = """
SELECT body FROM resources WHERE kind = ? AND (? IS NULL OR parent = ?)
AND (? IS NULL OR sequence < (SELECT sequence FROM resources WHERE id = ?))
ORDER BY sequence DESC LIMIT ?
"""
_NEWER = """
SELECT body FROM resources WHERE kind = ? AND (? IS NULL OR parent = ?)
AND (? IS NULL OR sequence > (SELECT sequence FROM resources WHERE id = ?))
ORDER BY sequence LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """The first answer under an idempotency key. `parameters_mac` is keyed: parameters may hold a card number."""

    path: str
    parameters_mac: bytes
    status: int
    body: bytes
    retry_advice: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    event_id: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list is wanted: newest first, at most `limit`, after or before the resource with that id."""

    limit: int = 10
    after: str | None = None
    before: str | None = None


class StateUnreadable(Exception):
    """The state folder was written by another version. Its text says what to do."""


def open_database(path: Path, schema: str, *, version: int) -> sqlite3.Connection:
    """A connection in autocommit mode with a write-ahead log.

    A killed process loses nothing; a power cut may lose the last moments (`synchronous=NORMAL`), which is enough for
    a sandbox and spares a disk flush per call.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in {0, version}:
        connection.close()
        raise StateUnreadable(f"{path.name} was written by another version; remove the state folder to start afresh")
    connection.executescript(schema)
    connection.execute(f"PRAGMA user_version = {version:d}")
    return connection


class Ledger:
    def __init__(self, path: Path) -> None:
        self._database = open_database(path, _SCHEMA, version=_STATE_VERSION)

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

    @contextmanager
    def attempt(self) -> Iterator["Attempt"]:
        """A part of a transaction that can be undone alone."""
        self._database.execute("SAVEPOINT attempt")
        attempt = Attempt()
        try:
            yield attempt
        finally:
            if attempt.undone:
                self._database.execute("ROLLBACK TO attempt")
            self._database.execute("RELEASE attempt")

    def find(self, kind: type[R], identifier: str) -> R | None:
        row = self._database.execute(
            "SELECT body FROM resources WHERE id = ? AND kind = ?", (identifier, kind.kind)
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=kind)

    def save(self, resource: Resource) -> None:
        self._database.execute(
            "INSERT INTO resources (id, kind, parent, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body, parent = excluded.parent",
            (resource.id, resource.kind, resource.parent, msgspec.json.encode(resource).decode()),
        )

    def all_of(self, kind: type[R], *, parent: str | None = None) -> Iterator[R]:
        """Newest first."""
        rows = self._database.execute(
            "SELECT body FROM resources WHERE kind = ? AND (? IS NULL OR parent = ?) ORDER BY sequence DESC",
            (kind.kind, parent, parent),
        )
        return (msgspec.json.decode(row[0], type=kind) for row in rows)

    def page(self, kind: type[R], page: Page, *, parent: str | None = None) -> tuple[list[R], bool]:
        """One page, and whether there is more in the direction that was asked for."""
        statement, mark = (_NEWER, page.before) if page.before is not None else (_OLDER, page.after)
        rows = self._database.execute(statement, (kind.kind, parent, parent, mark, mark, page.limit + 1)).fetchall()
        found = [msgspec.json.decode(row[0], type=kind) for row in rows[: page.limit]]
        return (found if page.before is None else found[::-1]), len(rows) > page.limit

    def answer_under(self, key: str, *, now: int) -> StoredAnswer | None:
        row = self._database.execute(
            "SELECT path, parameters_mac, status, body, retry_advice, request_id FROM answers"
            " WHERE idempotency_key = ? AND created > ?",
            (key, now - KEY_LIFETIME_SECONDS),
        ).fetchone()
        if row is None:
            return None
        return StoredAnswer(
            path=row[0], parameters_mac=row[1], status=row[2], body=row[3], retry_advice=row[4], request_id=row[5]
        )

    def remember(self, key: str, answer: StoredAnswer, *, now: int) -> None:
        self._database.execute("DELETE FROM answers WHERE created <= ?", (now - KEY_LIFETIME_SECONDS,))
        self._database.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                answer.path,
                answer.parameters_mac,
                answer.status,
                answer.body,
                answer.retry_advice,
                answer.request_id,
                now,
            ),
        )

    def schedule(self, event_id: str, *, due: float, attempts: int = 0) -> None:
        """Deliver an event at `due` (seconds since 1970)."""
        self._database.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)", (event_id, attempts, due))

    def unschedule(self, event_id: str) -> None:
        self._database.execute("DELETE FROM deliveries WHERE event_id = ?", (event_id,))

    def due_deliveries(self, now: float, *, limit: int) -> list[Delivery]:
        rows = self._database.execute(
            "SELECT event_id, attempts FROM deliveries WHERE due <= ? ORDER BY due, rowid LIMIT ?", (now, limit)
        )
        return [Delivery(*row) for row in rows]

    def next_due(self) -> float | None:
        row = self._database.execute("SELECT min(due) FROM deliveries").fetchone()
        due: float | None = row[0]
        return due

    def is_scheduled(self, event_id: str) -> bool:
        return bool(self._database.execute("SELECT 1 FROM deliveries WHERE event_id = ?", (event_id,)).fetchone())


class Attempt:
    """Says whether the writes since its savepoint are to be undone."""

    def __init__(self) -> None:
        self.undone = False

    def undo(self) -> None:
        self.undone = True
