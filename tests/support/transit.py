"""A transit engine on a port of this process, and a key in it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.chassis.keys.transit import Server, TransitKeyService
from infra.sandbox.transit.app import Transit, build_transit
from tests.support.serving import free_port, served

MOUNT, KEY_NAME = "transit", "undercroft-vault"
SERVICE_POLICY = f"""
path "{MOUNT}/encrypt/{KEY_NAME}" {{ capabilities = ["update"] }}
path "{MOUNT}/decrypt/{KEY_NAME}" {{ capabilities = ["update"] }}
"""
"""All that a serving process needs."""


@dataclass(frozen=True, slots=True)
class Engine:
    """`server` is how the key is reached with all rights; `as_service` with those of a serving process."""

    transit: Transit
    server: Server
    as_service: Server

    def service(self, timeout_seconds: float = 20.0) -> TransitKeyService:
        return TransitKeyService(self.server, timeout_seconds)


@asynccontextmanager
async def transit_engine(folder: Path) -> AsyncIterator[Engine]:
    transit, port = Transit(f"s.{secrets.token_hex(12)}"), free_port()
    transit.mounts.add(MOUNT)
    transit.engine.create(KEY_NAME, {})
    transit.doors.write_policy("vault", SERVICE_POLICY)
    service = transit.doors.create_token({"policies": ["vault"]})["client_token"]
    url = f"http://127.0.0.1:{port}"
    async with served(build_transit(transit), port):
        yield Engine(
            transit,
            Server(url, MOUNT, KEY_NAME, bearer_file(folder, transit.root_token)),
            Server(url, MOUNT, KEY_NAME, bearer_file(folder, service)),
        )


def bearer_file(folder: Path, bearer: str) -> Path:
    path = folder / f"bearer-{secrets.token_hex(4)}"
    path.touch(mode=0o600)
    path.write_text(bearer + "\n")
    return path
