"""Checking a grant: the gateway's signed, single-use order for one exact act (shape of OAuth transaction tokens).

Minting is the gateway's; this is the receiving side, the same in vault and memory. A grant is of use only to whoever
holds the key that its `cnf` names (RFC 7800): each call brings a proof of possession (see proofs.py) as well.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.params import HeaderParameter
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.chassis.canonical import parameters_sha256
from infra.chassis.clock import Clock
from infra.chassis.compact import NotCompact, is_signed_by, read_compact
from infra.chassis.jwk import ALGORITHM, JwksFile
from infra.chassis.problems import Problem
from infra.chassis.proofs import PROOF_HEADER, ProofRefused, check_proof

HEADER: Final = "Undercroft-Grant"
TYPE: Final = "undercroft-grant+jwt"
TTL_SECONDS_MAX: Final = 30
SKEW_SECONDS: Final = 5
LENGTH_MAX: Final = 4096
"""A grant is about 1,000 characters."""
TEXTS: Final = ("iss", "aud", "jti", "txn", "sub", "tenant", "brand", "action", "dec", "params_sha256")
REQUIRED: Final = frozenset({*TEXTS, "iat", "exp", "act"})
BOUND: Final = REQUIRED | {"cnf"}
HEADER_MEMBERS: Final = frozenset({"typ", "alg", "kid"})


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
class Presented:
    """What came with a call: the two headers, and the call itself as the proof names it."""

    grant: str | None
    proof: str | None
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A checked grant. `sender` is the thumbprint of the key it is bound to, None for one a browser carries."""

    issuer: str
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
    sender: str | None = None
    proof_jti: str | None = None


GrantHeader = Annotated[str | None, HeaderParameter(name=HEADER)]
ProofHeader = Annotated[str | None, HeaderParameter(name=PROOF_HEADER)]


async def presented(request: Request[Any, Any, Any], grant: GrantHeader = None, proof: ProofHeader = None) -> Presented:
    """The dependency `presented`. A header given twice is as good as none: it is not ours to choose between two."""
    twice = any(len(request.headers.getall(name, [])) > 1 for name in (HEADER, PROOF_HEADER))
    path = request.scope["path"]
    return Presented(None if twice else grant, None if twice else proof, str(request.method), path)


class GrantVerifier:
    def __init__(self, *, audience: str, issuer: str, keys: JwksFile, clock: Clock) -> None:
        self._audience = audience
        self._issuer = issuer
        self._keys = keys
        self._clock = clock

    def check(self, call: Presented, *, action: str, parameters: Mapping[str, Any] | msgspec.Struct) -> Grant:
        """The grant, if it is ours, in time, for this audience, this action, exactly these parameters, and its sender.

        Raises GrantRefused. It is not yet redeemed: call `redeem` in the transaction that acts.
        """
        claims = self._claims(call.grant, BOUND)
        sender = _sender(claims["cnf"])
        try:
            proof_jti = check_proof(
                call.proof,
                grant=call.grant or "",
                method=call.method,
                path=call.path,
                jkt=sender,
                now=self._clock.now(),
            )
        except ProofRefused:
            raise GrantRefused from None
        return replace(_grant(claims, action, parameters), sender=sender, proof_jti=proof_jti)

    def check_order(self, call: Presented, *, action: str, order: Any) -> Grant:
        """As `check`, and the body's tenant, brand and subject must be the grant's."""
        grant = self.check(call, action=action, parameters=order)
        if (order.tenant_id, order.brand_id, order.subject_id) != (grant.tenant_id, grant.brand_id, grant.subject_id):
            raise GrantRefused
        return grant

    def check_carried(
        self, compact: str | None, *, action: str, parameters: Mapping[str, Any] | msgspec.Struct
    ) -> Grant:
        """As `check`, for an action whose grant a person's browser carries and which nobody's key can therefore bind.

        The caller names such an action outright; a grant with `cnf` is refused here and one without it everywhere else,
        so that neither passes for the other. Raises GrantRefused.
        """
        return _grant(self._claims(compact, REQUIRED), action, parameters)

    def _claims(self, compact: str | None, wanted: frozenset[str]) -> dict[str, Any]:
        try:
            header, claims = read_compact(compact or "", length_max=LENGTH_MAX)
            if header.keys() != HEADER_MEMBERS or (header["typ"], header["alg"]) != (TYPE, ALGORITHM):
                raise GrantRefused
            key = self._keys.find(header["kid"]) if isinstance(header["kid"], str) else None
        except NotCompact:
            raise GrantRefused from None
        if key is None or claims.keys() != wanted or not is_signed_by(key, compact or ""):
            raise GrantRefused
        self._check_shape(claims)
        if (claims["aud"], claims["iss"]) != (self._audience, self._issuer):
            raise GrantRefused
        return claims

    def _check_shape(self, claims: Mapping[str, Any]) -> None:
        if not all(isinstance(claims[name], str) and claims[name] for name in TEXTS):
            raise GrantRefused
        _only_text(claims["act"], "sub")
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise GrantRefused
        now = self._clock.now().timestamp()
        if not issued - SKEW_SECONDS <= now < expires or expires - issued > TTL_SECONDS_MAX:
            raise GrantRefused


def _sender(confirmation: Any) -> str:
    """RFC 9449 section 6.1: `{"jkt": thumbprint}`."""
    return _only_text(confirmation, "jkt")


def _only_text(value: Any, name: str) -> str:
    """The one member of an object that has no other. Raises GrantRefused."""
    if not isinstance(value, dict) or value.keys() != {name}:
        raise GrantRefused
    text_there = value[name]
    if not isinstance(text_there, str) or not text_there:
        raise GrantRefused
    return text_there


def _grant(claims: Mapping[str, Any], action: str, parameters: Mapping[str, Any] | msgspec.Struct) -> Grant:
    """Raises GrantRefused for another action or other parameters."""
    if claims["action"] != action:
        raise GrantRefused
    if not hmac.compare_digest(claims["params_sha256"].encode(), parameters_sha256(parameters).encode()):
        raise GrantRefused
    return Grant(
        issuer=claims["iss"],
        jti=claims["jti"],
        txn=claims["txn"],
        tenant_id=claims["tenant"],
        brand_id=claims["brand"],
        subject_id=claims["sub"],
        action=claims["action"],
        decision_id=claims["dec"],
        actor=claims["act"]["sub"],
        params_sha256=claims["params_sha256"],
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )


async def redeem(tx: AsyncConnection, grant: Grant) -> None:
    """Use the grant and its proof up, in the transaction that acts. Raises GrantReplayed; the transaction is then dead.

    Keyed by issuer and `jti` (the proof by sender and `jti`) and never by bytes, which can be encoded in several ways.
    Shared by all processes, because it is a table: of uses at the same moment the primary key lets one through.
    """
    row = {
        "tenant_id": grant.tenant_id,
        "issuer": grant.issuer,
        "jti": grant.jti,
        "sender": grant.sender,
        "proof_jti": grant.proof_jti,
        "expires_at": grant.expires_at,
    }
    try:
        await tx.execute(_REDEEM, row)
    except IntegrityError:
        raise GrantReplayed from None


_REDEEM = text(
    "INSERT INTO redeemed_grants (tenant_id, issuer, jti, sender, proof_jti, expires_at)"
    " VALUES (:tenant_id, :issuer, :jti, :sender, :proof_jti, :expires_at)"
)
