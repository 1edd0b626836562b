"""What a carrier signed about a call: PASSporT (RFC 8225) of the SHAKEN kind (RFC 8588), as in SIP's `Identity` header.

Nothing is fetched: a signer's certificates come from the operator's folder, by the address that the PASSporT names. An
unknown address is an unknown signer. Pure but for reading that folder.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import jwt
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.asn1 import Explicit, IA5String, Variant
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from infra.chassis import regular
from infra.chassis.compact import NotCompact, read_compact

LENGTH_MAX: Final = 4_096
"""A SHAKEN PASSporT has some 500 characters; the rest is room for long addresses."""
FRESH: Final = timedelta(seconds=60)
"""RFC 8224 section 12.1: recommended."""
SKEW: Final = timedelta(seconds=5)
HEADER: Final = {"alg": "ES256", "ppt": "shaken", "typ": "passport"}
TN_AUTH_LIST: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
"""RFC 8226 section 9."""
NUMBER: Final = re.compile(r"[0-9]{1,15}")
"""RFC 8225 section 5.2.1: a number in its canonical form, digits only."""
PARAMETER: Final = re.compile(r'\s*;\s*([A-Za-z]{1,10})\s*=\s*(?:<([^<>\s]*)>|"([^"\s]*)"|([A-Za-z0-9_.-]+))')
INDEX: Final = "certificates.json"
ROOTS: Final = "roots.pem"


class PassportRefused(Exception):
    """`why` is for the operator's log; whoever sent the PASSporT is not told."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Passport:
    """A verified call. Numbers are E.164 with a plus sign."""

    caller_number: str
    called_numbers: frozenset[str]
    attestation: str
    """`A`: the carrier knows the customer and that the number is theirs to use. `B`, `C`: less (RFC 8588 section 4)."""
    issued_at: datetime
    sha256: str
    """Of what was signed, without the signature: ES256 signatures can be rewritten, what they sign cannot."""


@asn1.sequence
class NumberRange:
    start: IA5String
    count: int


Entry = (
    Annotated[Variant[IA5String, Literal["spc"]], Explicit(0)]
    | Annotated[Variant[NumberRange, Literal["range"]], Explicit(1)]
    | Annotated[Variant[IA5String, Literal["one"]], Explicit(2)]
)


@asn1.sequence
class Authority:
    """What a certificate may speak for, in an envelope of ours: the library decodes a list only inside a sequence."""

    entries: list[Entry]


class Carriers:
    """`folder`: the trusted roots in roots.pem, and in certificates.json `{address: file}` for each signer's chain.

    A folder without them trusts nobody. Files are read anew when the index has changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[int, Mapping[str, str]] = (0, {})

    def chain(self, address: str) -> list[x509.Certificate]:
        """The signer's certificate and those between it and a root. Raises PassportRefused, OSError, ValueError."""
        name = self._index().get(address)
        if name is None or Path(name).name != name:
            raise PassportRefused("signer_unknown")
        return x509.load_pem_x509_certificates(regular.read(self._folder / name))

    def roots(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(regular.read(self._folder / ROOTS))

    def _index(self) -> Mapping[str, str]:
        path = self._folder / INDEX
        if not path.exists():
            return {}
        changed = path.stat().st_mtime_ns
        if changed != self._read[0]:
            self._read = (changed, json.loads(regular.read(path)))
        return self._read[1]


def check(identity: str, carriers: Carriers, now: datetime) -> Passport:
    """The call that this `Identity` header, or the PASSporT alone, vouches for. Raises PassportRefused."""
    compact, parameters = _split(identity)
    try:
        header, claims = read_compact(compact, length_max=LENGTH_MAX)
    except NotCompact:
        raise PassportRefused("not_a_passport") from None
    address = header.pop("x5u", None)
    if header != HEADER or not isinstance(address, str):
        raise PassportRefused("header_not_shaken")
    if any(given != {**HEADER, "info": address}[name] for name, given in parameters.items()):
        raise PassportRefused("header_and_parameters_differ")
    signer = _trusted_signer(carriers, address, now)
    _verify(compact, signer)
    passport = _passport(claims, compact, now)
    if not _may_speak_for(signer, passport.caller_number.removeprefix("+")):
        raise PassportRefused("number_not_the_signers")
    return passport


def _split(identity: str) -> tuple[str, dict[str, str]]:
    """RFC 8224 section 4: the PASSporT, then `;info=<…>;alg=…;ppt=…`. Carriers' APIs hand on the PASSporT alone."""
    if len(identity) > LENGTH_MAX:
        raise PassportRefused("too_long")
    compact, separator, rest = identity.strip().partition(";")
    rest, parameters = separator + rest, {}
    while rest:
        found = PARAMETER.match(rest)
        if found is None or found.group(1).lower() in parameters:
            raise PassportRefused("parameters_not_readable")
        parameters[found.group(1).lower()] = next(value for value in found.groups()[1:] if value is not None)
        rest = rest[found.end() :]
    if not parameters.keys() <= {"info", "alg", "ppt"}:
        raise PassportRefused("parameters_not_readable")
    return compact.strip(), parameters


def _trusted_signer(carriers: Carriers, address: str, now: datetime) -> x509.Certificate:
    try:
        signer, *between = carriers.chain(address)
        verifier = (
            PolicyBuilder()
            .store(Store(carriers.roots()))
            .time(now)
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_signer_policy())
            .build_client_verifier()
        )
        verifier.verify(signer, between)
    except VerificationError:
        raise PassportRefused("certificate_not_trusted") from None
    except (OSError, ValueError):
        raise PassportRefused("certificates_unreadable") from None
    return signer


