"""Checking a grant: the gateway's signed, single-use order for one exact act (shape of OAuth transaction tokens).

Minting is the gateway's; this is the receiving side, the same in vault and memory.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.chassis.canonical import parameters_sha256
from infra.chassis.clock import Clock
from infra.chassis.problems import Problem

HEADER = "Undercroft-Grant"
TYPE = "undercroft-grant+jwt"
TTL_SECONDS_MAX = 30
SKEW_SECONDS = 5
REQUIRED = ("iss", "aud", "iat", "exp", "jti", "txn", "sub", "tenant", "brand", "action", "dec", "act", "params_sha256")


class GrantRefused(Problem):
    """One code for every defect: whoever forges learns nothing from the answer. The log says which check failed."""

    status = 403
    code = "grant_refused"
    detail = "The grant is missing, expired, or not for this request."


class GrantReplayed(Problem):
    status = 409
    code = "grant_replayed"
    detail = "This grant was used already; ask for a new one."


@dataclass(frozen=True, slots=True)
class Grant:
    jti: str
    txn: str
    tenant_id: str
    brand_id: str
    subject_id: str
    action: str
    decision_id: str
    actor: str
    params_sha256: str
    expires_at: datetime


def load_public_keys(path: Path) -> dict[str, jwt.PyJWK]:
    """Key id → Ed25519 public key, from a JWKS file. Any other kind of key is refused."""
    keys = {}
    for item in json.loads(path.read_text())["keys"]:
        if item.get("kty") != "OKP" or item.get("crv") != "Ed25519" or "d" in item:
            msg = f"{path.name}: only public Ed25519 keys belong here"
            raise ValueError(msg)
        keys[item["kid"]] = jwt.PyJWK(item, algorithm="EdDSA")
    return keys


class GrantVerifier:
    def __init__(self, *, audience: str, issuer: str, keys: Mapping[str, jwt.PyJWK], clock: Clock) -> None:
        self._audience = audience
        self._issuer = issuer
        self._keys = dict(keys)
        self._clock = clock

    def check(self, compact: str | None, *, action: str, parameters: Mapping[str, Any] | msgspec.Struct) -> Grant:
        """The grant, if it is ours, in time, for this audience, this action and exactly these parameters.

        Raises GrantRefused. It is not yet redeemed: call `redeem` in the transaction that acts.
        """
        claims = self._claims(compact)
        grant = Grant(
            jti=str(claims["jti"]),
            txn=str(claims["txn"]),
            tenant_id=str(claims["tenant"]),
            brand_id=str(claims["brand"]),
            subject_id=str(claims["sub"]),
            action=str(claims["action"]),
            decision_id=str(claims["dec"]),
            actor=str(claims["act"]["sub"]),
            params_sha256=str(claims["params_sha256"]),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )
        if grant.action != action:
            raise GrantRefused
        if not hmac.compare_digest(grant.params_sha256, parameters_sha256(parameters)):
            raise GrantRefused
        return grant

    def check_order(self, compact: str | None, *, action: str, order: Any) -> Grant:
        """As `check`, and the body's tenant, brand and subject must be the grant's."""
        grant = self.check(compact, action=action, parameters=order)
        if (order.tenant_id, order.brand_id, order.subject_id) != (grant.tenant_id, grant.brand_id, grant.subject_id):
            raise GrantRefused
        return grant

    def _claims(self, compact: str | None) -> dict[str, Any]:
        if compact is None or len(compact) > 4096:  # noqa: PLR2004 - a grant is about 900 bytes
            raise GrantRefused
        try:
            header = jwt.get_unverified_header(compact)
            if header.get("typ") != TYPE or header.get("alg") != "EdDSA":
                raise GrantRefused
            claims: dict[str, Any] = jwt.decode(
                compact,
                self._keys[str(header.get("kid"))].key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": list(REQUIRED), "strict_aud": True, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, KeyError):
            raise GrantRefused from None
        self._check_times(claims)
        if not isinstance(claims["act"], dict) or not isinstance(claims["act"].get("sub"), str):
            raise GrantRefused
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise GrantRefused
        now = self._clock.now().timestamp()
        if not issued - SKEW_SECONDS <= now < expires or expires - issued > TTL_SECONDS_MAX:
            raise GrantRefused


async def redeem(tx: AsyncConnection, grant: Grant) -> None:
    """Use the grant up, in the transaction that acts on it. Raises GrantReplayed; the transaction is then dead.

    Keyed by `jti` and never by the token's bytes: signatures and base64 can be re-encoded.
    """
    statement = text("INSERT INTO redeemed_grants (tenant_id, jti, expires_at) VALUES (:tenant_id, :jti, :expires_at)")
    row = {"tenant_id": grant.tenant_id, "jti": grant.jti, "expires_at": grant.expires_at}
    try:
        await tx.execute(statement, row)
    except IntegrityError:
        raise GrantReplayed from None
