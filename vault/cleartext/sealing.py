"""A card in clear becomes a row: under a record key of its own, number and details apart, bound to its token and terms.

The one way a card is sealed, whether a person typed it or it came from another vault (cleartext/batch).
"""

from dataclasses import dataclass

import msgspec

from infra.chassis.clock import Clock
from infra.chassis.keys import new_key
from vault.cleartext.opening import SealedDetails, last_day
from vault.cleartext.pan import CardDetails
from vault.envelope import seal
from vault.fingerprint import Fingerprints, hidden_under_each
from vault.keys.ring import KeyRing
from vault.places import RECORD_KEY_VERSION, place, place_under_terms
from vault.tables import CardRow


@dataclass(frozen=True, slots=True)
class Place:
    """Whose card it is, under which token it is to be sealed, as which one there, and with which terms."""

    tenant_id: str
    brand_id: str
    subject_id: str
    token_id: str
    generation: int
    terms: str | None


class CardSealer:
    def __init__(self, ring: KeyRing, fingerprints: Fingerprints, clock: Clock) -> None:
        self._ring = ring
        self._fingerprints = fingerprints
        self._clock = clock

    async def sealed(self, to_be: Place, details: CardDetails) -> tuple[CardRow, list[bytes]]:
        """With all fingerprints under which the same card may be stored already. Raises KeyUnavailable."""
        tenant_id, token_id, terms = to_be.tenant_id, to_be.token_id, to_be.terms
        record_key = new_key()
        version, tenant_key = await self._ring.sealing_key(tenant_id)
        at_number, at_details = (
            place_under_terms(tenant_id, token_id, field, terms) for field in ("number", "details")
        )
        beside = msgspec.json.encode(SealedDetails(details.exp_month, details.exp_year, details.holder))
        digits = details.number.reveal()
        *older, fingerprint = self._fingerprints.by_every_version(tenant_id, digits)
        tenant_keys = [tenant_key, *await self._ring.retired_keys(tenant_id)]
        known_as = hidden_under_each(tenant_keys, [*older, fingerprint])
        card = CardRow(
            tenant_id=tenant_id,
            token_id=token_id,
            brand_id=to_be.brand_id,
            subject_id=to_be.subject_id,
            fingerprint=known_as[len(older)],
            fingerprint_version=self._fingerprints.newest,
            wrapped_key=seal(tenant_key, version, record_key.reveal(), place(tenant_id, token_id, "record_key")),
            sealed_number=seal(record_key, RECORD_KEY_VERSION, digits, at_number),
            sealed_details=seal(record_key, RECORD_KEY_VERSION, beside, at_details),
            sealed_fingerprint=seal(
                record_key, RECORD_KEY_VERSION, fingerprint, place(tenant_id, token_id, "fingerprint")
            ),
            good_through=last_day(details.exp_year, details.exp_month),
            card_brand=details.number.brand.value,
            last4=details.number.last4,
            created_at=self._clock.now(),
            on_file_since=None,
            terms=terms,
            generation=to_be.generation,
        )
        return card, known_as
