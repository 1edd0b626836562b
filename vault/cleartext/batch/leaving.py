"""All cards of a tenant, opened one by one and sealed for the next vault: after this nothing of ours guards them.

Whoever calls has two custodians' approval in the record (vault/batch/approving.py). No route and no grant leads here.
"""

from dataclasses import dataclass
from typing import BinaryIO, Final

import msgspec

from infra.chassis import logs
from infra.chassis.crashpoints import reach
from vault.at_once import stored_card
from vault.batch import rows
from vault.canary_marks import CanaryMarks
from vault.cleartext.batch.lines import Written
from vault.cleartext.batch.sealed_file import Recipient, SealedWriter
from vault.cleartext.opening import UNREADABLE, CardReplaced, CardShredded, Opener, Revealed
from vault.contract import TokenTerms
from vault.keys.ring import KeyRing
from vault.store import Store
from vault.tables import CardRow
from vault.terms import terms_of

CARDS_AT_ONCE: Final = 200

log = logs.get_logger()


@dataclass(slots=True)
class Leaving:
    """How many cards are in the file; how many do not open; how many were never charged and are left behind."""

    batch_id: str
    cards: int = 0
    unreadable: int = 0
    never_charged: int = 0


class Departure:
    def __init__(self, *, store: Store, ring: KeyRing, marks: CanaryMarks) -> None:
        self._store = store
        self._opener = Opener(store, ring)
        self._marks = marks

    async def run(self, tenant_id: str, recipient: Recipient, out: BinaryIO) -> Leaving:
        """Canaries are left out: there is no card in them. Raises KeyServiceUnreachable and DatabaseUnreachable."""
        writer, after = SealedWriter(out, recipient), ""
        left = Leaving(writer.batch_id)
        while True:
            async with self._store.transaction(tenant_id) as tx:
                cards = await rows.cards_to_leave(tx, after=after, limit=CARDS_AT_ONCE)
                left.never_charged = await rows.count_left_behind(tx)
            if not cards:
                writer.end()
                return left
            for card in cards:
                if not self._marks.is_canary(tenant_id, card.token_id):
                    await self._add(card, writer, left)
            after = cards[-1].token_id
            reach("export_lot_sealed")

    async def _add(self, card: CardRow, writer: SealedWriter, left: Leaving) -> None:
        try:
            revealed = await self._revealed(card)
        except CardShredded:
            return
        except UNREADABLE:
            log.error("card_not_exported", tenant_id=card.tenant_id, token_id=card.token_id)  # noqa: TRY400 - a traceback has a card's values
            left.unreadable += 1
            return
        try:
            writer.add(_line(revealed))
            left.cards += 1
        finally:
            revealed.details.number.wipe()

    async def _revealed(self, card: CardRow) -> Revealed:
        """The card that is under the token now."""
        try:
            return await self._opener.reveal(card)
        except CardReplaced:
            newer = await stored_card(self._store, card.tenant_id, card.token_id)
            if newer is None or newer.on_file_since is None:
                raise CardShredded from None
            return await self._opener.reveal(newer)


def _line(revealed: Revealed) -> bytes:
    card, details, terms = revealed.card, revealed.details, terms_of(revealed.card)
    written = Written(
        reference=card.token_id,
        subject_id=card.subject_id,
        number=bytes(details.number.reveal()).decode(),
        exp_month=details.exp_month,
        exp_year=details.exp_year,
        holder=details.holder,
        brand_id=card.brand_id,
        terms=None if terms == TokenTerms() else terms,
    )
    return msgspec.json.encode(written)