def _signer_policy() -> ExtensionPolicy:
    """RFC 8226 and ATIS-1000080: no authority itself, signs; names no host, so nothing of the web's is asked for."""
    return (
        ExtensionPolicy.permit_all()
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _no_authority)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
    )


def _no_authority(_policy: Policy, _certificate: x509.Certificate, found: x509.BasicConstraints | None) -> None:
    if found is not None and found.ca:
        raise ValueError


def _signs(_policy: Policy, _certificate: x509.Certificate, found: x509.KeyUsage) -> None:
    if not found.digital_signature:
        raise ValueError


def _verify(compact: str, signer: x509.Certificate) -> None:
    key = signer.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise PassportRefused("certificate_not_trusted")
    options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        jwt.decode(compact, key, algorithms=["ES256"], options=options)
    except jwt.PyJWTError:
        raise PassportRefused("signature_wrong") from None


def _passport(claims: Mapping[str, Any], compact: str, now: datetime) -> Passport:
    match claims:
        case {"attest": "A" | "B" | "C" as attest, "orig": {"tn": orig}, "dest": {"tn": list(dest)}, "iat": iat}:
            numbers = [orig, *dest]
        case _:
            raise PassportRefused("claims_not_shaken")
    if len(claims["orig"]) != 1 or type(iat) is not int or not _is_uuid(claims.get("origid")):
        raise PassportRefused("claims_not_shaken")
    if not dest or not all(isinstance(number, str) and NUMBER.fullmatch(number) for number in numbers):
        raise PassportRefused("claims_not_shaken")
    if not -SKEW.total_seconds() <= now.timestamp() - iat <= FRESH.total_seconds():
        raise PassportRefused("not_fresh")
    return Passport(
        caller_number=f"+{orig}",
        called_numbers=frozenset(f"+{number}" for number in dest),
        attestation=attest,
        issued_at=datetime.fromtimestamp(iat, UTC),
        sha256=hashlib.sha256(compact.rpartition(".")[0].encode()).hexdigest(),
    )


def _is_uuid(value: Any) -> bool:
    """RFC 8588 section 5."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _may_speak_for(signer: x509.Certificate, number: str) -> bool:
    """RFC 8226 section 9: by a service provider's code for the numbers it vouches for, else by these numbers only."""
    try:
        listed = signer.extensions.get_extension_for_oid(TN_AUTH_LIST).value.public_bytes()
        entries = asn1.decode_der(Authority, _in_sequence(listed)).entries
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(_covers(entry, number) for entry in entries)


def _covers(entry: Any, number: str) -> bool:
    if entry.tag == "spc":
        return True
    if entry.tag == "one":
        return bool(entry.value.as_str() == number)
    start, count = entry.value.start.as_str(), entry.value.count
    same_length = len(start) == len(number) and NUMBER.fullmatch(start) is not None
    return same_length and int(start) <= int(number) < int(start) + count


def _in_sequence(der: bytes) -> bytes:
    """One DER value as the only member of a sequence (X.690 section 8.1.3)."""
    length = len(der)
    size = bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2)  # noqa: PLR2004 - the short form's end
    return b"\x30" + size + der
