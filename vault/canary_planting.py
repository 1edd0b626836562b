"""Planting canaries: rows that look like cards on file, sealed like them, with no card in them.

Where a number would be, zeros are sealed; brand, last four and month are drawn, the subject is nobody. Such a row is
moved by rotations and shredded when its month is long past, like any other.
"""

import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

import msgspec

from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.keys import new_key
from vault.canary_marks import CanaryMarks
from vault.cleartext.issuers import CardBrand
from vault.cleartext.opening import SealedDetails, last_day
from vault.envelope import seal
from vault.fingerprint import Fingerprints, hidden
from vault.keys import rows
from vault.keys.acts import note
from vault.keys.ring import KeyRing
from vault.places import RECORD_KEY_VERSION, place, place_under_terms
from vault.store import Store, Tx
from vault.tables import CardRow
from vault.terms import SealedTerms, as_text

NO_NUMBER: Final = bytes(16)
FINGERPRINT_BYTES: Final = 32
NAME_LENGTHS: Final = range(8, 20)
"""Of a holder's name, for the length of what is sealed shows."""
DAYS_AHEAD: Final = range(180, 4 * 365)
"""How long a card on file is usually good for yet."""
BRANDS: Final = (CardBrand.VISA, CardBrand.MASTERCARD)


class Planting:
    def __init__(
        self, *, store: Store, ring: KeyRing, marks: CanaryMarks, fingerprints: Fingerprints, clock: Clock
    ) -> None:
        self._store = store
        self._ring = ring
        self._marks = marks
        self._fingerprint_version = fingerprints.newest
        self._clock = clock

    async def plant(self, tenant_id: str, brand_id: str, actor: str) -> str:
        """The token. Who planted is written down, and not which. Raises KeyRetired when a rotation came in between."""
        card, now = await self._sealed(tenant_id, brand_id), self._clock.now()
        with rows.telling_refusals():
            async with self._store.transaction(tenant_id) as tx:
                await _insert(tx, card)
                await note(tx, now, actor=actor, act="planted", what="a canary", outcome="planted")
        return card.token_id

    async def _sealed(self, tenant_id: str, brand_id: str) -> CardRow:
        now, token_id, record_key = self._clock.now(), self._marks.new_canary(tenant_id), new_key()
        subject_id = new_id("sub")
        version, tenant_key = await self._ring.sealing_key(tenant_id)
        fingerprint = secrets.token_bytes(FINGERPRINT_BYTES)
        ends = now + timedelta(days=secrets.choice(DAYS_AHEAD))
        beside = msgspec.json.encode(SealedDetails(ends.month, ends.year, "-" * secrets.choice(NAME_LENGTHS)))
        terms = as_text(SealedTerms(brand_id=brand_id, subject_id=subject_id))

        def sealed(plain: bytes, field: str) -> bytes:
            return seal(record_key, RECORD_KEY_VERSION, plain, place_under_terms(tenant_id, token_id, field, terms))

        return CardRow(
            tenant_id=tenant_id,
            token_id=token_id,
            brand_id=brand_id,
            subject_id=subject_id,
            fingerprint=hidden(tenant_key, fingerprint),
            fingerprint_version=self._fingerprint_version,
            wrapped_key=seal(tenant_key, version, record_key.reveal(), place(tenant_id, token_id, "record_key")),
            sealed_number=sealed(NO_NUMBER, "number"),
            sealed_details=sealed(beside, "details"),
            sealed_fingerprint=seal(
                record_key, RECORD_KEY_VERSION, fingerprint, place(tenant_id, token_id, "fingerprint")
            ),
            good_through=last_day(ends.year, ends.month),
            card_brand=secrets.choice(BRANDS).value,
            last4=f"{secrets.randbelow(10_000):04}",
            created_at=now,
            on_file_since=_used_since(now),
            terms=terms,
        )


def _used_since(now: datetime) -> datetime:
    """A minute or so after it was typed, as with a card that was typed for a purchase."""
    return now + timedelta(seconds=30 + secrets.randbelow(90))


async def _insert(tx: Tx, card: CardRow) -> None:
    sql = """INSERT INTO cards (tenant_id, token_id, brand_id, subject_id, fingerprint, fingerprint_version,
            wrapped_key, sealed_number, sealed_details, sealed_fingerprint, good_through, card_brand, last4, terms,
            created_at, on_file_since)
        VALUES (:tenant_id, :token_id, :brand_id, :subject_id, :fingerprint, :fingerprint_version, :wrapped_key,
            :sealed_number, :sealed_details, :sealed_fingerprint, :good_through, :card_brand, :last4, :terms,
            :created_at, :on_file_since)"""
    await tx.run(sql, asdict(card))
