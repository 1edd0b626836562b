"""The append-only record: what was decided and what came of it, written in the deciding transaction itself.

Appending is one INSERT and takes no lock that another append would wait for. The sealer gives entries their places in
the tenant's Merkle tree afterwards; until then the signed receipt is the promise that it will.

What this proves, and to whom: whoever holds the database but not the signing key cannot edit, remove, reorder or cut
off a sealed entry unseen, as long as the newest checkpoint is there or was kept elsewhere. Whoever holds both can
rewrite everything back to the last checkpoint that was kept elsewhere. An entry that is not sealed yet (the newest
second) can vanish; its receipt still shows that it was promised.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.bearers import public_jwk, thumbprint
from gateway.contract import Receipt
from gateway.errors import RecordUnavailable
from gateway.record.merkle import leaf_hash
from gateway.record.notes import Checkpoint, NoteRefused, checkpoint_of, open_note, sign_note
from gateway.record.tiles import ENTRY_BYTES_MAX
from infra.chassis import logs
from infra.chassis.canonical import canonical_json
from infra.chassis.clock import Clock

VERSION = 1
log = logs.get_logger()


class EntryTooLarge(Exception):
    """Tiles put an entry's length before it in 16 bits. Nothing was recorded, so nothing is decided."""


class Record:
    """Appends and signs. One for a process; `touched` tells its sealer where to look first."""

    def __init__(self, signing_key: Ed25519PrivateKey, clock: Clock) -> None:
        self._key = signing_key
        self._clock = clock
        self.key_id = thumbprint(public_jwk(signing_key))
        self.touched: dict[str, datetime] = {}
        """Tenants that were appended to here, and when last. A hint: such an append may yet be rolled back."""
        self.unsettled: dict[str, int] = {}
        """Of those, those with entries that no sealer here may have seen yet: the newest transaction that wrote any."""

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def now(self) -> datetime:
        return self._clock.now().astimezone(UTC)

    async def append(
        self, tx: AsyncConnection, *, tenant_id: str, decision_id: str, body: Mapping[str, Any]
    ) -> Receipt:
        """Write one entry in the caller's transaction: if that is rolled back, so is this, and the receipt is void.

        `decision_id` names the entry; the same one twice is an IntegrityError. Raises `rfc8785.CanonicalizationError`
        for a body that JSON cannot say exactly, EntryTooLarge, and RecordUnavailable when it could not be written.
        """
        now = self.now()
        canonical = entry_bytes(tenant_id=tenant_id, decision_id=decision_id, recorded_at=now, body=body)
        if len(canonical) > ENTRY_BYTES_MAX:
            raise EntryTooLarge
        leaf = leaf_hash(canonical)
        key = {
            "tenant_id": tenant_id,
            "decision_id": decision_id,
            "canonical": canonical,
            "leaf_sha256": leaf,
            "recorded_at": now,
        }
        try:
            transaction_id = (await tx.execute(_INSERT_ENTRY, key)).scalar_one()
        except IntegrityError:
            raise
        except DBAPIError as error:
            log.critical("record_unavailable", error=type(error).__name__)
            raise RecordUnavailable from error
        self.touched[tenant_id] = now
        self.unsettled[tenant_id] = max(transaction_id, self.unsettled.get(tenant_id, 0))
        return self._receipt(tenant_id=tenant_id, decision_id=decision_id, leaf=leaf, now=now)

    def settle(self, tenant_id: str, below: int) -> None:
        """A sealer looked when every transaction below that one had ended: nothing of theirs is left."""
        if self.unsettled.get(tenant_id, below) < below:
            del self.unsettled[tenant_id]

    def forget(self, before: datetime) -> None:
        """Tenants last appended to before that moment; whoever looks at all of them in turn finds the rest."""
        for tenant_id in [tenant_id for tenant_id, last in self.touched.items() if last < before]:
            del self.touched[tenant_id]
            self.unsettled.pop(tenant_id, None)

    def sign_checkpoint(self, tenant_id: str, *, size: int, root: bytes) -> str:
        """A signed note. Its text begins with the origin, a receipt's bytes with `{`: none can pass for the other."""
        origin = origin_of(tenant_id)
        text = Checkpoint(origin=origin, size=size, root=root).text
        return sign_note(text, name=origin, key=self.public_key, sign=self._key.sign)

    def open_checkpoint(self, tenant_id: str, note: str) -> Checkpoint:
        """Raises NoteRefused unless this key signed it for this tenant."""
        origin = origin_of(tenant_id)
        checkpoint = checkpoint_of(open_note(note, name=origin, key=self.public_key))
        if checkpoint.origin != origin:
            raise NoteRefused
        return checkpoint

    def _receipt(self, *, tenant_id: str, decision_id: str, leaf: bytes, now: datetime) -> Receipt:
        unsigned = Receipt(
            decision_id=decision_id, leaf_sha256=leaf.hex(), signed_at=now, key_id=self.key_id, signature=""
        )
        signature = self._key.sign(_receipt_bytes(unsigned, tenant_id))
        encoded = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        return msgspec.structs.replace(unsigned, signature=encoded)


def origin_of(tenant_id: str) -> str:
    """The name of a tenant's record in its checkpoints; the key tells apart two houses with equal names."""
    return f"undercroft/record/{tenant_id}"


def entry_bytes(*, tenant_id: str, decision_id: str, recorded_at: datetime, body: Mapping[str, Any]) -> bytes:
    """RFC 8785 form of an entry. Tenant, id and time are in it, so that no column can be changed behind the hash."""
    return canonical_json(
        {
            "v": VERSION,
            "tenant_id": tenant_id,
            "decision_id": decision_id,
            "recorded_at": recorded_at,
            "body": body,
        }
    )


def receipt_holds(receipt: Receipt, tenant_id: str, key: Ed25519PublicKey) -> bool:
    """Whether this key promised this tenant this leaf."""
    try:
        signature = base64.urlsafe_b64decode(receipt.signature + "=" * (-len(receipt.signature) % 4))
        key.verify(signature, _receipt_bytes(receipt, tenant_id))
    except (InvalidSignature, ValueError):
        return False
    return True


def _receipt_bytes(receipt: Receipt, tenant_id: str) -> bytes:
    return canonical_json(
        {
            "decision_id": receipt.decision_id,
            "key_id": receipt.key_id,
            "leaf_sha256": receipt.leaf_sha256,
            "signed_at": receipt.signed_at,
            "tenant_id": tenant_id,
        }
    )


_INSERT_ENTRY = text(
    "INSERT INTO record_entries (tenant_id, decision_id, canonical, leaf_sha256, recorded_at)"
    " VALUES (:tenant_id, :decision_id, :canonical, :leaf_sha256, :recorded_at) RETURNING transaction_id"
)
