"""Compares the card page as a browser receives it with the committed inventory (PCI DSS 11.6.1).

The vault serves the form of a capture that does not exist, `cap_inspection`, whose text never changes but for the
page's public keys. It goes the way real pages go, so whatever rewrites pages on that way rewrites it too. Every byte of
it is compared, every header, and every file it loads. Meant to run from elsewhere, by a timer, at least once a week.

Honest limits: who tampers with pages for chosen people only, or knows this address, is not seen here; nor is who swaps
the public keys, which are new every quarter of an hour. The policy's reports (`reports.py`) come from real people.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from vault.cleartext.hpke import PagePublicKey, SealedFor, SealSuite, info_of
from vault.cleartext.page.inventory import read_inventory
from vault.cleartext.page.language import Reader
from vault.cleartext.page.render import CardPageView, render_card_page
from vault.contract import PageLanguage

INSPECTION: Final = SealedFor("tnt_inspection", "cap_inspection")
_READER: Final = Reader(PageLanguage.ENGLISH.value)
_INSPECTION_PATH: Final = f"/captures/{INSPECTION.capture_id}{_READER.query}"
TRANSPORT_HEADERS: Final = frozenset({
    "age", "alt-svc", "connection", "content-encoding", "content-length", "date", "etag", "keep-alive", "last-modified",
    "server", "strict-transport-security", "transfer-encoding", "vary", "via", "x-request-id",
})  # fmt: skip
"""What servers and proxies on the way add, and browsers do not run, store or follow."""
BODY_BYTES_MAX: Final = 1_000_000
ANSWER_SECONDS_MAX: Final = 20
SHOWN_LENGTH_MAX: Final = 200
LINES_SHOWN_MAX: Final = 40
_BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en",
}
"""As a person's browser asks: who injects scripts likes to spare robots."""
_KEYS: Final = re.compile(r'data-keys="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it came, redirects not followed. Header names are in lower case, one entry a line."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class PageUnreachable(RuntimeError):
    """Nothing can be said about the page: it did not answer, or answered without end."""


def render_inspected_page(keys: tuple[PagePublicKey, ...], reader: Reader) -> str:
    """The form of the capture that does not exist. What is posted to it is refused like any stranger's post."""
    view = CardPageView(
        capture_id=INSPECTION.capture_id,
        brand_name="Inspection",
        amount_minor=100,
        currency="USD",
        csrf="inspection",
        keys=keys,
    )
    return render_card_page(view, reader)


async def check_page(page_url: str) -> list[str]:
    """Every difference, one a line; empty when the page is what the inventory says. Raises PageUnreachable."""
    inventory = read_inventory()
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    async with aiohttp.ClientSession(headers=_BROWSER, timeout=timeout) as http:
        page = await _fetch(http, page_url + _INSPECTION_PATH)
        files = {entry["path"]: await _fetch(http, page_url + entry["path"]) for entry in inventory["files"]}
    return [*page_differences(page, inventory["headers"]), *file_differences(files, inventory["files"])]


def page_differences(page: Received, headers: Mapping[str, str]) -> Iterator[str]:
    if page.status != HTTPStatus.OK:
        yield f"page: status {page.status} instead of 200"
    yield from _header_differences(page, headers)
    received = page.body.decode("utf-8", errors="backslashreplace")
    yield from _key_differences(received)
    expected = render_inspected_page((), _READER)
    yield from _text_differences(_KEYS.sub("", expected), _KEYS.sub("", received))


def file_differences(files: Mapping[str, Received], entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        received = files[entry["path"]]
        digest = hashlib.sha256(received.body).hexdigest()
        if received.status != HTTPStatus.OK:
            yield f"{entry['kind']} {entry['path']}: status {received.status} instead of 200"
        elif digest != entry["sha256"]:
            yield f"{entry['kind']} {entry['path']}: sha256 {digest} instead of {entry['sha256']}"


def _header_differences(page: Received, expected: Mapping[str, str]) -> Iterator[str]:
    wanted = {name.lower(): value for name, value in expected.items()}
    for name, value in wanted.items():
        values = [received for given, received in page.headers if given == name]
        if values != [value]:
            yield f"header {name}: {_shown(' and '.join(values)) if values else 'missing'} instead of {_shown(value)}"
    for name, value in page.headers:
        if name not in wanted and name not in TRANSPORT_HEADERS:
            yield f"header {_shown(name)}: {_shown(value)} was added"


def _key_differences(received: str) -> Iterator[str]:
    """The keys change every quarter of an hour and cannot be compared; their number, suites and purpose can."""
    found = _KEYS.findall(received)
    try:
        offered = [PagePublicKey(**key) for text in found for key in json.loads(unescape(text))]
    except (ValueError, TypeError):
        offered = []
    suites = [key.suite for key in offered]
    if suites != list(SealSuite) or any(key != replace(key, info=info_of(INSPECTION, key)) for key in offered):
        yield "page: the public keys are not one a suite, each bound to this page"


def _text_differences(expected: str, received: str) -> Iterator[str]:
    changed = difflib.unified_diff(expected.splitlines(), received.splitlines(), lineterm="", n=0)
    for line in list(changed)[2 : 2 + LINES_SHOWN_MAX]:
        if not line.startswith("@@"):
            yield f"page: line {'added' if line[0] == '+' else 'missing'}: {_shown(line[1:])}"


async def _fetch(http: aiohttp.ClientSession, url: str) -> Received:
    try:
        async with http.get(url, allow_redirects=False) as answer:
            body = await answer.content.read(BODY_BYTES_MAX + 1)
            while len(body) <= BODY_BYTES_MAX and (more := await answer.content.read(BODY_BYTES_MAX)):
                body += more
            if len(body) > BODY_BYTES_MAX:
                raise PageUnreachable(f"{url} answers more than {BODY_BYTES_MAX} bytes")
            headers = tuple((name.lower(), value) for name, value in answer.headers.items())
            return Received(answer.status, headers, body)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise PageUnreachable(f"{url}: {type(error).__name__}") from None


def _shown(text: str) -> str:
    """Somebody else's text, fit for a terminal and a log."""
    return ascii(text[:SHOWN_LENGTH_MAX])[1:-1] + (" ..." if len(text) > SHOWN_LENGTH_MAX else "")
