"""The memory service, put together by hand."""

from litestar.di import Provide
from litestar.types import ASGIApp
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis.clock import Clock
from infra.chassis.engine import answers
from infra.chassis.grants import GrantVerifier, presented
from infra.chassis.http import build_app
from memory.forget import Forgetting
from memory.prepared import Preparations
from memory.recall import Recalling
from memory.remember import Remembering
from memory.routes import erase, prepare, recall, release, remember
from memory.seal import SubjectKeys


def build(
    *,
    engine: AsyncEngine,
    verifier: GrantVerifier,
    keys: SubjectKeys,
    clock: Clock,
    prepared: Preparations,
) -> ASGIApp:
    """`prepared` wants to be swept beside this."""
    return build_app(
        service="memory",
        routes=[remember, recall, erase, prepare, release],
        ready={"database": lambda: answers(engine)},
        dependencies={
            "verifier": verifier,
            "presented": Provide(presented),
            "remembering": Remembering(engine, keys, clock),
            "recalling": Recalling(engine, keys, prepared),
            "forgetting": Forgetting(engine, prepared),
        },
    )
