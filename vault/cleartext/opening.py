"""Opening a stored card: as far as its record key, what is sealed beside the number, or the number itself."""

import contextlib
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Final

import msgspec

from infra.chassis import logs
from infra.chassis.keys import KeyUnusable
from infra.chassis.secret import Secret
from vault.at_once import stored_card
from vault.cleartext.pan import CardDetails, CardNumber
from vault.envelope import SealBroken, open_sealed, version_of
from vault.keys.ring import KeyRing
from vault.keys.states import KeyDestroyed
from vault.places import place, place_under_terms
from vault.store import RowMissing, Store
from vault.tables import CardRow

READS_MAX: Final = 3
"""How often a card is read again because its key was rotated in between; twice within one charge is no accident."""

UNREADABLE: Final = (SealBroken, KeyUnusable)
"""What opening a card raises when its row, or its tenant's key, is not what was written: waiting mends neither."""

log = logs.get_logger()


class CardShredded(Exception):
    """The card's keys were destroyed. Its row says which card it was, and nothing opens it."""


class CardReplaced(Exception):
    """Another card took the place of the one that was meant, under the same token."""


class CardClosed(Exception):
    """Its issuer closed the account. The card opens; it is not used any more, and another may take its place."""


class SealedDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed beside the number."""

    exp_month: int
    exp_year: int
    holder: str


@dataclass(frozen=True, slots=True, eq=False)
class Revealed:
    """A card in clear, with the row it was opened from: that may be newer than the one that was read first."""

    card: CardRow
    details: CardDetails
    record_key: Secret[bytes]


class Opener:
    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring

    def key_at_hand(self, card: CardRow) -> bool:
        """Whether asking the key service would not help: its key is here, or the card never opens."""
        try:
            return card.is_shredded or self._ring.holds(card.tenant_id, version_of(card.wrapped_key))
        except SealBroken:
            return True

    async def fetch_key(self, card: CardRow) -> None:
        """Before an order is written down: without its key it need not be. Raises KeyServiceUnreachable.

        That a card does not open at all is said when it is opened.
        """
        with contextlib.suppress(KeyDestroyed, *UNREADABLE):
            await self._ring.opening_key(card.tenant_id, version_of(card.wrapped_key))

    async def record_key(self, card: CardRow) -> tuple[CardRow, Secret[bytes]]:
        """With the card as it then is: it may have been moved to another key since it was read.

        Raises CardShredded, CardReplaced, those of UNREADABLE when the row is not what was sealed there, and
        KeyServiceUnreachable.
        """
        at = place(card.tenant_id, card.token_id, "record_key")
        for _ in range(READS_MAX):
            if card.is_shredded:
                raise CardShredded
            try:
                tenant_key = await self._ring.opening_key(card.tenant_id, version_of(card.wrapped_key))
            except KeyDestroyed:
                card = await self._read_again(card)
                continue
            return card, Secret(open_sealed(tenant_key, card.wrapped_key, at))
        raise CardShredded

    async def reveal(self, card: CardRow) -> Revealed:
        """The card in clear, for one use; whoever has it wipes it. Raises as `record_key`."""
        card, record_key = await self.record_key(card)
        at = place_under_terms(card.tenant_id, card.token_id, "number", card.terms)
        digits = open_sealed(record_key, card.sealed_number, at)
        beside = details_of(card, record_key)
        number = CardNumber(digits.decode("ascii"))
        details = CardDetails(number=number, exp_month=beside.exp_month, exp_year=beside.exp_year, holder=beside.holder)
        return Revealed(card, details, record_key)

    async def month(self, card: CardRow) -> date:
        """The last day the card is good, from its sealed details. Raises as `record_key`."""
        card, record_key = await self.record_key(card)
        beside = details_of(card, record_key)
        return last_day(beside.exp_year, beside.exp_month)

    async def _read_again(self, card: CardRow) -> CardRow:
        fresh = await stored_card(self._store, card.tenant_id, card.token_id)
        if fresh is None:
            raise RowMissing("card")
        if fresh.generation != card.generation:
            raise CardReplaced
        log.info("card_read_again", token_id=card.token_id)
        return fresh

    async def refuse_replaced(self, card: CardRow) -> None:
        """Raises CardReplaced once another card is under the token."""
        await self._read_again(card)


def details_of(card: CardRow, record_key: Secret[bytes]) -> SealedDetails:
    """Raises SealBroken."""
    at = place_under_terms(card.tenant_id, card.token_id, "details", card.terms)
    return msgspec.json.decode(open_sealed(record_key, card.sealed_details, at), type=SealedDetails)


def last_day(year: int, month: int) -> date:
    """Of the month printed on a card, through which it is good."""
    return date(year, month, monthrange(year, month)[1])
