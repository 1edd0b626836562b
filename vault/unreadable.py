"""A stored card that does not open although its key service answers: its row, or its tenant's key, was changed.

Nothing here writes what does not open. So it is an alarm, and the card is not sent.
"""

from infra.chassis import logs
from vault.counters import Counters

log = logs.get_logger()


def raise_alarm(counters: Counters, *, act: str, reference: str, tenant_id: str, token_id: str) -> None:
    """`reference` is the order's own id."""
    log.error("card_unreadable", act=act, reference=reference, tenant_id=tenant_id, token_id=token_id)
    counters.cards_unreadable.inc()
