"""The keyed fingerprint of a card number: the same card of one tenant is recognised, nothing else is learned.

HMAC-SHA-256, because an unkeyed hash of a card number falls in minutes: there are few of them (PCI DSS 3.5.1.1). The
key is the fingerprint's own, and each tenant has its own derived from it, so that two tenants cannot compare. The key
has versions, in a ring file as roots have (infra/chassis/keys/ringfile.py): the newest is used, the older ones are
asked too, until no card is under them any more. A card gets the newest fingerprint when its number is opened anyway.

What stands in the database is that fingerprint hidden once more, under the tenant's key. Whoever has the fingerprint
key and the last four digits tries out what is left of a number in hours; without this a shredded card would come back
from an old dump in that way. When the tenant's key changes, the fingerprint (sealed beside the card) is hidden anew,
and no number is opened for it.
"""

import hashlib
import hmac
from collections.abc import Iterable

from infra.chassis.keys.ringfile import RingUnusable, decode
from infra.chassis.secret import Secret


class FingerprintKeyUnusable(ValueError):
    """The key file holds neither 32 bytes nor a ring of versions."""


class Fingerprints:
    """By the keys of a ring file's content; 32 bytes alone are version 1."""

    def __init__(self, content: Secret[bytes]) -> None:
        """Raises FingerprintKeyUnusable."""
        try:
            ring = decode(content.reveal())
        except RingUnusable:
            raise FingerprintKeyUnusable("the fingerprint key file must hold 32 bytes or a ring of versions") from None
        self._keys = {one.version: one.key for one in ring.kept}
        self.newest = ring.newest.version

    def keys(self) -> list[Secret[bytes]]:
        """Every version, the newest last."""
        return [self._keys[version] for version in sorted(self._keys)]

    def of(self, tenant_id: str, digits: memoryview, version: int | None = None) -> bytes:
        """32 bytes for the digits of one card number, by the newest version of the key or by the one named."""
        version = version or self.newest
        label = f"undercroft fingerprint {version}\n{tenant_id}".encode()
        tenant_key = hmac.digest(self._keys[version].reveal(), label, "sha256")
        return hmac.new(tenant_key, digits, hashlib.sha256).digest()

    def by_every_version(self, tenant_id: str, digits: memoryview) -> list[bytes]:
        """What the same card may have been stored with, the newest last."""
        return [self.of(tenant_id, digits, version) for version in sorted(self._keys)]


def hidden(tenant_key: Secret[bytes], fingerprint: bytes) -> bytes:
    """32 bytes, the same for the same card under the same version of the tenant's key."""
    hiding_key = hmac.digest(tenant_key.reveal(), b"undercroft fingerprint hidden 1", "sha256")
    return hmac.digest(hiding_key, fingerprint, "sha256")


def hidden_under_each(tenant_keys: Iterable[Secret[bytes]], fingerprints: Iterable[bytes]) -> list[bytes]:
    """As `hidden`, under every key a card may be found under while cards move from one to the next; key by key."""
    plain = list(fingerprints)
    return [hidden(tenant_key, fingerprint) for tenant_key in tenant_keys for fingerprint in plain]
