"""Why a charge was never sent that its carrier left behind: the card may not open, and then that is said after all.

A carrier that finds a card edited raises the alarm before it writes the charge's end. One that is killed in between has
said nothing, and whoever ends its charge has sent nothing and seen no card. So the card is tried here, the number
included, which is overwritten at once. With the key service away nobody can tell; the next charge of the card will.
"""

from infra.chassis.keys import KeyServiceUnreachable
from vault.cleartext.opening import UNREADABLE, CardReplaced, CardShredded
from vault.cleartext.tokenise import Cards
from vault.contract import ChargeReason
from vault.counters import Counters
from vault.store import Store
from vault.tables import ChargeRow
from vault.unreadable import raise_charge_alarm


class NeverSent:
    def __init__(self, store: Store, cards: Cards, counters: Counters) -> None:
        self._store = store
        self._cards = cards
        self._counters = counters

    async def why(self, row: ChargeRow) -> ChargeReason:
        """`never_sent`, or `card_unreadable` with its alarm. `row` as it was when it was ours to end."""
        async with self._store.transaction(row.tenant_id) as tx:
            card = await tx.card(row.token_id)
        if card is None or card.generation != row.card_generation:
            return ChargeReason.NEVER_SENT
        try:
            await self._cards.try_to_open(card)
        except UNREADABLE:
            raise_charge_alarm(self._counters, row)
            return ChargeReason.CARD_UNREADABLE
        except (CardShredded, CardReplaced, KeyServiceUnreachable):
            pass
        return ChargeReason.NEVER_SENT
