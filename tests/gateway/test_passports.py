"""What a carrier signed: the examples of the standards, and every way to sign something else."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.asn1 import IA5String, Variant
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.passports import FRESH, LENGTH_MAX, SKEW, Authority, Carriers, NumberRange, PassportRefused, check
from infra.sandbox.carrier import Issuer, Signer, certificate, new_key, new_root

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
URL = "https://cert.example.org/passport.cer"
CLAIMS = {
    "attest": "A",
    "dest": {"tn": ["12125551213"]},
    "iat": int(NOW.timestamp()),
    "orig": {"tn": "12155551212"},
    "origid": "123e4567-e89b-12d3-a456-426655440000",
}
"""The example of RFC 8588 section 4, at our time."""
SIGNER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SHAKEN 709J")])
BETWEEN = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "STI issuing authority")])
KEY, ROOT_KEY, OTHER_KEY = new_key(), new_key(), new_key()
ROOT, ROOT_CERTIFICATE = new_root(NOW, ROOT_KEY)
PASSPORT = Signer(KEY, URL)


def trusting(folder: Path, *chain: x509.Certificate, root: x509.Certificate = ROOT_CERTIFICATE) -> Carriers:
    (folder / "roots.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "own.pem").write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in chain))
    (folder / "certificates.json").write_text(json.dumps({URL: "own.pem"}))
    return Carriers(folder)


def leaf(issuer: Issuer = ROOT, **changes: Any) -> x509.Certificate:
    return certificate(issuer, SIGNER, KEY, NOW, **changes)


@pytest.fixture
def carriers(tmp_path: Path) -> Carriers:
    return trusting(tmp_path, leaf())


def why(identity: str, carriers: Carriers, now: datetime = NOW) -> str:
    with pytest.raises(PassportRefused) as refused:
        check(identity, carriers, now)
    return refused.value.why


def test_a_call_signed_as_in_rfc_8588_is_read(carriers: Carriers):
    read = check(PASSPORT.passport(CLAIMS), carriers, NOW)

    assert (read.caller_number, read.called_numbers, read.attestation) == (
        "+12155551212",
        frozenset({"+12125551213"}),
        "A",
    )
    assert read.issued_at == NOW


def test_the_sandboxs_carrier_writes_the_bytes_that_rfc_8225_appendix_a_signs():
    """Header and claims of the example; the signature printed there does not fit the key printed beside it."""
    published = (
        "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9jZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9",
        (
            "eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI6MTQ3MTM3NTQxOCwib3JpZyI6eyJ0biI6IjEyMTU1"
            "NTUxMjEyIn19"
        ),
    )
    claims = {"orig": {"tn": "12155551212"}, "iat": 1471375418, "dest": {"uri": ["sip:alice@example.com"]}}

    header, body, _ = PASSPORT.passport(claims).split(".")

    shaken = base64.urlsafe_b64decode(header + "==").replace(b'"ppt":"shaken",', b"")
    assert (base64.urlsafe_b64encode(shaken).rstrip(b"=").decode(), body) == published


@pytest.mark.parametrize(
    "ending", ["", f";info=<{URL}>;alg=ES256;ppt=shaken", f' ; info=<{URL}> ;alg=ES256;ppt="shaken"']
)
def test_the_header_of_a_call_is_read_with_and_without_its_parameters(carriers: Carriers, ending: str):
    assert check(PASSPORT.passport(CLAIMS) + ending, carriers, NOW).attestation == "A"


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (";info=<https://evil.example/own.pem>;alg=ES256", "header_and_parameters_differ"),
        (f";info=<{URL}>;ppt=div", "header_and_parameters_differ"),
        (";alg=none", "header_and_parameters_differ"),
        (f";info=<{URL}>;info=<{URL}>", "parameters_not_readable"),
        (";canon=abc", "parameters_not_readable"),
        (";;", "parameters_not_readable"),
        (";info=<x\ny>", "parameters_not_readable"),
        (" " * LENGTH_MAX + "x", "too_long"),
    ],
)
def test_parameters_that_say_something_else_are_refused(carriers: Carriers, ending: str, reason: str):
    assert why(PASSPORT.passport(CLAIMS) + ending, carriers) == reason


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"ppt": "div"},
        {"typ": "JWT"},
        {"crit": ["ppt"]},
        {"jwk": {"kty": "EC"}},
        {"x5u": ["https://cert.example.org/passport.cer"]},
    ],
)
def test_another_header_is_not_a_shaken_passport(carriers: Carriers, header: Mapping[str, Any]):
    assert why(PASSPORT.passport(CLAIMS, **header), carriers) == "header_not_shaken"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attest": "D"}, "claims_not_shaken"),
        ({"attest": "a"}, "claims_not_shaken"),
        ({"attest": ["A"]}, "claims_not_shaken"),
        ({"orig": {"uri": "sip:ada@example.com"}}, "claims_not_shaken"),
        ({"orig": {"tn": "12155551212", "uri": "sip:ada@example.com"}}, "claims_not_shaken"),
        ({"orig": {"tn": "+12155551212"}}, "claims_not_shaken"),
        ({"orig": {"tn": "1215555121²"}}, "claims_not_shaken"),
        ({"orig": {"tn": "12155551212\n"}}, "claims_not_shaken"),
        ({"orig": {"tn": 12155551212}}, "claims_not_shaken"),
        ({"dest": {"uri": ["sip:alice@example.com"]}}, "claims_not_shaken"),
        ({"dest": {"tn": []}}, "claims_not_shaken"),
        ({"dest": {"tn": "12125551213"}}, "claims_not_shaken"),
        ({"dest": {"tn": [None]}}, "claims_not_shaken"),
        ({"origid": "not a uuid"}, "claims_not_shaken"),
        ({"origid": None}, "claims_not_shaken"),
        ({"iat": True}, "claims_not_shaken"),
        ({"iat": "1763640000"}, "claims_not_shaken"),
        ({"iat": 1763640000.5}, "not_a_passport"),
    ],
)
def test_claims_that_are_no_call_are_refused(carriers: Carriers, changes: dict[str, Any], reason: str):
    assert why(PASSPORT.passport({**CLAIMS, **changes}), carriers) == reason


@pytest.mark.parametrize("missing", sorted(CLAIMS))
def test_each_claim_is_needed(carriers: Carriers, missing: str):
    left = {name: value for name, value in CLAIMS.items() if name != missing}

    assert why(PASSPORT.passport(left), carriers) == "claims_not_shaken"


def test_a_passport_is_fresh_for_a_minute(carriers: Carriers):
    signed = PASSPORT.passport(CLAIMS)

    for at in (NOW + FRESH, NOW - SKEW):
        assert check(signed, carriers, at).attestation == "A"
    for at in (NOW + FRESH + timedelta(seconds=1), NOW - SKEW - timedelta(seconds=1)):
        assert why(signed, carriers, at) == "not_fresh"


def test_every_changed_character_of_the_signed_part_is_noticed(carriers: Carriers):
    signed = PASSPORT.passport(CLAIMS)
    end = signed.rindex(".")

    for place in range(0, end, 7):
        changed = signed[:place] + ("A" if signed[place] != "A" else "B") + signed[place + 1 :]
        assert why(changed, carriers) in {"not_a_passport", "header_not_shaken", "signer_unknown", "signature_wrong"}


@pytest.mark.control("UC-8.8")
def test_a_rewritten_signature_is_the_same_passport(carriers: Carriers):
    """n - s is as good a signature as s; what was signed names the passport."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signed = PASSPORT.passport(CLAIMS)
    head, _, signature = signed.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    flipped = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)

    rewritten = f"{head}.{base64.urlsafe_b64encode(flipped).rstrip(b'=').decode()}"

    assert rewritten != signed
    assert check(rewritten, carriers, NOW).sha256 == check(signed, carriers, NOW).sha256


