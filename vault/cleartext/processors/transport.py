"""How a processor is reached over the network: aiohttp under our own limits.

Redirects are not followed (a 307 would send the card to wherever it points), answers have a size, and what is not a
complete answer is one exception without a text from the network. Stripe's SDK has an aiohttp client of its own, which
does none of this and leaves time-outs at 80 seconds; it is given this one instead.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""A list of a hundred refunds is about 120 kB."""
CONNECTIONS_MAX: Final = 100
Answered = tuple[bytes, int, Mapping[str, str]]
"""Body, status, headers."""


class NoAnswer(Exception):
    """Not sent, cut off, too late or too long: whether the other side acted is not known."""


class Wire:
    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._opened: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, headers: Mapping[str, str], content: Any = None) -> Answered:
        """Raises NoAnswer for anything but a complete answer."""
        try:
            async with self._session().request(
                method, url, headers=headers, data=content, allow_redirects=False
            ) as response:
                return await _whole(response), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError):
            raise NoAnswer from None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._opened


class Transport(stripe.HTTPClient):
    """The wire, as Stripe's SDK wants it."""

    name = "aiohttp"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._wire = Wire(timeout_seconds)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Raises stripe.APIConnectionError for anything but a complete answer; never a text from the network."""
        try:
            return await self._wire.ask(method, url, headers, post_data)
        except NoAnswer:
            raise stripe.APIConnectionError("no complete answer") from None  # type: ignore[no-untyped-call]  # as the SDK has it

    async def close_async(self) -> None:
        await self._wire.close()


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return bytes(body)
