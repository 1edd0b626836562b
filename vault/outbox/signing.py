"""Signatures of the Standard Webhooks specification 1.0.0, both of its schemes, under keys of each endpoint.

    signed      <webhook-id> "." <webhook-timestamp> "." <body>
    v1          HMAC-SHA256                the receiver holds the same secret, `whsec_…`
    v1a         Ed25519 (RFC 8032)         the receiver holds a public key, `whpk_…`, and can forge nothing

Every delivery carries both, so that a receiver chooses by what it trusts; libraries skip the schemes they do not know.
While a key retires a delivery carries the signatures of both keys.

No key is stored. Each is derived: HMAC-SHA256(outbox key, label, scheme, tenant, endpoint, version, salt), the salt
being 32 random bytes of the key's row. Who has the database signs nothing without the outbox key.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.chassis.sealing import joined
from infra.chassis.secret import Secret
from vault.store import RowMissing

_LABEL: Final = b"undercroft webhook key 1"
_SECRET, _PUBLIC = "whsec_", "whpk_"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One version of an endpoint's keys: what they are derived from. Signs until `ends_at`."""

    tenant_id: str
    endpoint_id: str
    version: int
    salt: bytes
    made_at: datetime
    ends_at: datetime | None


class EndpointKeys:
    """Derives the keys of endpoints."""

    def __init__(self, outbox_key: Secret[bytes]) -> None:
        self._key = outbox_key

    def headers(self, rows: Sequence[KeyRow], event_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """The three headers of one delivery; with several keys, the signatures of each, in the order given.

        Raises RowMissing without a key: nothing leaves here unsigned.
        """
        if not rows:
            raise RowMissing("endpoint key")
        seconds = str(int(at.timestamp()))
        signed = f"{event_id}.{seconds}.".encode() + body
        signatures = [one for row in rows for one in self._signatures(row, signed)]
        return {"webhook-id": event_id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}

    def shared_secret(self, row: KeyRow) -> str:
        """`whsec_…`: for the eyes of the tenant once, when it is made."""
        return _SECRET + _base64(self._derived(row, b"v1"))

    def public_key(self, row: KeyRow) -> str:
        """`whpk_…`, no secret."""
        public = self._ed25519(row).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _PUBLIC + _base64(public)

    def _signatures(self, row: KeyRow, signed: bytes) -> tuple[str, str]:
        mac = hmac.digest(self._derived(row, b"v1"), signed, "sha256")
        return f"v1,{_base64(mac)}", f"v1a,{_base64(self._ed25519(row).sign(signed))}"

    def _ed25519(self, row: KeyRow) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._derived(row, b"v1a"))

    def _derived(self, row: KeyRow, scheme: bytes) -> bytes:
        place = (scheme, row.tenant_id.encode(), row.endpoint_id.encode(), str(row.version).encode(), bytes(row.salt))
        return hmac.new(self._key.reveal(), joined(_LABEL, *place), hashlib.sha256).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
