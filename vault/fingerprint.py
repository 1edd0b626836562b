"""The keyed fingerprint of a card number: the same card of one tenant is recognised, nothing else is learned.

HMAC-SHA-256, because an unkeyed hash of a card number falls in minutes: there are few of them (PCI DSS 3.5.1.1). The
key is the fingerprint's own, and each tenant has its own derived from it, so that two tenants cannot compare.

What stands in the database is that fingerprint hidden once more, under the tenant's key. Whoever has the fingerprint
key and the last four digits tries out what is left of a number in hours; without this a shredded card would come back
from an old dump in that way. When the tenant's key changes, the fingerprint (sealed beside the card) is hidden anew,
and no number is opened for it.
"""

import hashlib
import hmac
from typing import Final

from infra.chassis.secret import Secret

VERSION: Final = 1
"""Stored beside the fingerprint; a new key or a new way of computing it is a new version."""
KEY_BYTES: Final = 32


class FingerprintKeyUnusable(ValueError):
    """The key file does not hold 32 bytes."""


class Fingerprints:
    def __init__(self, key: Secret[bytes]) -> None:
        if len(key.reveal()) != KEY_BYTES:
            raise FingerprintKeyUnusable("the fingerprint key file must hold 32 bytes")
        self._key = key

    def of(self, tenant_id: str, digits: memoryview) -> bytes:
        """32 bytes for the digits of one card number."""
        label = f"undercroft fingerprint {VERSION}\n{tenant_id}".encode()
        tenant_key = hmac.digest(self._key.reveal(), label, "sha256")
        return hmac.new(tenant_key, digits, hashlib.sha256).digest()


def hidden(tenant_key: Secret[bytes], fingerprint: bytes) -> bytes:
    """32 bytes, the same for the same card under the same version of the tenant's key."""
    hiding_key = hmac.digest(tenant_key.reveal(), b"undercroft fingerprint hidden 1", "sha256")
    return hmac.digest(hiding_key, fingerprint, "sha256")
