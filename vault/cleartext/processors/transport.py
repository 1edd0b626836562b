"""How the processor's SDK reaches the network: aiohttp under our own limits.

The SDK's own aiohttp client follows redirects (a 307 would send the card to wherever it points), reads answers of any
size outside its error handling, and leaves time-outs at 80 seconds.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""A list of a hundred refunds is about 120 kB."""
CONNECTIONS_MAX: Final = 100


class Transport(stripe.HTTPClient):
    name = "aiohttp"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._opened: aiohttp.ClientSession | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Raises stripe.APIConnectionError for anything but a complete answer; never a text from the network."""
        try:
            async with self._session().request(
                method, url, headers=headers, data=post_data, allow_redirects=False
            ) as response:
                return await _whole(response), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError):
            raise stripe.APIConnectionError("no complete answer") from None  # type: ignore[no-untyped-call]  # as the SDK has it

    async def close_async(self) -> None:
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


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return bytes(body)
