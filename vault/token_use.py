"""A charge's intention, written down within the token's terms, in the transaction that reads them."""

from dataclasses import dataclass
from datetime import datetime

from infra.chassis import logs
from vault.contract import ChargeOrder, ChargeReason, HoldOrder, TokenUses, refusals
from vault.envelope import SealBroken
from vault.store import Tx
from vault.tables import CardRow, ChargeRow
from vault.terms import terms_of

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class TokenUse:
    """An order for a token's card, who asked for it, as the grant says, and which processor is to be tried first.

    `by_phone`: the order was given on the telephone; written down with the intention, so that every attempt says it.
    """

    order: ChargeOrder
    agent_id: str
    now: datetime
    worked_until: datetime
    processor: str
    by_phone: bool


async def intend_within_terms(tx: Tx, card: CardRow, use: TokenUse) -> tuple[ChargeRow | None, ChargeReason | None]:
    """The intention, and why it is not to be carried out, if so. None: the charge's id or its purchase is taken.

    Of charges at the same moment with a token for one charge, the database's unique index lets one through. Terms that
    cannot be those the card was sealed with allow nothing.
    """
    order = use.order
    try:
        terms = terms_of(card)
    except SealBroken:
        return await _insert(tx, card, use, single_use=False), ChargeReason.CARD_UNREADABLE
    single_use = terms.uses is TokenUses.SINGLE
    refused = [
        *refusals(
            terms,
            amount_minor=order.amount_minor,
            currency=order.currency,
            agent_id=use.agent_id,
            now=use.now,
        )
    ]
    if not refused:
        made = await _insert(tx, card, use, single_use=single_use)
        if made is not None or not single_use:
            return made, None
        refused = [ChargeReason.TOKEN_SPENT]  # unless it is the id or the purchase that is taken, as the next one tells
    made = await _insert(tx, card, use, single_use=False)
    if made is not None:
        log.warning("token_refused", charge_id=order.charge_id, reasons=[reason.value for reason in refused])
    return made, refused[0]


async def _insert(tx: Tx, card: CardRow, use: TokenUse, *, single_use: bool) -> ChargeRow | None:
    return await tx.insert_charge(
        use.order,
        card,
        use.now,
        use.worked_until,
        held_first=isinstance(use.order, HoldOrder),
        single_use=single_use,
        by_phone=use.by_phone,
        processor=use.processor,
    )
