"""Compact JWSs (RFC 7515) that differ from a genuine one in one way: what PyJWT lets pass, and what caught others.

facts/gateway.md lists them, RFC 8725 explains most. Doors try them all; `TAKEN_BY_PYJWT` are those in which PyJWT,
given the right key and one algorithm, sees nothing wrong.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from infra.chassis.jwk import base64url, public_jwk, thumbprint

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""FIPS 186-5."""
STRANGER = Ed25519PrivateKey.generate()


@dataclass(frozen=True, slots=True)
class Genuine:
    """What the real one holds; each `compact` is signed anew."""

    key: Ed25519PrivateKey
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def compact(self) -> str:
        return self.signed(_json(self.header), _json(self.claims))

    def signed(self, header: bytes, claims: bytes) -> str:
        return self.over(f"{base64url(header)}.{base64url(claims)}")

    def over(self, signed: str) -> str:
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"

    def but(self, **claims: Any) -> str:
        """Other claims; those that are None are left out."""
        changed = {name: value for name, value in {**self.claims, **claims}.items() if value is not None}
        return self.signed(_json(self.header), _json(changed))

    def headed(self, **members: Any) -> str:
        changed = {name: value for name, value in {**self.header, **members}.items() if value is not None}
        return self.signed(_json(changed), _json(self.claims))

    def raw(self, claim: str, value: str) -> str:
        """With JSON of its own in place of a claim's value."""
        others = _json({name: held for name, held in self.claims.items() if name != claim}).decode()
        return self.signed(_json(self.header), f'{others[:-1]},"{claim}":{value}}}'.encode())

    def by(self, key: Ed25519PrivateKey) -> "Genuine":
        return replace(self, key=key)


Forge = Callable[[Genuine], str]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _twice_in_header(it: Genuine) -> str:
    return it.signed(b'{"alg":"none",' + _json(it.header)[1:], _json(it.claims))


def _twice_in_claims(it: Genuine) -> str:
    return it.signed(_json(it.header), b'{"iss":"https://elsewhere.example","sub":"sub_x",' + _json(it.claims)[1:])


def _spaced(it: Genuine) -> list[str]:
    """Header and claims with blanks at the end, so many that both segments have four spare bits. Still genuine."""
    return [base64url(part + b" " * (4 - len(part) % 3)) for part in (_json(it.header), _json(it.claims))]


def _padded(segment: int) -> Forge:
    def forge(it: Genuine) -> str:
        parts = _spaced(it)
        parts[segment] += "=="
        return it.over(".".join(parts))

    return forge


def _spare_bits(segment: int) -> Forge:
    """The last character of a segment carries bits that decode to nothing."""

    def forge(it: Genuine) -> str:
        parts = _spaced(it)
        parts[segment] = _other_ending(parts[segment])
        return it.over(".".join(parts))

    return forge


def _respelled_signature(it: Genuine) -> str:
    signed, _, signature = it.compact.rpartition(".")
    return f"{signed}.{_other_ending(signature)}"


def _other_ending(text: str) -> str:
    changed = text[:-1] + ALPHABET[ALPHABET.index(text[-1]) ^ 1]
    pad = "=" * (-len(text) % 4)
    assert base64.urlsafe_b64decode(changed + pad) == base64.urlsafe_b64decode(text + pad), "no spare bits here"
    return changed


def _plain_alphabet(it: Genuine) -> str:
    """`+` and `/` of RFC 4648 section 4 for `-` and `_` of section 5."""
    for number in range(64):
        compact = it.but(jti=f"{it.claims['jti']}-{number}")
        signature = compact.rpartition(".")[2]
        if "-" in signature or "_" in signature:
            return compact[: -len(signature)] + signature.replace("-", "+").replace("_", "/")
    raise AssertionError("not one of 64 signatures has a character to change")


def _among_them(character: str) -> Forge:
    def forge(it: Genuine) -> str:
        signed, _, signature = it.compact.rpartition(".")
        return f"{signed}.{signature[:40]}{character}{signature[40:]}"

    return forge


def _malleated(it: Genuine) -> str:
    """S + L verifies too where nobody compares S with the order (RFC 8032 section 8.4)."""
    signed, _, signature = it.compact.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = int.from_bytes(raw[32:], "little") + ED25519_ORDER
    return f"{signed}.{base64url(raw[:32] + s.to_bytes(32, 'little'))}"


def _unsigned(algorithm: str) -> Forge:
    def forge(it: Genuine) -> str:
        return f"{base64url(_json({**it.header, 'alg': algorithm}))}.{base64url(_json(it.claims))}."

    return forge


