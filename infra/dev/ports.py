"""Which loopback ports the house uses, and whether they are free."""

import dataclasses
import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from infra.dev import unfollowed

HOST = "127.0.0.1"
BASE = 7100
PICKED_FROM, PICKED_BELOW = (
    20_000,
    32_000,
)  # below Linux's range for outgoing connections, which could take one meanwhile


class PortTaken(RuntimeError):
    """Something else listens on a port we need; the message says what and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    gateway: int
    authzen: int
    vault: int
    vault_page: int
    vault_webhooks: int
    memory: int
    mcp_server: int
    processor: int
    inbox: int

    @classmethod
    def usual(cls, base: int = BASE, overrides: Mapping[str, int] | None = None) -> Self:
        """Return the documented ports, or the same pattern from another base, each replaceable by name."""
        pattern = {"gateway": 0, "authzen": 1, "vault": 100, "vault_page": 101, "vault_webhooks": 102}
        pattern |= {"memory": 200, "mcp_server": 300, "processor": 400, "inbox": 401}
        return cls(**({name: base + offset for name, offset in pattern.items()} | dict(overrides or {})))

    @classmethod
    def free(cls) -> Self:
        """Pick ports nobody uses at this moment."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))

    def named(self) -> dict[str, int]:
        return dataclasses.asdict(self)


def free_ports(count: int) -> list[int]:
    """Pick ports that nobody uses, and that no other process of ours has picked: it may not listen on its own yet."""
    found: set[int] = set()
    while len(found) < count:
        candidate = PICKED_FROM + secrets.randbelow(PICKED_BELOW - PICKED_FROM)
        if is_free(candidate) and _reserve(candidate):
            found.add(candidate)
    return list(found)


_reserved: list[int] = []
"""Open files whose locks say which ports this process has picked; they end with the process."""


def _reserve(port: int) -> bool:
    folder = Path(tempfile.gettempdir()) / f"undercroft-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with unfollowed.taken(folder, os.geteuid()) as handle:
        file = os.open(str(port), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=handle)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    _reserved.append(file)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def require_free(ports: Mapping[str, int]) -> None:
    """Raise PortTaken naming every port that is taken, by whom if the system tells us, and the way out."""
    taken = [f"  {port} ({name}): {holder(port)}" for name, port in ports.items() if not is_free(port)]
    if taken:
        raise PortTaken(
            "these ports are taken:\n" + "\n".join(taken) + "\n"
            "Stop what holds them, or choose others: `undercroft up --base-port 8100`, or one: `--port gateway=8100`."
        )


def holder(port: int) -> str:
    for connection in _listening():
        if connection.laddr and connection.laddr.port == port and connection.pid is not None:
            return _describe(connection.pid)
    return "by a process of another user, or one that is just ending"


def _listening() -> Iterable[psutil._ntuples.sconn]:
    try:
        return [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # macOS, for other users' processes
        return []


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"by {process.name()}, pid {pid} ({' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        return f"by pid {pid}"
