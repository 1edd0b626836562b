"""A canary is a token nobody was ever given: whoever uses it has it from where tokens are stolen.

The answer is the one for a token that is not there, made from the same statements; what follows begins when it has been
given. The log says it first, at once and as an error; then it is counted, and written down for the tenant.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from vault.canary_marks import CanaryMarks
from vault.counters import Counters
from vault.outbox.events import CanaryData, Kind, add_event
from vault.store import Store, Tx
from vault.workers import Workers

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class CanaryUse:
    """Who tried what with it, as the grant and the order say; `reference` is the order's own id."""

    tenant_id: str
    token_id: str
    act: str
    reference: str
    brand_id: str
    subject_id: str
    agent_id: str
    purchase_id: str | None = None


class Canaries:
    def __init__(self, *, store: Store, marks: CanaryMarks, clock: Clock, counters: Counters, workers: Workers) -> None:
        self._store = store
        self._marks = marks
        self._clock = clock
        self._counters = counters
        self._workers = workers

    def is_canary(self, tenant_id: str, token_id: str) -> bool:
        return self._marks.is_canary(tenant_id, token_id)

    def raise_alarm(self, use: CanaryUse) -> None:
        """Does not wait, and never fails: whoever used it must not notice."""
        log.error("canary_used", **asdict(use))
        self._counters.canaries_used.inc()
        self._workers.start(self._write_down(use))

    async def _write_down(self, use: CanaryUse) -> None:
        try:
            async with self._store.transaction(use.tenant_id) as tx:
                await note_use(tx, use, self._clock.now())
        except Exception as error:  # noqa: BLE001 - the log and the metric have it; nobody waits for this
            log.error("canary_use_not_written", reference=use.reference, error=type(error).__name__)  # noqa: TRY400 - no text of the database


async def note_use(tx: Tx, use: CanaryUse, now: datetime) -> None:
    sql = """INSERT INTO canary_uses (tenant_id, use_id, token_id, act, reference, brand_id, subject_id, agent_id,
            used_at)
        VALUES (:tenant_id, :use_id, :token_id, :act, :reference, :brand_id, :subject_id, :agent_id, :now)"""
    await tx.run(sql, asdict(use) | {"use_id": new_id("use"), "now": now})
    told = CanaryData(
        token_id=use.token_id, brand_id=use.brand_id, subject_id=use.subject_id, purchase_id=use.purchase_id
    )
    await add_event(tx, Kind.CANARY_USED, told, about=use.token_id, at=now)


async def canary_uses(tx: Tx) -> list[dict[str, object]]:
    """All of the tenant's, oldest first."""
    sql = """SELECT used_at, token_id, act, reference, agent_id FROM canary_uses WHERE tenant_id = :tenant_id
        ORDER BY used_at, use_id"""
    return [dict(row) for row in (await tx.run(sql, {})).mappings()]