def _symmetric(form: str) -> Forge:
    """HMAC under what everybody knows: the public key."""

    def forge(it: Genuine) -> str:
        known = it.key.public_key()
        secret = {
            "raw": known.public_bytes_raw(),
            "jwk": _json(public_jwk(it.key)),
            "pem": known.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        }[form]
        signed = f"{base64url(_json({**it.header, 'alg': 'HS256'}))}.{base64url(_json(it.claims))}"
        algorithm = jwt.get_algorithm_by_name("HS256")
        return f"{signed}.{base64url(algorithm.sign(signed.encode(), secret))}"

    return forge


def _elliptic(it: Genuine) -> str:
    key = generate_private_key(SECP256R1())
    header = {**it.header, "alg": "ES256", "jwk": json.loads(ECAlgorithm.to_jwk(key.public_key()))}
    return jwt.encode(dict(it.claims), key, algorithm="ES256", headers=header)


def _own_key_inside(it: Genuine) -> str:
    """RFC 7515 section 4.1.3: a key that the sender brings along proves the sender's key and nothing else."""
    return it.by(STRANGER).headed(jwk=public_jwk(STRANGER))


def _key_elsewhere(member: str) -> Forge:
    return lambda it: it.by(STRANGER).headed(**{member: "https://elsewhere.example/keys"})


def _detached(it: Genuine) -> str:
    """RFC 7797: the payload stands as it is."""
    header = base64url(_json({**it.header, "b64": False, "crit": ["b64"]}))
    signature = it.key.sign(header.encode() + b"." + _json(it.claims))
    return f"{header}..{base64url(signature)}"


def _times(it: Genuine) -> tuple[int, int]:
    return int(it.claims["iat"]), int(it.claims["exp"])


def _shifted(seconds: int) -> Forge:
    return lambda it: it.but(iat=_times(it)[0] + seconds, exp=_times(it)[1] + seconds)


