"""The gateway's public keys, fetched and kept; PyJWT's own client blocks the loop (facts/gateway.md).

The gateway publishes a key before it signs with it, so a rotation is seen in time by whoever asks every ten minutes; an
id that is not known yet is asked for at once, at most every ten seconds.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.chassis import logs
from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock
from infra.chassis.jwk import KEYS_MAX, PublicKey, acceptable
from infra.chassis.problems import PeerUnreachable
from mcp_server.errors import KeysUnavailable

METADATA_PATH = "/.well-known/oauth-authorization-server"
FRESH_FOR = timedelta(minutes=10)
"""A key the gateway withdrew is out of use here after as long as its last bearer lives."""
ASK_AGAIN_AFTER = timedelta(seconds=10)
"""An unknown key id makes us ask at most this often, so that made-up ids cannot turn us against the gateway."""
log = logs.get_logger()
D = TypeVar("D")


class ServerMetadata(msgspec.Struct, frozen=True):
    """The two members of RFC 8414 needed here."""

    issuer: str
    jwks_uri: str


class KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class SigningKeys:
    """`issuer` is the gateway's public name; its documents are fetched at the address behind `gateway`."""

    def __init__(self, gateway: PeerClient, *, issuer: str, clock: Clock) -> None:
        self._gateway = gateway
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._asking = asyncio.Lock()

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """None for a key that the gateway does not publish, or that has ended.

        Raises KeysUnavailable while no key was ever fetched.
        """
        if key_id not in self._keys or self._stale():
            await self._refresh(key_id)
        if self._fetched_at is None:
            raise KeysUnavailable
        found = self._keys.get(key_id)
        return found.key if found is not None and found.holds(self._clock.now()) else None

    def _stale(self) -> bool:
        return self._fetched_at is None or self._clock.now() - self._fetched_at > FRESH_FOR

    async def _refresh(self, key_id: str) -> None:
        async with self._asking:
            if key_id in self._keys and not self._stale():
                return
            now = self._clock.now()
            if self._asked_at is not None and now - self._asked_at < ASK_AGAIN_AFTER and self._fetched_at is not None:
                return
            self._asked_at = now
            try:
                self._keys = await self._fetch()
            except (PeerUnreachable, ValueError) as error:
                log.warning("signing_keys_not_fetched", error=type(error).__name__)
                return
            self._fetched_at = now

    async def _fetch(self) -> dict[str, PublicKey]:
        metadata = await self._document(METADATA_PATH, ServerMetadata)
        if metadata.issuer != self._issuer or not metadata.jwks_uri.startswith(f"{self._issuer}/"):
            msg = "the gateway names another issuer than the one set here"
            raise ValueError(msg)
        documents = await self._document(metadata.jwks_uri.removeprefix(self._issuer), KeySet)
        return {key.key_id: key for key in acceptable(documents.keys[:KEYS_MAX], "the gateway's jwks")}

    async def _document(self, path: str, kind: type[D]) -> D:
        answer = await self._gateway.request("GET", path)
        if answer.status != 200:  # noqa: PLR2004 - the one status with a document
            msg = "the gateway did not answer with a document"
            raise ValueError(msg)
        return msgspec.json.decode(answer.body, type=kind)
