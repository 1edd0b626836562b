"""One attempt to deliver: one POST, one look at the status, nothing else of the answer.

No redirect is followed, no proxy of the environment used, no cookie kept, no body read; each attempt has its own
connection, to an address judged as it is opened (addresses.py). A name is resolved once an attempt.
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from vault.outbox.addresses import AddressForbidden, guarded_sockets

CONNECT_SECONDS_MAX: Final = 5
TOTAL_SECONDS_MAX: Final = 15
"""Standard Webhooks 1.0.0, "Request timeouts": 15 to 30 seconds."""
HEADER_BYTES_MAX: Final = 4096
CONNECTIONS_MAX: Final = 200
"""Of one process, to all endpoints together; one endpoint has eight at most, a silent one a single one."""
DELIVERY_HEADER: Final = "Undercroft-Delivery"
_SENT: Final = {
    "Content-Type": "application/json",
    "User-Agent": "Undercroft-Webhooks/1",
    "Accept-Encoding": "identity",
}


class Ending(StrEnum):
    """How an attempt came out. All but the first two are failures."""

    DELIVERED = "delivered"
    GONE = "gone"
    """410: the receiver wants no more."""
    REFUSED = "refused"
    """Any other status, redirects included."""
    BUSY = "busy"
    """429, 502, 503 or 504: the receiver, or what stands before it, asks for less."""
    TIMED_OUT = "timed_out"
    NOT_CONNECTED = "not_connected"
    ADDRESS_FORBIDDEN = "address_forbidden"
    CERTIFICATE = "certificate"
    """No TLS, or not with whom the URL names."""
    BROKEN_OFF = "broken_off"
    """The connection ended, or what came is not HTTP."""


RESTING: Final = frozenset(Ending) - {Ending.DELIVERED, Ending.GONE, Ending.REFUSED}
"""Endings that say nothing about this event but something about the endpoint, which is then left in peace a while."""
_BUSY: Final = frozenset({
    HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """`retry_after` is the header's text."""

    ending: Ending
    status: int | None = None
    retry_after: str | None = None


class Sender:
    """`resolver` looks names up; by default as the machine does."""

    def __init__(
        self, *, sandbox: bool, resolver: AbstractResolver | None = None, timeout_seconds: float = TOTAL_SECONDS_MAX
    ) -> None:
        self._sandbox = sandbox
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=min(CONNECT_SECONDS_MAX, timeout_seconds)
        )
        self._resolver = resolver
        self._opened: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Never raises for what the other side does."""
        try:
            async with self._open().post(url, data=body, headers={**_SENT, **headers}, allow_redirects=False) as answer:
                return Answer(_ending_of(answer.status), answer.status, answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Answer(_ending_without_answer(error))

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._opened is None:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX,
                force_close=True,
                use_dns_cache=False,
                resolver=self._resolver,
                socket_factory=guarded_sockets(sandbox=self._sandbox),
            )
            self._opened = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            )
        return self._opened


def _ending_of(status: int) -> Ending:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Ending.DELIVERED
    if status == HTTPStatus.GONE:
        return Ending.GONE
    return Ending.BUSY if status in _BUSY else Ending.REFUSED


def _ending_without_answer(error: Exception) -> Ending:
    causes = list(_causes(error))
    if any(isinstance(cause, AddressForbidden) for cause in causes):
        return Ending.ADDRESS_FORBIDDEN
    if any(isinstance(cause, ssl.SSLError | aiohttp.ClientSSLError) for cause in causes):
        return Ending.CERTIFICATE
    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
        return Ending.NOT_CONNECTED
    return Ending.TIMED_OUT if isinstance(error, TimeoutError) else Ending.BROKEN_OFF


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what aiohttp wrapped in it, and what either was raised from."""
    while error is not None:
        yield error
        wrapped = getattr(error, "os_error", None)
        error = wrapped if isinstance(wrapped, BaseException) else error.__cause__
