"""What every key service answers: wrap, unwrap, rotate, destroy, describe; and the ways it may fail."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from infra.chassis import logs
from infra.chassis.problems import Problem
from infra.chassis.secret import Secret

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
CONTEXT_BYTES_MAX: Final = 1024
"""A context is a purpose and two or three ids; what is longer is a mistake of ours."""
WRAPPED_BYTES_MAX: Final = 1024
"""Four times the longest wrap of any provider; what is longer is not sent to a key service at all."""


log = logs.get_logger()


class KeyUnusable(Exception):
    """Wrong key, wrong context, another service's wrap, a destroyed version, damage: these are not told apart."""


class KeyServiceUnreachable(Problem):
    """No answer, or none that says anything about the key: it may open the next time it is asked.

    A caller of ours is told to try again; `why` is for the log, and names no secret.
    """

    status = 503
    code = "key_service_unreachable"
    detail = "The key service needed for this is not answering; try again."

    def __init__(self, why: str) -> None:
        super().__init__(headers={"Retry-After": "2"})
        self.why = why
        log.warning("key_service_unreachable", why=why)

    def __str__(self) -> str:
        return self.why


class RootSealed(KeyServiceUnreachable):
    """The root, or what opens the way to it, is under custody, and its custodians have not been here."""

    code = "sealed"
    detail = "This service is sealed: its custodians have to open it first."


class CannotDestroy(Exception):
    """This service cannot promise that a version is gone, or the version is one that must stay."""


class KeyServiceUnfit(Exception):
    """The service answered the probe at start in a way that no sealed key may depend on. The process does not start."""


class VersionState(StrEnum):
    """NIST SP 800-57 part 1, 7: `retired` is its `deactivated`, which opens what it wrapped and wraps nothing new."""

    ACTIVE = "active"
    RETIRED = "retired"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class RootVersion:
    """`created_at` and `destroyed_at` are None where the service does not say."""

    version: int
    state: VersionState
    created_at: datetime | None = None
    destroyed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A root key without any secret: who holds it, and its versions in ascending order.

    `can_destroy`: whether `destroy_before` makes a version unusable for good, for us and for the service itself.
    `wraps_max`: how many keys one version may wrap; None where each wrap has a key of its own.
    """

    provider: str
    versions: tuple[RootVersion, ...]
    can_destroy: bool
    wraps_max: int | None = None


class KeyService(Protocol):
    """Another company's or another process's, hence a protocol (transit, PKCS#11, KMS)."""

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        """`key` (32 bytes) sealed under the newest root version, bound to `context`. Raises KeyServiceUnreachable."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        """Raises KeyUnusable, KeyServiceUnreachable."""
        ...

    def version_of(self, wrapped: bytes) -> int:
        """Which root version wrapped it, as the wrap itself says. Raises KeyUnusable for another service's wrap."""
        ...

    async def rotate(self) -> int:
        """Make a new root version and say its number; from now on it wraps, and the older ones still unwrap."""
        ...

    async def destroy_before(self, version: int) -> None:
        """Make every root version below `version` unusable for good, also for whoever holds an old database dump.

        Doing it twice does nothing more. Raises CannotDestroy, also when `version` is newer than the newest.
        """
        ...

    async def describe(self) -> Description:
        """Raises KeyServiceUnreachable."""
        ...

    async def prove(self) -> None:
        """Asked once at start: that the service is there, and refuses a wrap in another context.

        Raises KeyServiceUnfit, KeyServiceUnreachable.
        """
        ...

    async def close(self) -> None:
        """Let go of connections, sessions and threads."""
        ...


def new_key() -> Secret[bytes]:
    return Secret(secrets.token_bytes(KEY_BYTES))
