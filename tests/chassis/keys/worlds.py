"""The four key services as the contract suite sees them: one root seen twice, another root, and a way to break it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from infra.chassis.clock import FixedClock
from infra.chassis.keys import KeyService, RingFile, SoftwareKeyService
from infra.chassis.keys.transit import TransitKeyService
from infra.sandbox.transit.app import Faults
from tests.support import kms as kms_support
from tests.support import softhsm
from tests.support.keys import root_file
from tests.support.kms import kms_server
from tests.support.transit import transit_engine

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """`keys` and `same` are two processes' views of one root; `other` is another root of the same kind.

    `secrets`: what may never be seen outside. `take_away` and `bring_back`: the service, as far as `keys` can tell.
    """

    keys: KeyService
    same: KeyService
    other: KeyService
    take_away: Callable[[], None]
    bring_back: Callable[[], None]
    secrets: tuple[bytes, ...]
    shreds: bool = True


@asynccontextmanager
async def software(folder: Path) -> AsyncIterator[World]:
    path, other, away = root_file(folder), root_file(folder), folder / "away"
    root = path.read_bytes()
    clock = FixedClock(NOW)
    yield World(
        keys=SoftwareKeyService(RingFile(path), clock),
        same=SoftwareKeyService(RingFile(path), clock),
        other=SoftwareKeyService(RingFile(other), clock),
        take_away=lambda: void(path.rename(away)),
        bring_back=lambda: void(away.rename(path)),
        secrets=(root,),
    )


@asynccontextmanager
async def pkcs11(folder: Path) -> AsyncIterator[World]:
    token, other = softhsm.new_token(folder), softhsm.new_token(folder)
    pin, away = token.pin_file.read_bytes(), folder / "away"
    async with AsyncExitStack() as stack:
        keys, same, others = (softhsm.service(one) for one in (token, token, other))
        for each in (keys, same, others):
            stack.push_async_callback(each.close)
        await keys.rotate()
        await others.rotate()

        def take_away() -> None:
            """Log everybody out, and let nobody in."""
            softhsm.pull(keys)
            token.pin_file.rename(away)

        yield World(
            keys=keys,
            same=same,
            other=others,
            take_away=take_away,
            bring_back=lambda: void(away.rename(token.pin_file)),
            secrets=(pin,),
        )


@asynccontextmanager
async def transit(folder: Path) -> AsyncIterator[World]:
    async with transit_engine(folder) as engine, AsyncExitStack() as stack:
        other_key = replace(engine.server, key_name="another")
        engine.transit.engine.create("another", {})
        keys, same, other = engine.service(), engine.service(), TransitKeyService(other_key, 20.0)
        for each in (keys, same, other):
            stack.push_async_callback(each.close)
        yield World(
            keys=keys,
            same=same,
            other=other,
            take_away=lambda: engine.transit.misbehave(Faults(refuses=503)),
            bring_back=lambda: engine.transit.misbehave(Faults()),
            secrets=(engine.transit.root_token.encode(),),
        )


@asynccontextmanager
async def kms(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(kms_server())
        account, another = kms_support.account(folder, server.url), kms_support.account(folder, server.url)
        assert account.credentials_file is not None
        keys, other = kms_support.service(account, 20.0), kms_support.service(another, 20.0)
        for each in (keys, other):
            stack.push_async_callback(each.close)
        await keys.rotate()
        await other.rotate()
        yield World(
            keys=keys,
            same=keys,  # nothing is kept on our side
            other=other,
            take_away=server.stop,
            bring_back=server.start,
            secrets=(account.credentials_file.read_text().split()[-1].encode(),),
            shreds=False,
        )


def void(_: object) -> None:
    """For a lambda whose result nobody wants."""


WORLDS = {"software": software, "pkcs11": pkcs11, "transit": transit, "kms": kms}
