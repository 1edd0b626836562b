"""The key service without a service: the root is a file beside us. For one machine and for sandboxes.

Whoever reads that file and the database reads everything. A wrap, after the frame's six bytes:

    offset  bytes  what
    6       104    body of infra/chassis/sealing.py, label "undercroft root wrap 2", over the 32 bytes of the key

Associated data: the frame and the context, each preceded by its length in four bytes.

A wrap of the format before versions (0x01) is a random 12-byte nonce and AES-256-GCM under the root itself, with the
format byte and the context as associated data. It still opens while version 1 is there; nothing writes it any more.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.clock import Clock
from infra.chassis.jwk import Stamp
from infra.chassis.keys import frame
from infra.chassis.keys.custody import Sealed
from infra.chassis.keys.frame import Provider
from infra.chassis.keys.probe import prove_round_trip
from infra.chassis.keys.protocol import NONCE_BYTES, Description, KeyServiceUnreachable, KeyUnusable, RootSealed
from infra.chassis.keys.ringfile import Ring, RingFile, RingUnusable
from infra.chassis.sealing import SealBroken, joined, open_under, seal_under
from infra.chassis.secret import Secret

LABEL: Final = b"undercroft root wrap 2"


class SoftwareKeyService:
    """Looks at the root file's stamp each time (2 µs): a rotation or destruction by any process holds at once in all.

    A root file that is gone or spoilt stops everything here, rather than letting old versions live on in memory.
    """

    def __init__(self, file: RingFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._read: tuple[Stamp, Ring] | None = None

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        plain = frame.key_to_wrap(key, context)
        root = (await self._ring()).newest
        header = frame.header(Provider.SOFTWARE, root.version)
        return header + seal_under(root.key, LABEL, plain, joined(header, context))

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        wrap = frame.parse(wrapped, Provider.SOFTWARE)
        root = (await self._ring()).key(wrap.version)
        if root is None:
            raise KeyUnusable
        if not wrap.header:
            return _open_before_versions(root, wrap.body, context)
        try:
            return frame.unwrapped(open_under(root, LABEL, wrap.body, joined(wrap.header, context)))
        except SealBroken:
            raise KeyUnusable from None

    def version_of(self, wrapped: bytes) -> int:
        return frame.parse(wrapped, Provider.SOFTWARE).version

    async def rotate(self) -> int:
        now = self._clock.now()
        return (await self._change(lambda ring: ring.rotated(now))).newest.version

    async def destroy_before(self, version: int) -> None:
        now = self._clock.now()
        await self._change(lambda ring: ring.without_those_before(version, now))

    async def describe(self) -> Description:
        return Description("software", (await self._ring()).described(), can_destroy=True)

    async def prove(self) -> None:
        await prove_round_trip(self)

    async def close(self) -> None:
        self._read = None

    async def _change(self, how: Callable[[Ring], Ring]) -> Ring:
        try:
            return await asyncio.to_thread(self._file.change, how)
        except Sealed:
            raise RootSealed("the root file is under custody") from None

    async def _ring(self) -> Ring:
        """Raises KeyServiceUnreachable, which RootSealed is."""
        stamp = self._file.stamp()
        if stamp is None:
            raise KeyServiceUnreachable("the root file is not there")
        if self._read is None or self._read[0] != stamp:
            try:
                ring = await asyncio.to_thread(self._file.read)
            except Sealed:
                raise RootSealed("the root file is under custody") from None
            except (OSError, RingUnusable) as error:
                raise KeyServiceUnreachable(f"the root file cannot be used ({type(error).__name__})") from None
            self._read = (stamp, ring)  # read after its stamp was taken: at worst it is read once more
        return self._read[1]


def _open_before_versions(root: Secret[bytes], body: bytes, context: bytes) -> Secret[bytes]:
    format_byte = bytes((frame.FORMAT_BEFORE_VERSIONS,))
    try:
        plain = AESGCM(root.reveal()).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], format_byte + context)
    except (InvalidTag, ValueError):
        raise KeyUnusable from None
    return frame.unwrapped(plain)
