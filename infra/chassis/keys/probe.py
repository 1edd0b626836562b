"""What a key service must show before anything depends on it: it opens what it wrapped, there and nowhere else."""

import hmac
from typing import Final, Protocol

from infra.chassis.keys.protocol import KeyServiceUnfit, KeyUnusable, new_key
from infra.chassis.secret import Secret

PROBED: Final = b"undercroft probe"
ELSEWHERE: Final = b"undercroft probe elsewhere"


class Wrapping(Protocol):
    """The two halves a probe needs."""

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes: ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]: ...


async def prove_round_trip(keys: Wrapping) -> None:
    """Raises KeyServiceUnfit, KeyServiceUnreachable."""
    key = new_key()
    wrapped = await keys.wrap(key, PROBED)
    try:
        opened = await keys.unwrap(wrapped, PROBED)
    except KeyUnusable:
        raise KeyServiceUnfit("the key service does not open what it just wrapped") from None
    if not hmac.compare_digest(opened.reveal(), key.reveal()):
        raise KeyServiceUnfit("the key service opened another key than it wrapped")
    try:
        await keys.unwrap(wrapped, ELSEWHERE)
    except KeyUnusable:
        return
    raise KeyServiceUnfit("the key service opens a key where it does not belong")
