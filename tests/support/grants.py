"""Grants for tests: minted as the gateway mints them, with a key the service under test is told to trust."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bearers import public_jwk, thumbprint
from gateway.grants import GrantMint
from infra.chassis.clock import Clock
from infra.chassis.grants import TYPE
from infra.chassis.ids import new_id
from infra.chassis.jwk import base64url, published
from infra.chassis.proofs import prove
from infra.chassis.ring import Signing, SigningRing

ISSUER = "http://127.0.0.1:7100"


def ring_of(key: Ed25519PrivateKey) -> SigningRing:
    """A single key that never rotates."""
    return SigningRing(Signing.of(key))


@dataclass(slots=True)
class TestMint:
    """One issuer's key. `grant` mints what the gateway would; `forge` signs whatever it is given."""

    __test__ = False

    clock: Clock
    audience: str
    issuer: str = ISSUER
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    sender: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def write_jwks(self, path: Path, *others: Ed25519PrivateKey) -> Path:
        keys = [published(key.public_key()).document() for key in (self.key, *others)]
        path.write_text(json.dumps({"keys": keys}))
        return path

    def headers(self, grant: str, method: str, path: str, **changes: Any) -> dict[str, str]:
        """The grant and its sender's proof for this call, or for a changed one."""
        return {"Undercroft-Grant": grant, "Undercroft-Proof": self.proof(grant, method, path, **changes)}

    def proof(self, grant: str, method: str, path: str, **changes: Any) -> str:
        call: dict[str, Any] = {"grant": grant, "method": method, "path": path}
        ours: dict[str, Any] = {"key": self.sender, "jti": secrets.token_urlsafe(16), "now": self.clock.now()}
        return prove(**(call | ours | changes))

    def grant(self, action: str, order: Any, parameters: Any = None, **changes: Any) -> str:
        """For `order` (anything with tenant_id, brand_id and subject_id), bound to it or to other `parameters`."""
        values: dict[str, Any] = {
            "audience": self.audience,
            "action": action,
            "actor": "agt_test",
            "tenant_id": order.tenant_id,
            "brand_id": order.brand_id,
            "subject_id": order.subject_id,
            "decision_id": new_id("dec"),
            "parameters": order if parameters is None else parameters,
        }
        mint = GrantMint(ring_of(self.key), self.issuer, self.clock, ring_of(self.sender))
        return mint.mint(**(values | changes))

    def forge(self, genuine: str, key: Ed25519PrivateKey | None = None, **claims: Any) -> str:
        """A genuine grant with other claims, signed again, with this issuer's key or another under its name."""
        old = jwt.decode(genuine, options={"verify_signature": False})
        headers = {"typ": TYPE, "kid": thumbprint(public_jwk(self.key))}
        return jwt.encode(old | claims, key or self.key, algorithm="EdDSA", headers=headers)

    def sign(self, header: bytes, claims: bytes) -> str:
        """Any bytes, signed with this issuer's key: what `jwt.encode` would not write."""
        signed = f"{base64url(header)}.{base64url(claims)}"
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"


def body_of(order: msgspec.Struct) -> bytes:
    return msgspec.json.encode(order)
