"""A card whose number is open just now gets the newest fingerprint, if it has an older one."""

from infra.chassis import logs
from infra.chassis.secret import Secret
from vault.cleartext.pan import CardNumber
from vault.envelope import seal, version_of
from vault.fingerprint import Fingerprints, hidden
from vault.keys.ring import KeyRing
from vault.places import RECORD_KEY_VERSION, place
from vault.store import Store
from vault.tables import CardRow

log = logs.get_logger()


class FingerprintRenewal:
    def __init__(self, store: Store, ring: KeyRing, fingerprints: Fingerprints) -> None:
        self._store = store
        self._ring = ring
        self._fingerprints = fingerprints

    async def keep_up(self, card: CardRow, record_key: Secret[bytes], number: CardNumber) -> None:
        """Whatever goes wrong here costs nobody a charge: the next one tries again."""
        if card.fingerprint_version >= self._fingerprints.newest:
            return
        try:
            renewed = await self._renew(card, record_key, number)
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("fingerprint_not_renewed", token_id=card.token_id, error=type(error).__name__)
            return
        log.info("fingerprint_renewed", token_id=card.token_id, renewed=renewed)

    async def _renew(self, card: CardRow, record_key: Secret[bytes], number: CardNumber) -> bool:
        """False when the card was moved to another key, or renewed, since it was read: it is left as it is."""
        tenant_id, version = card.tenant_id, self._fingerprints.newest
        fingerprint = self._fingerprints.of(tenant_id, number.reveal())
        tenant_key = await self._ring.opening_key(tenant_id, version_of(card.wrapped_key))
        at = place(tenant_id, card.token_id, "fingerprint")
        row = {
            "token_id": card.token_id,
            "fingerprint": hidden(tenant_key, fingerprint),
            "version": version,
            "sealed": seal(record_key, RECORD_KEY_VERSION, fingerprint, at),
            "wrapped_key": card.wrapped_key,
        }
        sql = """UPDATE cards SET fingerprint = :fingerprint, fingerprint_version = :version,
                sealed_fingerprint = :sealed
            WHERE tenant_id = :tenant_id AND token_id = :token_id AND wrapped_key = :wrapped_key
                AND fingerprint_version < :version AND shredded_at IS NULL"""
        async with self._store.transaction(tenant_id) as tx:
            return bool((await tx.run(sql, row)).rowcount)
