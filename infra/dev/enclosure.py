"""A network of the vault's own, with nothing in it but what is let through: `python -m infra.dev.enclosure ORDER`.

One thread of this process moves into a new network namespace (Linux, network_namespaces(7)) that has a loopback of its
own and no way out: no interface, no route, no name server, no IPv6. The vault is started inside. Between the two
loopbacks this process carries bytes for the listed ports, and nothing else: inward for the vault's listeners, outward
for the processor. PostgreSQL is reached by a socket's path, which no network is in the way of. Where there is nftables
a packet filter allows the same ports in there, and nothing else (infra/dev/packets.py).

Nothing has to be removed afterwards: the namespace ends with the last process in it, however that ends. When this
process dies the vault is cut off, not let out.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from infra.dev import packets, readiness
from infra.dev.ports import HOST
from infra.dev.processes import Child, spawn
from infra.dev.settings import ROOT, basic

CLONE_NEWNET: Final = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PIECE_BYTES_MAX: Final = 64 * 1024
NOT_ALLOWED: Final = 5
"""The exit code where the kernel gives us no namespace."""
NAME: Final = "enclosure"
NETWORK, FILTER = "network", "packet_filter"
LEFT_OUT: Final = "left out"
START_SECONDS_MAX: Final = 30.0


class EnclosureFailed(RuntimeError):
    """It could not start, for another reason than that this machine has no such thing."""


class Enclosure:
    """Around one vault.

    `folder` takes `network` (the namespace's path), `network.json` and `packet_filter.json` (whether they stand).
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._told = folder / "network"
        self._folder = folder
        self._log = log

    @property
    def network(self) -> str:
        return self._told.read_text(encoding="ascii")

    def start(self, inward: list[int], outward: list[int], *, filtered: bool = True) -> Child | None:
        """None where the kernel gives us no namespace, which the report then says. Raises EnclosureFailed."""
        self._told.unlink(missing_ok=True)
        order = json.dumps({"inward": inward, "outward": outward, "told": str(self._told), "filtered": filtered})
        command = [sys.executable, "-m", "infra.dev.enclosure", order]
        child = spawn(command, environment=basic(), log=self._log, folder=ROOT)
        if readiness.wait(self._told.exists, alive=lambda: child.alive, seconds=START_SECONDS_MAX):
            self._say(NETWORK, "")
            self._say(FILTER, _beside(self._told).read_text(encoding="utf-8"))
            return child
        child.stop()
        last = (self._log.read_text(encoding="utf-8").splitlines() or ["it said nothing"])[-1]
        if child.exit_code != NOT_ALLOWED:
            raise EnclosureFailed(f"the vault's network could not be made ({last}); all it said: {self._log}")
        self._say(NETWORK, last)
        self._say(FILTER, f"the vault has no network of its own to filter: {last}")
        return None

    def _say(self, name: str, why: str) -> None:
        report = json.dumps({"name": name, "stands": not why, "why": why})
        (self._folder / f"{name}.json").write_text(report, encoding="utf-8")


class Inside:
    """Makes sockets of the namespace; they stay there, whichever thread uses them. Raises OSError when refused."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inside")
        self.path = self._thread.submit(_move).result()

    def socket(self) -> socket.socket:
        return self._thread.submit(_stream).result()

    def run(self, program: list[str]) -> subprocess.CompletedProcess[str]:
        """A program in it. Raises OSError."""
        run = partial(subprocess.run, program, capture_output=True, text=True, check=False)
        return self._thread.submit(run).result()

    def filter(self, inward: list[int], outward: list[int]) -> str:
        """Why there is no packet filter, or nothing. Programs started by a thread are in its network."""
        return self._thread.submit(packets.load, inward, outward, make=_stream).result()


def _stream() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _beside(told: Path) -> Path:
    """Where the process says why it has no filter."""
    return told.with_name("packets")


def _move() -> Path:
    """Where the namespace is found, while this process lives."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        (flags,) = struct.unpack_from("16xH", asked)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
    return Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net")


async def carry(inside: Inside, inward: list[int], outward: list[int], told: Path) -> None:
    """Until SIGTERM. `told` is written, with the namespace's path, when all ports are open."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    doors = [(inside.socket, _stream(), port) for port in inward]
    doors += [(_stream, inside.socket(), port) for port in outward]
    servers = [
        await asyncio.start_server(partial(_join, other_side, port), sock=_listening(own, port))
        for other_side, own, port in doors
    ]
    new = told.with_suffix(".new")
    new.write_text(str(inside.path), encoding="ascii")
    new.replace(told)
    await stop.wait()
    for server in servers:
        server.close()


def _listening(own: socket.socket, port: int) -> socket.socket:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setblocking(False)
    own.bind((HOST, port))
    return own


async def _join(
    make: Callable[[], socket.socket], port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, carried over to the other side's `port`."""
    other = make()
    other.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(other, (HOST, port))
    except OSError:
        other.close()
        writer.transport.abort()
        return
    there, back = await asyncio.open_connection(sock=other)
    try:
        with contextlib.suppress(OSError):  # one end went away: so does the other
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
    finally:
        for end in (back, writer):
            end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of what comes; the other direction may go on."""
    while piece := await reader.read(PIECE_BYTES_MAX):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def main() -> int:
    order = json.loads(sys.argv[1])
    try:
        inside = Inside()
    except OSError as error:
        sys.stderr.write(f"no network namespace: {error}\n")
        return NOT_ALLOWED
    inward, outward, told = order["inward"], order["outward"], Path(order["told"])
    unfiltered = inside.filter(inward, outward) if order["filtered"] else LEFT_OUT
    _beside(told).write_text(unfiltered, encoding="utf-8")
    asyncio.run(carry(inside, inward, outward, told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
