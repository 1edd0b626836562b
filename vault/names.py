"""Looking up the names that tenants chose, beside everything else: in a few threads that do nothing besides.

A name server that does not answer keeps a thread for as long as the machine's resolver waits (glibc: 5 s a try, two
tries a server), however soon we stop waiting. In the event loop's own pool some dozens of such names would stop
whatever else is done there, redaction and the reading of keys among it. So they are looked up here, one thread a name:
who asks for a name that is being looked up waits for the same answer, and who comes when all threads are taken is
refused at once.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from infra.chassis import logs

THREADS_MAX: Final = 16
"""A name takes milliseconds; so many at once are a name server's fault, or somebody's."""
Found = list[tuple[Any, Any, int, str, tuple[Any, ...]]]

log = logs.get_logger()


class NamesBusy(OSError):
    """Too many names are being looked up. Nothing was asked."""


class Names:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="names")
        self._under_way: dict[tuple[str, int], asyncio.Future[Found]] = {}

    @property
    def under_way(self) -> int:
        """Threads that wait for a name server, those included nobody waits for any more."""
        return len(self._under_way)

    async def look_up(self, host: str, port: int) -> Found:
        """As `socket.getaddrinfo` for a stream. Whoever stops waiting leaves the thread to end by itself.

        Raises OSError, of which NamesBusy is one, and UnicodeError.
        """
        asked = self._under_way.get((host, port))
        if asked is None:
            if self.under_way >= THREADS_MAX:
                log.warning("names_busy", under_way=self.under_way)
                raise NamesBusy("too many names are being looked up")
            asked = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host, port)
            self._under_way[host, port] = asked
            asked.add_done_callback(lambda done: self._ended(host, port, done))
        return await asyncio.shield(asked)

    def _ended(self, host: str, port: int, done: "asyncio.Future[Found]") -> None:
        del self._under_way[host, port]
        if not done.cancelled():
            done.exception()  # seen, also when nobody waits for it any more

    def close(self) -> None:
        """Waits for no name server."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class NamesResolver(AbstractResolver):
    """The same for aiohttp. What is found is judged where the connection is opened."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError."""
        try:
            found = await self._names.look_up(host, port)
        except UnicodeError as error:
            raise OSError("this is no name") from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=of_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of_family, _, protocol, _, address in found
            if family in {socket.AF_UNSPEC, of_family}
        ]

    async def close(self) -> None:
        self._names.close()


def _ask(host: str, port: int) -> Found:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
