"""Looking up the names that tenants chose, beside everything else: in a few threads that do nothing besides.

A name server that does not answer keeps a thread for as long as the machine's resolver waits (glibc: 5 s a try, two
tries a server), however soon we stop waiting. In the event loop's own pool some dozens of such names would stop
whatever else is done there, redaction and the reading of keys among it. So they are looked up here, one thread a name:
who asks for a name that is being looked up waits for the same answer.

A tenant has a few threads and no more, so that one whose names have a dead name server does not use up those of others;
and besides there is a bound for all. Who comes when his are taken, or all are, is refused at once. Whose an errand is
says who asks (`look_up`), or, where a library stands in between, the context it began in (`asked_by`).
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from infra.chassis import logs

TENANT_THREADS_MAX: Final = 12
"""Ten are a tenant's endpoints (outbox/endpoints.py), which may all be due at once. A name takes milliseconds: more are
its name server's fault, or its own."""
THREADS_MAX: Final = 96
"""Of all: eight tenants with dead name servers leave others no room. They are made when they are needed."""
Found = list[tuple[Any, Any, int, str, tuple[Any, ...]]]

log = logs.get_logger()
_asking: ContextVar[str] = ContextVar("asking", default="")


class NamesBusy(OSError):
    """Too many names are being looked up, of this tenant or of all. Nothing was asked."""


@contextmanager
def asked_by(tenant_id: str) -> Iterator[None]:
    """Whose the names are that are looked up from here on, by this task and those it starts."""
    before = _asking.set(tenant_id)
    try:
        yield
    finally:
        _asking.reset(before)


class Names:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="names")
        self._under_way: dict[tuple[str, int], asyncio.Future[Found]] = {}
        self._of_tenant: Counter[str] = Counter()

    @property
    def under_way(self) -> int:
        """Threads that wait for a name server, those included nobody waits for any more."""
        return len(self._under_way)

    async def look_up(self, host: str, port: int, tenant_id: str) -> Found:
        """As `socket.getaddrinfo` for a stream. Whoever stops waiting leaves the thread to end by itself.

        It counts as the tenant's who asked first. Raises OSError, of which NamesBusy is one, and UnicodeError.
        """
        asked = self._under_way.get((host, port))
        if asked is None:
            if self.under_way >= THREADS_MAX or self._of_tenant[tenant_id] >= TENANT_THREADS_MAX:
                own = self._of_tenant[tenant_id]
                log.warning("names_busy", under_way=self.under_way, tenant_id=tenant_id, of_tenant=own)
                raise NamesBusy("too many names are being looked up")
            asked = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host, port)
            self._under_way[host, port] = asked
            self._of_tenant[tenant_id] += 1
            asked.add_done_callback(lambda done: self._ended(host, port, tenant_id, done))
        return await asyncio.shield(asked)

    def _ended(self, host: str, port: int, tenant_id: str, done: "asyncio.Future[Found]") -> None:
        del self._under_way[host, port]
        self._of_tenant -= Counter({tenant_id: 1})  # which keeps no zeros, so it is as long as what is under way
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
            found = await self._names.look_up(host, port, _asking.get())
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
