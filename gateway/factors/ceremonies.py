"""Passkeys by the library `webauthn` (Web Authentication level 3): what browsers are asked, and what they answer. Pure.

A passkey counts only with user verification: the device, and the PIN, finger or face that opened it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from infra.chassis import strict_json

TIMEOUT_MILLISECONDS: Final = 300_000
"""Five minutes, the shortest that level 3 section 15.1 recommends where a person must be verified."""
CREDENTIAL_LENGTH_MAX: Final = 16_384
"""Of the JSON a browser posts; an attestation of `none` is about 1,500 characters."""
CREDENTIAL_ID_BYTES_MAX: Final = 1_023
"""Level 3 section 4, `credential ID`."""
ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]


class CeremonyRefused(Exception):
    """What the browser answered does not hold. Why is for the log only."""


@dataclass(frozen=True, slots=True)
class Host:
    """Our name towards browsers. A passkey made for it works nowhere else, which is what makes it hard to phish."""

    public_url: str

    @property
    def rp_id(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    @property
    def has_name(self) -> bool:
        """Web Authentication level 3, section 5.1.2: a relying party is a domain, never an address."""
        try:
            ip_address(self.rp_id)
        except ValueError:
            return True
        return False

    @property
    def origin(self) -> str:
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    credential_id: bytes
    public_key: bytes
    sign_count: int
    multi_device: bool
    backed_up: bool
    aaguid: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Which passkey a browser says it used, before anything is believed."""

    credential_id: bytes
    handle: bytes | None
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Used:
    sign_count: int
    backed_up: bool


def registration_options(
    host: Host, *, challenge: bytes, handle: bytes, brand_name: str, shown_name: str, known: Sequence[bytes]
) -> str:
    """JSON for `navigator.credentials.create`. `known` passkeys cannot be registered twice."""
    options = webauthn.generate_registration_options(
        rp_id=host.rp_id,
        rp_name=brand_name,
        user_id=handle,
        user_name=shown_name,
        user_display_name=shown_name,
        challenge=challenge,
        timeout=TIMEOUT_MILLISECONDS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        supported_pub_key_algs=ALGORITHMS,
    )
    return options_to_json(options)


def assertion_options(host: Host, challenge: bytes) -> str:
    """JSON for `navigator.credentials.get`. It names no passkey: a link must not tell whose are known."""
    options = webauthn.generate_authentication_options(
        rp_id=host.rp_id,
        challenge=challenge,
        timeout=TIMEOUT_MILLISECONDS,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def registered(host: Host, posted: str, challenge: bytes) -> Registered:
    """Raises CeremonyRefused."""
    document = _document(posted)
    _refuse_frames(document)
    try:
        verified = webauthn.verify_registration_response(
            credential=document,
            expected_challenge=challenge,
            expected_rp_id=host.rp_id,
            expected_origin=host.origin,
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
    except Exception as error:  # noqa: BLE001 - whatever its parsers trip over in a stranger's bytes is a refusal
        raise CeremonyRefused(type(error).__name__) from None
    if len(verified.credential_id) > CREDENTIAL_ID_BYTES_MAX:
        raise CeremonyRefused("a credential id that is too long")
    return Registered(
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        multi_device=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
        aaguid=verified.aaguid,
    )


def answered(posted: str) -> Answered:
    """Raises CeremonyRefused."""
    document = _document(posted)
    response = document.get("response")
    handle = response.get("userHandle") if isinstance(response, dict) else None
    try:
        credential_id = base64url_to_bytes(str(document["rawId"]))
        return Answered(credential_id, base64url_to_bytes(handle) if isinstance(handle, str) else None, document)
    except (KeyError, ValueError):
        raise CeremonyRefused("no credential id") from None


def used(host: Host, answer: Answered, challenge: bytes, public_key: bytes) -> Used:
    """Raises CeremonyRefused. The counter is the caller's to compare: one that runs backwards has consequences."""
    _refuse_frames(answer.document)
    try:
        verified = webauthn.verify_authentication_response(
            credential=answer.document,
            expected_challenge=challenge,
            expected_rp_id=host.rp_id,
            expected_origin=host.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:  # noqa: BLE001 - whatever its parsers trip over in a stranger's bytes is a refusal
        raise CeremonyRefused(type(error).__name__) from None
    return Used(verified.new_sign_count, verified.credential_backed_up)


def handle_of(tenant_id: str, subject_id: str) -> bytes:
    """`user.id`: the same for all passkeys of a subject, so a device replaces, and does not collect."""
    return hashlib.sha256(f"undercroft passkey\x00{tenant_id}\x00{subject_id}".encode()).digest()


def _document(posted: str) -> dict[str, Any]:
    if len(posted) > CREDENTIAL_LENGTH_MAX:
        raise CeremonyRefused("too long")
    try:
        document = strict_json.decode(posted.encode(), floats=True)
    except (strict_json.NotStrictJson, UnicodeEncodeError):
        raise CeremonyRefused("not JSON with one meaning") from None
    if not isinstance(document, dict):
        raise CeremonyRefused("not an object")
    return document


def _refuse_frames(document: dict[str, Any]) -> None:
    """Level 3 section 13.4.4: our pages are in nobody's frame, so an answer from one is not ours."""
    try:
        client_data = strict_json.decode(base64url_to_bytes(document["response"]["clientDataJSON"]), floats=True)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CeremonyRefused("no client data with one meaning") from None
    if not isinstance(client_data, dict) or client_data.get("crossOrigin", False) is not False:
        raise CeremonyRefused("another site's frame")