def test_a_claim_that_stands_twice_is_refused(carriers: Carriers):
    doubled = json.dumps(CLAIMS, separators=(",", ":"))[:-1] + ',"attest":"A"}'
    head = PASSPORT.passport(CLAIMS).split(".")[0]
    body = base64.urlsafe_b64encode(doubled.encode()).rstrip(b"=").decode()

    assert why(f"{head}.{body}.{'A' * 86}", carriers) == "not_a_passport"


def test_the_key_that_signs_is_the_certificates(carriers: Carriers):
    assert why(Signer(OTHER_KEY, URL).passport(CLAIMS), carriers) == "signature_wrong"


@pytest.mark.control("UC-8.8")
def test_an_unknown_signer_is_refused_and_nothing_is_fetched(carriers: Carriers, monkeypatch: pytest.MonkeyPatch):
    def dial(*_arguments: object, **_named: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", dial)
    monkeypatch.setattr("socket.getaddrinfo", dial)

    for url in ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", f"{URL}?", "own.pem"):
        assert why(Signer(KEY, url).passport(CLAIMS), carriers) == "signer_unknown"


@pytest.mark.parametrize(
    "chain",
    [
        [leaf(lasts=timedelta(seconds=-1))],
        [certificate(Issuer(ROOT.name, OTHER_KEY), SIGNER, KEY, NOW)],
        [certificate(Issuer(SIGNER, KEY), SIGNER, KEY, NOW)],
        [certificate(ROOT, SIGNER, KEY, NOW, authority=True)],
        [certificate(Issuer(BETWEEN, OTHER_KEY), SIGNER, KEY, NOW)],
        [
            certificate(Issuer(BETWEEN, OTHER_KEY), SIGNER, KEY, NOW),
            certificate(ROOT, BETWEEN, OTHER_KEY, NOW),  # a signer of calls, who is no authority
        ],
    ],
    ids=["expired", "not the root's", "its own", "an authority", "link missing", "below a mere signer"],
)
def test_a_certificate_that_no_root_vouches_for_signs_nothing(tmp_path: Path, chain: list[x509.Certificate]):
    assert why(PASSPORT.passport(CLAIMS), trusting(tmp_path, *chain)) == "certificate_not_trusted"


def test_a_certificate_below_an_issuing_authority_is_trusted(tmp_path: Path):
    between = certificate(ROOT, BETWEEN, OTHER_KEY, NOW, authority=True)
    carriers = trusting(tmp_path, certificate(Issuer(BETWEEN, OTHER_KEY), SIGNER, KEY, NOW), between)

    assert check(PASSPORT.passport(CLAIMS), carriers, NOW).attestation == "A"


def test_certificates_are_read_anew_when_the_index_has_changed(tmp_path: Path):
    carriers = trusting(tmp_path, leaf())
    check(PASSPORT.passport(CLAIMS), carriers, NOW)
    (tmp_path / "certificates.json").write_text("{}")

    assert why(PASSPORT.passport(CLAIMS), carriers) == "signer_unknown"


def test_a_folder_without_certificates_trusts_nobody(tmp_path: Path):
    assert why(PASSPORT.passport(CLAIMS), Carriers(tmp_path)) == "signer_unknown"


@pytest.mark.parametrize("name", ["../own.pem", "/etc/passwd", "gone.pem"])
def test_the_index_names_files_of_its_own_folder_only(tmp_path: Path, name: str):
    carriers = trusting(tmp_path, leaf())
    (tmp_path / "certificates.json").write_text(json.dumps({URL: name}))

    assert why(PASSPORT.passport(CLAIMS), carriers) in {"signer_unknown", "certificates_unreadable"}


def numbers(*entries: Variant[Any, Any]) -> bytes:
    """The DER of a TNAuthList."""
    inside = asn1.encode_der(Authority(entries=list(entries)))
    return inside[2:]


@pytest.mark.control("UC-8.8")
@pytest.mark.parametrize(
    ("listed", "covered"),
    [
        (numbers(Variant(IA5String("709J"), "spc")), True),
        (numbers(Variant(IA5String("12155551212"), "one")), True),
        (numbers(Variant(IA5String("12155551213"), "one")), False),
        (numbers(Variant(NumberRange(start=IA5String("12155551200"), count=13), "range")), True),
        (numbers(Variant(NumberRange(start=IA5String("12155551200"), count=12), "range")), False),
        (numbers(Variant(NumberRange(start=IA5String("1215555"), count=10**10), "range")), False),
        (b"\x30\x00", False),
        (b"\x05\x00", False),
        (b"junk", False),
        (None, False),
    ],
    ids=["provider", "this one", "another", "in range", "past range", "shorter", "empty", "null", "junk", "none"],
)
def test_a_signer_speaks_for_the_numbers_its_certificate_lists(tmp_path: Path, listed: bytes | None, covered: bool):
    carriers = trusting(tmp_path, leaf(numbers=listed))

    if covered:
        assert check(PASSPORT.passport(CLAIMS), carriers, NOW).attestation == "A"
    else:
        assert why(PASSPORT.passport(CLAIMS), carriers) == "number_not_the_signers"


def test_another_curve_is_not_the_standards(tmp_path: Path):
    key = generate_private_key(SECP384R1())
    carriers = trusting(tmp_path, certificate(ROOT, SIGNER, key, NOW))

    assert why(PASSPORT.passport(CLAIMS), carriers) == "certificate_not_trusted"


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", ";", "e30.e30.", "e30.e30.AA", "\u0000", "é.é.é"])
def test_what_is_no_passport_at_all_is_refused(carriers: Carriers, text: str):
    assert why(text, carriers) in {"not_a_passport", "header_not_shaken", "parameters_not_readable"}
