"""Minting grants: an allow becomes one signed, single-use, short order for one exact act (see infra.chassis.grants)."""

from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.bearers import public_jwk, thumbprint
from infra.chassis import trace
from infra.chassis.canonical import parameters_sha256
from infra.chassis.clock import Clock
from infra.chassis.grants import TTL_SECONDS_MAX, TYPE
from infra.chassis.ids import new_id

TTL_SECONDS: Final = 20
"""Covers one hop and its retry by the transport; well under the 30 s that verifiers accept."""


class GrantMint:
    def __init__(self, key: Ed25519PrivateKey, issuer: str, clock: Clock) -> None:
        self._key = key
        self._key_id = thumbprint(public_jwk(key))
        self._issuer = issuer
        self._clock = clock

    def mint(
        self,
        *,
        audience: str,
        action: str,
        actor: str,
        tenant_id: str,
        brand_id: str,
        subject_id: str,
        decision_id: str,
        parameters: Mapping[str, Any] | msgspec.Struct,
        ttl_seconds: int = TTL_SECONDS,
    ) -> str:
        """A compact JWT. `actor` is the client id of whoever asked; `parameters` is the exact body to be sent."""
        issued = int(self._clock.now().timestamp())
        here = trace.current.get()
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "iat": issued,
            "exp": issued + min(ttl_seconds, TTL_SECONDS_MAX),
            "jti": new_id("grn"),
            "txn": here.request_id if here else new_id("req"),
            "sub": subject_id,
            "tenant": tenant_id,
            "brand": brand_id,
            "action": action,
            "dec": decision_id,
            "act": {"sub": actor},
            "params_sha256": parameters_sha256(parameters),
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"typ": TYPE, "kid": self._key_id})
