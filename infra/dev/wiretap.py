"""A TCP relay that writes down every byte it passes on: `python -m infra.dev.wiretap FOLDER NAME=PORT:PORT …`.

The demo puts it in front of the listeners that must never see a card number, and searches what it wrote. Each direction
of each connection has its own file, `NAME.00001.in.wire` (towards the service) and `.out.wire`, so that a number cannot
hide in the seam between two streams.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.dev.ports import HOST

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tap:
    """Listens on `port` and passes on to `target`, both on loopback."""

    name: str
    port: int
    target: int

    @classmethod
    def parse(cls, text: str) -> "Tap":
        name, _, ports = text.partition("=")
        port, _, target = ports.partition(":")
        return cls(name=name, port=int(port), target=int(target))

    def __str__(self) -> str:
        return f"{self.name}={self.port}:{self.target}"


class Relay:
    def __init__(self, tap: Tap, folder: Path, numbers: Iterator[int]) -> None:
        self._tap = tap
        self._folder = folder
        self._numbers = numbers

    async def open(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, HOST, self._tap.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._tap.target)
        except OSError:  # the service is down; its caller sees a lost connection where it would have seen a refused one
            writer.transport.abort()
            return
        path = self._folder / f"{self._tap.name}.{next(self._numbers):05d}"
        await asyncio.gather(
            _copy(reader, far_writer, path.with_name(f"{path.name}.in.wire")),
            _copy(far_reader, writer, path.with_name(f"{path.name}.out.wire")),
        )
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: Path) -> None:
    """Written down first, unbuffered, then passed on: whatever has an effect is in the file."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            file.write(chunk)
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def serve(folder: Path, taps: list[Tap]) -> None:
    """Relay until SIGTERM or SIGINT, into a folder of this run's own."""
    numbers = itertools.count(1)
    servers = [await Relay(tap, folder, numbers).open() for tap in taps]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    for server in servers:
        server.close()


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) / f"run-{time.time_ns()}"
    folder.mkdir(parents=True)
    asyncio.run(serve(folder, [Tap.parse(text) for text in arguments[1:]]))


if __name__ == "__main__":
    main(sys.argv[1:])
