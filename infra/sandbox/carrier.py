"""A telephone company: its certificates, and the PASSporTs it signs for calls (RFC 8225, RFC 8588, RFC 8226).

A root stands for those of the STI-PA's list; the certificate below it names a service provider code, as SHAKEN's do.
"""

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from infra.sandbox.control import json_response

CERTIFICATE_URL = "https://certificates.carrier.test/shaken.pem"
SERVICE_PROVIDER = b"0\x08\xa0\x06\x16\x04" + b"1234"  # TNAuthList with one service provider code (RFC 8226 section 9)
TN_AUTH_LIST = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
_TEN_YEARS = timedelta(days=3_650)
_HALF = 32  # octets of r and of s in an ES256 signature (RFC 7518 section 3.4)


class NewCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /_sandbox/calls`: somebody rings. Numbers are E.164 with a plus sign."""

    caller: Annotated[str, msgspec.Meta(pattern=r"^\+[0-9]{1,15}\Z")]
    called: Annotated[str, msgspec.Meta(pattern=r"^\+[0-9]{1,15}\Z")]
    attestation: Literal["A", "B", "C"] = "A"


@dataclass(frozen=True, slots=True)
class Signer:
    key: EllipticCurvePrivateKey
    url: str = CERTIFICATE_URL

    def passport(self, claims: Mapping[str, Any], **header: Any) -> str:
        """RFC 8225 section 9: members in the order of their names, no white space. `header` replaces members."""
        whole = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": self.url, **header}
        signed = f"{_segment(whole)}.{_segment(claims)}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ECDSA(SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(_HALF) + s.to_bytes(_HALF))}"

    def identity(self, caller: str, called: str, attestation: str, now: datetime) -> str:
        """The `Identity` header of a call (RFC 8224 section 4)."""
        claims = {
            "attest": attestation,
            "dest": {"tn": [called.removeprefix("+")]},
            "iat": int(now.timestamp()),
            "orig": {"tn": caller.removeprefix("+")},
            "origid": str(uuid.uuid4()),
        }
        return f'{self.passport(claims)};info=<{self.url}>;alg=ES256;ppt="shaken"'


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs certificates: the root, or somebody below it."""

    name: x509.Name
    key: EllipticCurvePrivateKey


def new_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def new_root(now: datetime, key: EllipticCurvePrivateKey) -> tuple[Issuer, x509.Certificate]:
    issuer = Issuer(_named("Sandbox STI root"), key)
    return issuer, certificate(issuer, issuer.name, key, now, authority=True)


def certificate(
    issuer: Issuer,
    name: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime,
    *,
    authority: bool = False,
    lasts: timedelta = _TEN_YEARS,
    numbers: bytes | None = SERVICE_PROVIDER,
) -> x509.Certificate:
    """`numbers`: the DER of a TNAuthList, for signers of calls."""
    building = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    if not authority and numbers is not None:
        building = building.add_extension(x509.UnrecognizedExtension(TN_AUTH_LIST, numbers), critical=False)
    return building.sign(issuer.key, SHA256())


def new_carrier(now: datetime) -> tuple[dict[str, bytes], bytes]:
    """What the gateway's operator gets from the trust list, file by file, and the PEM of the carrier's own key."""
    issuer, root = new_root(now, new_key())
    key = new_key()
    leaf = certificate(issuer, _named("SHAKEN 1234"), key, now)
    trusted = {
        "roots.pem": root.public_bytes(Encoding.PEM),
        "carrier.pem": leaf.public_bytes(Encoding.PEM),
        "certificates.json": json.dumps({CERTIFICATE_URL: "carrier.pem"}).encode(),
    }
    return trusted, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_signer(text: str) -> Signer:
    """From the PEM of a P-256 key. Raises ValueError."""
    key = load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey):
        msg = "not a P-256 key"
        raise TypeError(msg)
    return Signer(key)


def calls(signer: Signer) -> HTTPRouteHandler:
    @post("/_sandbox/calls")
    async def ring(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What the called party's provider gets with the call."""
        try:
            new = msgspec.json.decode(await request.body(), type=NewCall)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return json_response({"status": 400, "detail": "Say who calls whom."}, status=400)
        identity = signer.identity(new.caller, new.called, new.attestation, datetime.now(UTC))
        return json_response({"identity": identity}, status=201)

    return ring


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _segment(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
