"""The inbox: every message the house sends on this machine, for programs (JSON) and for a person (a page)."""

import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from infra.sandbox.control import json_response
from infra.sandbox.ids import new_id
from infra.sandbox.ledger import open_database
from infra.sandbox.logs import LOGGER, say
from infra.sandbox.loopback import refuse_strangers
from infra.sandbox.pages import page, style_sheet

MESSAGES_MAX = 1_000  # the oldest are dropped
BODY_BYTES_MAX = 64 * 1024
_PAGE_MESSAGES_MAX = 100
_STATE_VERSION = 1
_CODE = re.compile(r"(?<!\d)\d{6}(?!\d)")  # one-time codes have six digits

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    received_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_recipient ON messages (recipient, sequence);
"""


class NewMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`to` is an e-mail address or a phone number; 320 characters is the longest address of RFC 5321."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    subject: Annotated[str, msgspec.Meta(max_length=500)]
    text: Annotated[str, msgspec.Meta(max_length=20_000)]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    to: str
    subject: str
    text: str
    received_at: datetime

    @property
    def code(self) -> str | None:
        """The one-time code in the text, if there is exactly one."""
        found = _CODE.findall(self.text)
        return found[0] if len(found) == 1 else None


class Inbox:
    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection = open_database(path, _SCHEMA, version=_STATE_VERSION)

    def close(self) -> None:
        self._database.close()

    def add(self, new: NewMessage, *, now: datetime) -> Message:
        message = Message(id=new_id("msg"), to=new.to, subject=new.subject, text=new.text, received_at=now)
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(
            "INSERT INTO messages (id, recipient, subject, text, received_at) VALUES (?, ?, ?, ?, ?)",
            (message.id, message.to, message.subject, message.text, now.isoformat()),
        )
        self._database.execute(
            "DELETE FROM messages WHERE sequence <= (SELECT max(sequence) FROM messages) - ?", (MESSAGES_MAX,)
        )
        self._database.execute("COMMIT")
        return message

    def newest(self, *, to: str | None, limit: int) -> list[Message]:
        """Newest first, of one recipient or of all; addresses compare without case."""
        rows = self._database.execute(
            "SELECT id, recipient, subject, text, received_at FROM messages"
            " WHERE ? IS NULL OR recipient = ? COLLATE NOCASE ORDER BY sequence DESC LIMIT ?",
            (to, to, limit),
        )
        return [
            Message(id=row[0], to=row[1], subject=row[2], text=row[3], received_at=datetime.fromisoformat(row[4]))
            for row in rows
        ]


def build_inbox(inbox: Inbox, others: Sequence[HTTPRouteHandler] = ()) -> Litestar:
    """`others`: companies whose messages land here too, and whoever has no listener of its own."""

    @get(["/health", "/ready", "/_sandbox/health"])
    async def health() -> Response[bytes]:
        return json_response({"status": "ok"})

    @post("/messages")
    async def receive(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            new = msgspec.json.decode(await request.body(), type=NewMessage)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _problem(400, "The body must be a JSON object with the texts to, subject and text.")
        message = inbox.add(new, now=datetime.now(UTC))
        say("message_received", id=message.id)
        return json_response({"id": message.id, "received_at": message.received_at}, status=201)

    @get("/messages")
    async def list_messages(to: FromQuery[str | None] = None) -> Response[bytes]:
        return json_response({"messages": inbox.newest(to=to or None, limit=MESSAGES_MAX)})

    @get("/")
    async def show(to: FromQuery[str | None] = None) -> Response[str]:
        return page("inbox.html", messages=inbox.newest(to=to or None, limit=_PAGE_MESSAGES_MAX), to=to or "")

    return Litestar(
        [health, receive, list_messages, show, style_sheet, *others],
        before_request=refuse_strangers,
        exception_handlers={HTTPException: _refused, Exception: _our_fault},
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


def _problem(status: int, detail: str) -> Response[bytes]:
    return json_response({"status": status, "detail": detail}, status=status)


def _refused(_: Request[Any, Any, Any], problem: HTTPException) -> Response[bytes]:
    return _problem(problem.status_code, "The request was refused.")


def _our_fault(_: Request[Any, Any, Any], problem: Exception) -> Response[bytes]:
    LOGGER.error("crashed", exc_info=problem)
    return _problem(500, "The inbox failed.")