SPELLINGS: dict[str, Forge] = {
    "a header member twice": _twice_in_header,
    "a claim twice": _twice_in_claims,
    "padding after the header": _padded(0),
    "padding after the claims": _padded(1),
    "padding after the signature": lambda it: f"{it.compact}==",
    "spare bits in the header": _spare_bits(0),
    "spare bits in the claims": _spare_bits(1),
    "spare bits in the signature": _respelled_signature,
    "the plain alphabet": _plain_alphabet,
    "a line break inside": _among_them("\n"),
    "a stranger character inside": _among_them("!"),
    "one segment more": lambda it: f"{it.compact}.{base64url(b'{}')}",
    "no claims": lambda it: it.over(f"{base64url(_json(it.header))}."),
    "claims that are a list": lambda it: it.signed(_json(it.header), b"[]"),
    "claims nested too deep": lambda it: it.raw("deep", "[" * 900 + "]" * 900),
    "a byte order mark": lambda it: it.signed(_json(it.header), b"\xef\xbb\xbf" + _json(it.claims)),
    "claims detached": _detached,
}
SIGNATURES: dict[str, Forge] = {
    "a stranger's key": lambda it: it.by(STRANGER).compact,
    "no signature": lambda it: it.compact.rpartition(".")[0] + ".",
    "a signature of zeros": lambda it: f"{it.compact.rpartition('.')[0]}.{base64url(bytes(64))}",
    "S + L": _malleated,
    "alg none": _unsigned("none"),
    "alg None": _unsigned("None"),
    "alg nOnE": _unsigned("nOnE"),
    "alg empty": _unsigned(""),
    "alg missing": lambda it: it.headed(alg=None),
    "alg a list": lambda it: it.headed(alg=["EdDSA"]),
    "alg of another family": lambda it: it.headed(alg="ES256"),
    "alg lower case": lambda it: it.headed(alg="eddsa"),
    "HS256 under the raw public key": _symmetric("raw"),
    "HS256 under the PEM": _symmetric("pem"),
    "HS256 under the JWK": _symmetric("jwk"),
    "ES256 under a key it brings": _elliptic,
    "a key it brings": _own_key_inside,
    "a key at jku": _key_elsewhere("jku"),
    "a key at x5u": _key_elsewhere("x5u"),
    "a certificate it brings": lambda it: it.headed(x5c=["MIIB"]),
    "kid of another key": lambda it: it.headed(kid=thumbprint(public_jwk(STRANGER))),
    "kid of this key, signed by another": lambda it: it.by(STRANGER).headed(kid=thumbprint(public_jwk(it.key))),
    "kid a path": lambda it: it.headed(kid="../../../dev/null"),
    "kid a query": lambda it: it.headed(kid="x' UNION SELECT 'key"),
    "kid empty": lambda it: it.headed(kid=""),
    "kid a list": lambda it: it.headed(kid=[thumbprint(public_jwk(it.key))]),
    "crit empty": lambda it: it.headed(crit=[]),
    "crit of what is known": lambda it: it.headed(crit=["exp"]),
    "crit of what is not": lambda it: it.headed(crit=["undercroft"], undercroft=True),
    "b64 true": lambda it: it.headed(b64=True, crit=["b64"]),
    "zip": lambda it: it.headed(zip="DEF"),
    "cty": lambda it: it.headed(cty="JWT"),
    "typ null": lambda it: it.signed(_json({**it.header, "typ": None}), _json(it.claims)),
    "typ a list": lambda it: it.headed(typ=[it.header.get("typ", "JWT")]),
    "typ of a grant": lambda it: it.headed(typ="undercroft-grant+jwt"),
    "typ of a proof": lambda it: it.headed(typ="undercroft-proof+jwt"),
    "typ of an ID token": lambda it: it.headed(typ="id_token+jwt"),
}
CLAIMS: dict[str, Forge] = {
    "aud missing": lambda it: it.but(aud=None),
    "aud null": lambda it: it.raw("aud", "null"),
    "aud foreign": lambda it: it.but(aud="https://elsewhere.example"),
    "aud longer": lambda it: it.but(aud=f"{it.claims['aud']}/"),
    "aud a list": lambda it: it.but(aud=[it.claims["aud"]]),
    "aud a list with another": lambda it: it.but(aud=[it.claims["aud"], "https://elsewhere.example"]),
    "iss missing": lambda it: it.but(iss=None),
    "iss foreign": lambda it: it.but(iss="https://elsewhere.example"),
    "iss a list": lambda it: it.but(iss=[it.claims["iss"]]),
    "sub missing": lambda it: it.but(sub=None),
    "sub a number": lambda it: it.but(sub=7),
    "jti missing": lambda it: it.but(jti=None),
    "jti a number": lambda it: it.but(jti=12345678),
    "iat missing": lambda it: it.but(iat=None),
    "iat in a minute": _shifted(60),
    "iat in ten years": _shifted(10 * 365 * 86_400),
    "iat a text": lambda it: it.but(iat=str(_times(it)[0])),
    "iat a float": lambda it: it.but(iat=float(_times(it)[0])),
    "iat true": lambda it: it.but(iat=True),
    "exp missing": lambda it: it.but(exp=None),
    "exp null": lambda it: it.raw("exp", "null"),
    "exp a text": lambda it: it.but(exp=str(_times(it)[1])),
    "exp a float": lambda it: it.but(exp=_times(it)[1] + 0.5),
    "exp with an exponent": lambda it: it.raw("exp", "1.7e9"),
    "exp true": lambda it: it.but(exp=True),
    "exp infinite": lambda it: it.raw("exp", "Infinity"),
    "exp not a number": lambda it: it.raw("exp", "NaN"),
    "exp past": lambda it: it.but(exp=_times(it)[0]),
    "exp in ten years": lambda it: it.but(exp=_times(it)[1] + 10 * 365 * 86_400),
    "exp beyond 64 bits": lambda it: it.but(exp=2**64),
    "exp of 2,000 digits": lambda it: it.raw("exp", "9" * 2_000),
    "nbf in ten years": lambda it: it.but(nbf=_times(it)[1] + 10 * 365 * 86_400),
    "nbf a text": lambda it: it.but(nbf="now"),
}
TRAPS: dict[str, Forge] = {**SPELLINGS, **SIGNATURES, **CLAIMS}
TAKEN_BY_PYJWT = (
    "a header member twice",
    "a claim twice",
    "padding after the header",
    "padding after the claims",
    "padding after the signature",
    "a certificate it brings",
    "kid of another key",
    "kid a path",
    "cty",
    "zip",
    "typ null",
    "typ of a grant",
    "exp in ten years",
)


def other_half(compact: str) -> str:
    """An ES256 signature's twin: (r, n - s) verifies wherever (r, s) does."""
    signed, _, signature = compact.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = int.from_bytes(raw[32:], "big")
    return f"{signed}.{base64url(raw[:32] + (P256_ORDER - s).to_bytes(32, 'big'))}"
