"""The keys that files of cards are sealed to: made for one tenant, good for days, sealed under the tenant's key.

What is given out (`Recipient`) is what the private half is bound to, so a date that is moved in the database gives a
key that does not open. A tenant that is shredded loses these keys with its others. When its key is replaced they move
to the next one, as cards do (`move`, which vault/keys/resealing.py calls).
"""

import secrets
from datetime import timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.canonical import canonical_json
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from vault.batch import rows
from vault.batch.rows import ImportKeyRow
from vault.cleartext.batch.sealed_file import Head, Recipient, SealedFileRefused, is_good, recipient_of
from vault.cleartext.hpke import SEED_BYTES, PrivateKey, SealSuite, key_pair
from vault.envelope import Context, SealBroken, open_sealed, seal, version_of
from vault.keys.acts import note
from vault.keys.ring import KeyRing
from vault.keys.states import KeyDestroyed
from vault.store import Store

FIELD: Final = "import_key"
SCHEMA: Final = "import-key-1"
DAYS_MAX: Final = 30
"""A private key that lies about is a danger for as long as it lies there."""

log = logs.get_logger()


class ImportKeys:
    def __init__(self, store: Store, ring: KeyRing, clock: Clock) -> None:
        self._store = store
        self._ring = ring
        self._clock = clock

    async def make(self, tenant_id: str, suite: SealSuite, days: int, actor: str) -> Recipient:
        """What is handed to whoever seals a file for this tenant. Those of the tenant that ended are deleted."""
        now, key_id, seed = self._clock.now(), new_id("imk"), secrets.token_bytes(SEED_BYTES)
        _, public = key_pair(suite, seed)
        good_until = (now + timedelta(days=days)).replace(microsecond=0)
        made = Recipient(tenant_id=tenant_id, key_id=key_id, suite=suite, public_key=public, good_until=good_until)
        document = canonical_json(made).decode()
        version, tenant_key = await self._ring.sealing_key(tenant_id)
        sealed = seal(tenant_key, version, seed, _place(tenant_id, key_id, document))
        async with self._store.transaction(tenant_id) as tx:
            await rows.forget_import_keys(tx, now)
            await rows.add_import_key(tx, ImportKeyRow(key_id, document, sealed), good_until)
            await note(tx, now, actor=actor, act="import key made", what=key_id, outcome=f"good for {days} days")
        return made

    async def open(self, head: Head, tenant_id: str) -> PrivateKey:
        """Raises SealedFileRefused, and what the key service raises."""
        if head.notice.tenant_id != tenant_id:
            raise SealedFileRefused("the file is another tenant's")
        async with self._store.transaction(tenant_id) as tx:
            found = await rows.import_key(tx, head.notice.key_id)
        if found is None:
            raise SealedFileRefused("the file was sealed to a key that is not here, or not any more")
        made = recipient_of(found.document.encode())
        if made.suite is not head.suite:
            raise SealedFileRefused("the file says it was sealed to a key of another kind")
        if not is_good(made, self._clock.now()):
            raise SealedFileRefused("the key the file was sealed to has ended: have it sealed again, to a new one")
        try:
            tenant_key = await self._ring.opening_key(tenant_id, version_of(found.sealed_seed))
            seed = open_sealed(tenant_key, found.sealed_seed, _place(tenant_id, made.key_id, found.document))
        except (KeyDestroyed, SealBroken):
            raise SealedFileRefused("the key the file was sealed to does not open any more") from None
        return key_pair(made.suite, seed)[0]


async def move(store: Store, ring: KeyRing, tenant_id: str, version: int) -> None:
    """What is sealed under this retired version goes to the active one. One that does not open is left, and is lost.

    Raises KeyUnavailable, KeyDestroyed, and what the key service raises.
    """
    async with store.transaction(tenant_id) as tx:
        found = await rows.import_keys_under(tx, version)
    for row in found:
        at = _place(tenant_id, row.key_id, row.document)
        former = await ring.opening_key(tenant_id, version)
        active, key = await ring.sealing_keys(tenant_id, 1)
        try:
            sealed = seal(key, active, open_sealed(former, row.sealed_seed, at), at)
        except SealBroken:
            log.warning("import_key_does_not_open", tenant_id=tenant_id, key_id=row.key_id)
            continue
        async with store.transaction(tenant_id) as tx:
            await rows.move_import_key(tx, row, sealed)


def _place(tenant_id: str, key_id: str, document: str) -> Context:
    return Context(tenant_id=tenant_id, token_id=key_id, field=FIELD, schema=SCHEMA, terms=document)
