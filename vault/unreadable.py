"""A stored card that does not open although its key service answers: its row, or its tenant's key, was changed.

Nothing here writes what does not open. So it is an alarm, and the card is not sent.
"""

from infra.chassis import logs
from vault.counters import Counters
from vault.tables import ChargeRow

log = logs.get_logger()


def raise_alarm(counters: Counters, *, act: str, reference: str, tenant_id: str, token_id: str) -> None:
    """`reference` is the order's own id."""
    log.error("card_unreadable", act=act, reference=reference, tenant_id=tenant_id, token_id=token_id)
    counters.cards_unreadable.inc()


def raise_charge_alarm(counters: Counters, row: ChargeRow) -> None:
    """The order was a charge, or a hold."""
    act = "hold" if row.held_first else "charge"
    raise_alarm(counters, act=act, reference=row.charge_id, tenant_id=row.tenant_id, token_id=row.token_id)
