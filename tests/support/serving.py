"""Serving an app of this process on a real port, so that other programs can reach it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar.types import ASGIApp

from infra.dev.ports import free_ports
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until


def free_port() -> int:
    (port,) = free_ports(1)
    return port


@asynccontextmanager
async def served(app: ASGIApp, port: int) -> AsyncIterator[None]:
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
    work = asyncio.ensure_future(server.serve())
    try:
        await wait_until(lambda: work.done() or _listens(port))
        yield
    finally:
        server.stop()
        await asyncio.wait([work], timeout=BUSY_SECONDS_MAX)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
