"""The gateway's public keys, fetched out of band and kept; PyJWT's own client blocks the loop (facts/gateway.md)."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, TypeVar

import jwt
import msgspec

from infra.chassis import logs
from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock
from infra.chassis.problems import PeerUnreachable
from mcp_server.errors import KeysUnavailable

METADATA_PATH = "/.well-known/oauth-authorization-server"
FRESH_FOR = timedelta(minutes=10)
"""A key the gateway withdrew is out of use here after as long as its last bearer lives."""
ASK_AGAIN_AFTER = timedelta(seconds=10)
"""An unknown key id makes us ask at most this often, so that made-up ids cannot turn us against the gateway."""
ALGORITHM = "EdDSA"
KEYS_MAX = 16
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
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._asking = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """None for a key the gateway does not publish. Raises KeysUnavailable while no key was ever fetched."""
        if key_id not in self._keys or self._stale():
            await self._refresh(key_id)
        if self._fetched_at is None:
            raise KeysUnavailable
        return self._keys.get(key_id)

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
            except (PeerUnreachable, ValueError, jwt.PyJWTError) as error:
                log.warning("signing_keys_not_fetched", error=type(error).__name__)
                return
            self._fetched_at = now

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        metadata = await self._document(METADATA_PATH, ServerMetadata)
        if metadata.issuer != self._issuer or not metadata.jwks_uri.startswith(f"{self._issuer}/"):
            msg = "the gateway names another issuer than the one set here"
            raise ValueError(msg)
        documents = await self._document(metadata.jwks_uri.removeprefix(self._issuer), KeySet)
        return {
            str(document["kid"]): jwt.PyJWK(document, algorithm=ALGORITHM)
            for document in documents.keys[:KEYS_MAX]
            if document.get("kty") == "OKP" and document.get("crv") == "Ed25519" and "kid" in document
        }

    async def _document(self, path: str, kind: type[D]) -> D:
        answer = await self._gateway.request("GET", path)
        if answer.status != 200:  # noqa: PLR2004 - the one status with a document
            msg = "the gateway did not answer with a document"
            raise ValueError(msg)
        return msgspec.json.decode(answer.body, type=kind)
