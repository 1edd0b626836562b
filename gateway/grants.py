"""Minting grants: an allow becomes one signed, single-use, short order for one exact act (see infra.chassis.grants)."""

from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec

from infra.chassis import trace
from infra.chassis.canonical import parameters_sha256
from infra.chassis.clock import Clock
from infra.chassis.grants import HEADER, TTL_SECONDS_MAX, TYPE
from infra.chassis.ids import new_id
from infra.chassis.jwk import ALGORITHM
from infra.chassis.proofs import PROOF_HEADER, prove
from infra.chassis.ring import SigningRing
from vault.contract import CARRIED_BY_BROWSER

TTL_SECONDS: Final = 20
"""Covers one hop and its retry by the transport; well under the 30 s that verifiers accept."""


class GrantMint:
    """Mints with `key` and binds to `sender`, the key with which this process proves that a call is its own."""

    def __init__(self, key: SigningRing, issuer: str, clock: Clock, sender: SigningRing) -> None:
        self._ring = key
        self._sender = sender
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
        """A compact JWT. `actor` is the client id of whoever asked; `parameters` is the exact body to be sent.

        Bound to the sender by `cnf` (RFC 7800), but for the actions whose grant a browser carries.
        """
        issued = int(self._clock.now().timestamp())
        here = trace.current.get()
        claims: dict[str, Any] = {
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
        if action not in CARRIED_BY_BROWSER:
            claims["cnf"] = {"jkt": self._sender.now().key_id}
        signing = self._ring.now()
        return jwt.encode(claims, signing.key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": signing.key_id})

    def headers(self, grant: str, *, method: str, path: str) -> dict[str, str]:
        """The grant and the proof that we are its sender, for one call."""
        key, now = self._sender.now().key, self._clock.now()
        proof = prove(key, grant=grant, method=method, path=path, jti=new_id("jti"), now=now)
        return {HEADER: grant, PROOF_HEADER: proof}
