"""Proof of possession (shape of DPoP, RFC 9449): who sends a grant holds the key that the grant's `cnf` names.

Differences from DPoP, and why: the type is our own, so that neither passes for the other; `htu` is the path alone,
because the grant's audience names the service and a receiver behind a proxy does not know its own address; `ath` is the
hash of the grant. Who steals a grant on its way (a log, a proxy, a memory dump) has nothing to call with. Who steals
the minting key still has: it can bind a grant to any key.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.compact import NotCompact, is_signed_by, read_compact
from infra.chassis.jwk import ALGORITHM, KeyRefused, base64url, key_of, public_jwk, thumbprint

PROOF_HEADER: Final = "Undercroft-Proof"
PROOF_TYPE: Final = "undercroft-proof+jwt"
LIFE_SECONDS: Final = 30
"""As long as a grant may live; the table of used proofs keeps each for an hour longer."""
SKEW_SECONDS: Final = 5
LENGTH_MAX: Final = 1024
"""A proof is about 560 characters."""
HEADER_MEMBERS: Final = frozenset({"typ", "alg", "jwk"})
TEXTS: Final = ("jti", "htm", "htu", "ath")
MEMBERS: Final = frozenset({*TEXTS, "iat"})
JTI_LENGTH_MAX: Final = 64


class ProofRefused(Exception):
    """One for every defect."""


def grant_hash(grant: str) -> str:
    """`ath` of RFC 9449 section 4.2: base64url of the SHA-256 of the grant as it is sent."""
    return base64url(hashlib.sha256(grant.encode()).digest())


def prove(key: Ed25519PrivateKey, *, grant: str, method: str, path: str, jti: str, now: datetime) -> str:
    """A compact JWT for one call with one grant."""
    claims = {"jti": jti, "htm": method, "htu": path, "iat": int(now.timestamp()), "ath": grant_hash(grant)}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": PROOF_TYPE, "jwk": public_jwk(key)})


def check_proof(proof: str | None, *, grant: str, method: str, path: str, jkt: str, now: datetime) -> str:
    """The proof's `jti`, if the holder of the key with thumbprint `jkt` made it for exactly this call, just now.

    Raises ProofRefused. The jti is not yet spent.
    """
    try:
        header, claims = read_compact(proof or "", length_max=LENGTH_MAX)
        if header.keys() != HEADER_MEMBERS or (header["typ"], header["alg"]) != (PROOF_TYPE, ALGORITHM):
            raise ProofRefused
        key = key_of(header["jwk"])
        if not hmac.compare_digest(thumbprint(header["jwk"]).encode(), jkt.encode()):
            raise ProofRefused
    except (NotCompact, KeyRefused):
        raise ProofRefused from None
    if not is_signed_by(key, proof or ""):
        raise ProofRefused
    return _of_this_call(claims, (method, path, grant_hash(grant)), now)


def _of_this_call(claims: dict[str, Any], call: tuple[str, str, str], now: datetime) -> str:
    if claims.keys() != MEMBERS or not all(isinstance(claims[name], str) for name in TEXTS):
        raise ProofRefused
    if (claims["htm"], claims["htu"], claims["ath"]) != call:
        raise ProofRefused
    issued, jti = claims["iat"], claims["jti"]
    if type(issued) is not int or not -SKEW_SECONDS <= now.timestamp() - issued < LIFE_SECONDS:
        raise ProofRefused
    if not 0 < len(jti) <= JTI_LENGTH_MAX:
        raise ProofRefused
    return str(jti)
