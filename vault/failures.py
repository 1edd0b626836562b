"""What a failure of ours or of a processor means for a charge while nothing can have been charged."""

from typing import Final

from infra.chassis.keys import KeyServiceUnreachable
from vault.cleartext.opening import UNREADABLE, CardClosed, CardReplaced, CardShredded
from vault.cleartext.processors import CardRefused, ProcessorRefused, ProcessorSilent
from vault.cleartext.tokenise import Cards, CodeMissing
from vault.codes import Codes
from vault.contract import ChargeReason, ChargeState
from vault.tables import CardRow

OURS: Final[dict[type[Exception], ChargeReason]] = {
    CodeMissing: ChargeReason.VERIFICATION_CODE_MISSING,
    CardShredded: ChargeReason.CARD_SHREDDED,
    CardReplaced: ChargeReason.CARD_REPLACED,
    CardClosed: ChargeReason.CARD_CLOSED,
    **dict.fromkeys(UNREADABLE, ChargeReason.CARD_UNREADABLE),
    KeyServiceUnreachable: ChargeReason.NEVER_SENT,
}
"""Another processor would not mend them. A key service that goes away after the order was written down is no fault of
the card: the same card may be charged by another order."""
FAILURES: Final[tuple[type[Exception], ...]] = (*OURS, ProcessorRefused, ProcessorSilent)


def before_confirming(failure: Exception) -> tuple[ChargeState, ChargeReason]:
    """How a charge ends with it. Of FAILURES only."""
    if isinstance(failure, CardRefused):
        return ChargeState.DECLINED, failure.reason
    if isinstance(failure, ProcessorRefused):
        return ChargeState.FAILED, failure.reason
    for kind, reason in OURS.items():
        if isinstance(failure, kind):
            return ChargeState.FAILED, reason
    return ChargeState.FAILED, ChargeReason.PROCESSOR_UNREACHABLE


async def why_not_sent(card: CardRow, cards: Cards, codes: Codes) -> ChargeReason | None:
    """Whatever this vault can know against a card is found before any processor is asked; None when nothing is."""
    needs_code = not card.is_shredded and card.closed_at is None and card.on_file_since is None
    if needs_code and not codes.holds(card.tenant_id, card.token_id, card.generation):
        return await _why_no_code(card, cards)
    try:
        await cards.check(card)
    except tuple(OURS) as failure:
        return before_confirming(failure)[1]
    return None


async def _why_no_code(card: CardRow, cards: Cards) -> ChargeReason:
    """With another card under the token, the code of this one was destroyed."""
    try:
        await cards.refuse_replaced(card)
    except CardReplaced:
        return ChargeReason.CARD_REPLACED
    return ChargeReason.VERIFICATION_CODE_MISSING
