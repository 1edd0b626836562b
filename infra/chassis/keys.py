"""The key service: wraps and unwraps keys under a root that callers never hold.

`KeyService` is what a transit engine and a PKCS#11 device will answer too; at first light there is the software one,
whose root is a file beside the service. Whoever reads that file and the database reads everything: the file provider is
for one machine and for sandboxes.
"""

import asyncio
import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.chassis.secret import Secret

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"


class KeyUnusable(Exception):
    """Wrong key, wrong context, or a damaged wrap; the three are not told apart."""


class KeyService(Protocol):
    """Another company's or another process's, hence a protocol (transit, PKCS#11, KMS)."""

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        """`key` sealed under the root, bound to `context`."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        """Raises KeyUnusable."""
        ...


class SoftwareKeyService:
    """AES-256-GCM under a root key from a file. Wrap = version (1) || nonce (12) || ciphertext and tag (48)."""

    def __init__(self, root: Secret[bytes]) -> None:
        if len(root.reveal()) != KEY_BYTES:
            msg = "the root key file must hold 32 bytes"
            raise KeyUnusable(msg)
        self._aead = AESGCM(root.reveal())

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        await asyncio.sleep(0)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._aead.encrypt(nonce, key.reveal(), VERSION + context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        await asyncio.sleep(0)
        if wrapped[:1] != VERSION:
            raise KeyUnusable
        nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        try:
            return Secret(self._aead.decrypt(nonce, sealed, VERSION + context))
        except InvalidTag:
            raise KeyUnusable from None


def new_key() -> Secret[bytes]:
    return Secret(secrets.token_bytes(KEY_BYTES))
