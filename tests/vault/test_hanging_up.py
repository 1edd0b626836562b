"""A form that may hold a card is the last thing that comes by its connection: over the wire, of a vault that runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import pytest

from infra.chassis.http import BODY_BYTES_MAX
from tests.attacks.leak_world import sealed_form
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import BUSY_SECONDS_MAX
from tests.vault.bench import DOOR_ORIGIN, FORM, Person
from tests.vault.process import VaultProcess, vault_process
from vault.cleartext.hpke import SealSuite
from vault.contract import CaptureOrder

MISTYPED: Final = "4242424242424241"
ENDED: Final = "close"
TOO_LARGE: Final = 413
SETTINGS_FRAME: Final = b"\0\0\0\4\0\0\0\0\0"
"""An empty one: by such a frame both sides of HTTP/2 say that they speak it (RFC 9113, sections 3.4 and 6.5)."""
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS_FRAME
KIND: Final = slice(3, 4)
"""Where a frame says what it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One connection, byte by byte: a library would hide whether it is still the same."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    origin: str

    def _say(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        sized = {} if "transfer-encoding" in headers else {"content-length": str(len(body))}
        given = {"host": urlsplit(self.origin).netloc, "origin": self.origin, **sized, **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """By an answer after which the connection may be used on."""
        self._say(method, path, headers, body)
        async with asyncio.timeout(BUSY_SECONDS_MAX):
            answer = parsed(await self.reader.readuntil(b"\r\n\r\n"))
            content = await self.reader.readexactly(int(answer.headers["content-length"]))
        return Answer(answer.status, answer.headers, content)

    async def ask_last(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """All that comes until the other side ends the connection."""
        self._say("POST", path, {**FORM, **headers}, body)
        async with asyncio.timeout(BUSY_SECONDS_MAX):
            return parsed(await self.reader.read())


def parsed(came: bytes) -> Answer:
    head, _, body = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return Answer(int(first.split()[1]), {name.lower(): text.strip() for name, _, text in pairs}, body)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Line]:
    there = urlsplit(url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    try:
        yield Line(reader, writer, url)
    finally:
        writer.close()


@pytest.fixture(scope="module")
async def vault(
    database: DatabaseMaker, sandbox_process: Sandbox, throwaway_folder: Path
) -> AsyncIterator[VaultProcess]:
    folder = throwaway_folder / "hanging up"
    folder.mkdir()
    async with vault_process(folder, database("vault"), sandbox_process, timeout_seconds=20) as started:
        yield started


async def opened(vault: VaultProcess) -> tuple[CaptureOrder, dict[str, str], str]:
    """A capture, its cookie and its form."""
    order = Person().capture()
    assert (await vault.order_capture(order)).status_code == 200
    entered = await vault.enter(order)
    page = (await vault.page(order)).text
    return order, {"cookie": entered.headers["set-cookie"].partition(";")[0]}, page


def plain(page: str, number: str) -> dict[str, str]:
    csrf = sealed_form(page, SealSuite.X25519, number)["csrf"]
    return {"csrf": csrf, "number": number, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}


def body_of(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode()


@pytest.mark.parametrize("suite", [None, *SealSuite], ids=["plain", *SealSuite])
@pytest.mark.parametrize(("number", "status"), [(APPROVES, 303), (MISTYPED, 422)], ids=["taken", "refused"])
@pytest.mark.control("UC-3.1.1")
async def test_a_form_that_was_read_ends_its_connection(
    vault: VaultProcess, suite: SealSuite | None, number: str, status: int
):
    order, cookie, page = await opened(vault)
    fields = plain(page, number) if suite is None else sealed_form(page, suite, number)

    async with connected(vault.page_url) as line:
        answer = await line.ask_last(f"/captures/{order.capture_id}", cookie, body_of(fields))

    assert (answer.status, answer.headers["connection"]) == (status, ENDED)
    assert (await vault.show_capture(order)).json()["state"] == ("completed" if status == 303 else "open")


@pytest.mark.parametrize(
    ("headers", "changes", "status"),
    [
        ({"origin": "https://elsewhere.example"}, {}, 403),
        ({"cookie": "capture=none"}, {}, 410),
        ({}, {"csrf": "another's"}, 400),
        ({"content-length": str(BODY_BYTES_MAX + 1)}, {}, TOO_LARGE),
    ],
    ids=["from elsewhere", "of nobody", "of another browser", "said to be too large"],
)
@pytest.mark.control("UC-3.1.1")
async def test_a_form_that_is_refused_before_it_is_read_ends_its_connection_too(
    vault: VaultProcess, headers: dict[str, str], changes: dict[str, str], status: int
):
    order, cookie, page = await opened(vault)
    body = b"" if status == TOO_LARGE else body_of(plain(page, APPROVES) | changes)  # what lies unread resets it

    async with connected(vault.page_url) as line:
        answer = await line.ask_last(f"/captures/{order.capture_id}", cookie | headers, body)

    assert (answer.status, answer.headers["connection"]) == (status, ENDED)


@pytest.mark.control("UC-3.1.1")
async def test_a_form_that_grows_too_large_while_it_comes_ends_its_connection(vault: VaultProcess):
    """One byte too much is all that is sent, so that nothing lies unread when the connection ends."""
    order, cookie, page = await opened(vault)
    body = body_of(plain(page, APPROVES)).ljust(BODY_BYTES_MAX + 1, b"0")

    async with connected(vault.page_url) as line:
        answer = await line.ask_last(
            f"/captures/{order.capture_id}", cookie | {"transfer-encoding": "chunked"}, b"%x\r\n" % len(body) + body
        )

    assert (answer.status, answer.headers["connection"]) == (TOO_LARGE, ENDED)


async def test_whatever_else_a_browser_asks_for_keeps_its_connection(vault: VaultProcess):
    """The door's form, which is good once, the page, and one that is not there. The card's own form comes last."""
    order = Person().capture()
    assert (await vault.order_capture(order)).status_code == 200
    path, grant = f"/captures/{order.capture_id}", body_of({"grant": vault.entry_grant(order)})

    async with connected(vault.page_url) as line:
        entered = await line.ask("POST", f"{path}/open", {**FORM, "origin": DOOR_ORIGIN}, grant)
        cookie = {"cookie": entered.headers["set-cookie"].partition(";")[0]}
        again = await line.ask("POST", f"{path}/open", {**FORM, "origin": DOOR_ORIGIN}, grant)
        shown = [await line.ask("GET", one, cookie) for one in (path, "/captures/cap_none", path)]
        last = await line.ask_last(path, cookie, body_of(plain(shown[0].body.decode(), APPROVES)))

    assert [one.status for one in (entered, again, *shown, last)] == [303, 409, 200, 410, 200, 303]
    assert [one.headers.get("connection") for one in (entered, again, *shown)] == [None] * 5
    assert last.headers["connection"] == ENDED


async def test_a_browsers_report_ends_its_connection(vault: VaultProcess):
    shown = {"document-uri": f"{vault.page_url}/captures/cap_x", "blocked-uri": "https://a.example/"}
    report = json.dumps({"csp-report": {**shown, "effective-directive": "connect-src"}}).encode()

    async with connected(vault.page_url) as line:
        answer = await line.ask_last("/reports", {"content-type": "application/csp-report"}, report)

    assert (answer.status, answer.headers["connection"]) == (204, ENDED)


@pytest.mark.control("UC-3.1.1")
async def test_the_page_speaks_no_http_2_which_has_no_word_to_end_a_connection_by(vault: VaultProcess):
    """The API's listener, which no form comes by, answers the same bytes in kind."""
    async with connected(vault.page_url) as line, connected(str(vault.api.base_url)) as another:
        for one in (line, another):
            one.writer.write(PREFACE)
        async with asyncio.timeout(BUSY_SECONDS_MAX):
            said = await line.reader.read()
            spoken = await another.reader.readexactly(len(SETTINGS_FRAME))

    assert said[KIND] != SETTINGS_FRAME[KIND]
    assert spoken[KIND] == SETTINGS_FRAME[KIND]
