"""The one connection of a forward: to the registered host, at an address looked up once and looked at first.

A name is asked for once. All its addresses must be public, and the connection goes to one of exactly these: a name that
answers otherwise the second time is not asked a second time. The certificate must be the name's. Nothing is followed,
nothing is unpacked, nothing is tried twice.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from vault.forwarding.destinations import Target
from vault.names import Names
from vault.outbox.addresses import may_connect

RESOLVE_SECONDS: Final = 2
CONNECT_SECONDS: Final = 3
ANSWER_BYTES_MAX: Final = 64 * 1024
"""As much as our own API takes. A confirmation is a few hundred bytes."""
HEADER_BYTES_MAX: Final = 8 * 1024


class AddressRefused(Exception):
    """The name leads to an address that is not public."""


class NotReached(Exception):
    """Nothing was sent: no address, no connection, or not the right certificate."""


class AnswerMissing(Exception):
    """The request may have arrived; its answer did not, or not whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None when it was longer than ANSWER_BYTES_MAX. `headers` as they came, several of one name included."""

    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes | None = field(repr=False)

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]


class Network:
    def __init__(self, *, timeout_seconds: float, sandbox: bool, names: Names) -> None:
        self._names = names
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=CONNECT_SECONDS)
        self._sandbox = sandbox
        self._authorities: ssl.SSLContext | None = None

    async def addresses(self, target: Target, tenant_id: str) -> list[str]:
        """All of the host's, none of them private. Raises NotReached and AddressRefused."""
        try:
            found = await asyncio.wait_for(self._names.look_up(target.host, target.port, tenant_id), RESOLVE_SECONDS)
        except (OSError, UnicodeError, TimeoutError):
            raise NotReached from None
        addresses = sorted({str(one[4][0]) for one in found})
        if not addresses:
            raise NotReached
        if not all(may_connect(address, sandbox=self._sandbox) for address in addresses):
            raise AddressRefused
        return addresses

    async def send(
        self, target: Target, addresses: Sequence[str], method: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Raises NotReached and AnswerMissing."""
        if self._authorities is None and target.scheme == "https":
            self._authorities = await asyncio.to_thread(ssl.create_default_context)
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(target, addresses),
            use_dns_cache=False,
            ssl=self._authorities or True,
            force_close=True,
            limit=1,
            socket_factory=_only_to(addresses),
        )
        url = URL.build(scheme=target.scheme, host=target.host, port=target.port, path=target.path, encoded=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=self._timeout,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=False,
                    max_line_size=HEADER_BYTES_MAX,
                    max_field_size=HEADER_BYTES_MAX,
                ) as opened,
                opened.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return Answer(response.status, list(response.headers.items()), await _whole(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise NotReached from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            raise AnswerMissing from None


class _Pinned(AbstractResolver):
    """Answers for one name with what was found for it before."""

    def __init__(self, target: Target, addresses: Sequence[str]) -> None:
        self._host = target.host
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError("another name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
            if family in {socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET}
        ]

    async def close(self) -> None:
        """Holds nothing."""


def _only_to(addresses: Sequence[str]) -> Any:
    """The last look, at the address itself: whatever chose it, it is one of those that were looked at."""

    def opened(about: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, address = about
        if str(address[0]) not in addresses:
            raise OSError("not an address that was looked at")
        return socket.socket(family, kind, protocol)

    return opened


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            response.close()
            return None
    return bytes(body)
