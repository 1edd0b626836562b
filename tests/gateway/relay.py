"""A wire that can be cut: between the gateway and a peer, so that answers get lost at the worst moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import urlsplit


class Mode(Enum):
    PASS = auto()
    CUT_ANSWERS = auto()
    """The request arrives, the answer does not; the connection ends."""
    SWALLOW = auto()
    """Neither arrives; the connection stays open."""


@dataclass(slots=True)
class Relay:
    port: int
    target: tuple[str, int]
    mode: Mode = Mode.PASS
    swallowed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        far, forth = await asyncio.open_connection(*self.target)
        try:
            await asyncio.gather(self._requests(near, forth), self._answers(far, back))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            forth.close()
            back.close()
            self.tasks.discard(task)

    async def _requests(self, near: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        while data := await near.read(65_536):
            if self.mode is Mode.SWALLOW:
                self.swallowed.set()
                continue
            forth.write(data)
            await forth.drain()
        forth.write_eof()

    async def _answers(self, far: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await far.read(65_536):
            if self.mode is Mode.CUT_ANSWERS:
                back.transport.abort()
                raise ConnectionAbortedError
            back.write(data)
            await back.drain()
        back.close()


@asynccontextmanager
async def relay_to(url: str) -> AsyncIterator[Relay]:
    parts = urlsplit(url)
    relay = Relay(0, (parts.hostname or "", parts.port or 0))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in list(relay.tasks):
            task.cancel()
        await asyncio.gather(*relay.tasks, return_exceptions=True)
