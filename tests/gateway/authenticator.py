"""A passkey in software (Web Authentication level 3), honest unless a test asks for something else."""

import base64
import hashlib
import html
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key

PRESENT, VERIFIED, MAY_BE_COPIED, COPIED, NEW_KEY = 0x01, 0x04, 0x08, 0x10, 0x40


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def options_of(page: str) -> dict[str, Any]:
    """What a page of ours asks the browser."""
    found = re.search(r'data-options="([^"]*)"', page)
    assert found is not None, page
    options: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return options


@dataclass(slots=True)
class Authenticator:
    origin: str
    rp_id: str
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: bytes = b""
    counter: int = 0

    def make(self, options: dict[str, Any], **changes: Any) -> str:
        """The answer to `create`."""
        self.handle = decoded(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        flags = changes.get("flags", PRESENT | VERIFIED | MAY_BE_COPIED | COPIED) | NEW_KEY
        length = len(self.credential_id).to_bytes(2)
        attested = bytes(16) + length + self.credential_id + cbor2.dumps(changes.get("cose", cose))
        data = self._data(flags, changes) + attested
        response = {
            "clientDataJSON": encoded(self._client_data("webauthn.create", options, changes)),
            "attestationObject": encoded(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._credential(response)

    def use(self, options: dict[str, Any], **changes: Any) -> str:
        """The answer to `get`; `counter` runs on by itself where it runs at all."""
        if self.counter:
            self.counter += 1
        data = self._data(changes.get("flags", PRESENT | VERIFIED | MAY_BE_COPIED | COPIED), changes)
        client_data = self._client_data(changes.get("type", "webauthn.get"), options, changes)
        signed = data + hashlib.sha256(client_data).digest()
        key: EllipticCurvePrivateKey = changes.get("key", self.key)
        response = {
            "clientDataJSON": encoded(client_data),
            "authenticatorData": encoded(data),
            "signature": encoded(key.sign(signed, ECDSA(hashes.SHA256()))),
            "userHandle": encoded(changes.get("handle", self.handle)),
        }
        return self._credential(response)

    def _data(self, flags: int, changes: dict[str, Any]) -> bytes:
        rp_id = changes.get("rp_id", self.rp_id)
        counter = changes.get("counter", self.counter)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + int(counter).to_bytes(4)

    def _client_data(self, kind: str, options: dict[str, Any], changes: dict[str, Any]) -> bytes:
        document = {
            "type": kind,
            "challenge": changes.get("challenge", options["challenge"]),
            "origin": changes.get("origin", self.origin),
            "crossOrigin": changes.get("cross_origin", False),
        }
        return json.dumps(document).encode()

    def _credential(self, response: dict[str, str]) -> str:
        name = encoded(self.credential_id)
        return json.dumps(
            {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}
        )
