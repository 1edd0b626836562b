"""One decision in its caller's transaction: under the rules that stand for the tenant, recorded, shadowed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cedar import Cedar
from gateway.contract import DecisionView, PolicyDifference
from gateway.decide import Decision
from gateway.facts import ConversationFacts
from gateway.overlays import store
from gateway.overlays.active import ActiveRules, Shadow
from gateway.possible import Possible
from gateway.record.entries import Record
from gateway.undecided import Asked, Undecided
from infra.chassis import logs
from infra.chassis.ids import new_id

Make = Callable[[Cedar], Decision]
"""Facts and time are in it already; the rules are handed in."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Decided:
    decision: Decision
    decision_id: str
    view: DecisionView
    cedar: Cedar
    """The rules it was decided by, for a list that it opens."""


class Deciding:
    def __init__(self, rules: ActiveRules, record: Record, undecided: Undecided, possible: Possible) -> None:
        self._rules = rules
        self._record = record
        self._undecided = undecided
        self._possible = possible

    def transaction(self, asked: Asked) -> AbstractAsyncContextManager[AsyncConnection]:
        """For gathering facts, deciding, and all that is written with it. What fails in it is a recorded deny."""
        return self._undecided.transaction(asked)

    async def standing(self, tx: AsyncConnection, tenant_id: str) -> Cedar:
        """The tenant's rules, for a list that no decision opens: its condition, and each of its rows."""
        return (await self._rules.of_tenant(tx, tenant_id)).active

    async def decide(
        self, tx: AsyncConnection, tenant_id: str, make: Make, *, told_in: ConversationFacts | None
    ) -> Decided:
        """Decide by the tenant's rules and write it down. Nothing is decided without an entry in the record.

        `told_in`: whose person would have to step up; None where nobody is told how. A shadow is asked as well;
        whatever it says, or fails at, changes neither the answer nor the record.
        """
        rules = await self._rules.of_tenant(tx, tenant_id)
        decision = make(rules.active)
        if told_in is not None:
            decision = await self._possible.narrow(tx, decision, told_in)
        decision_id = new_id("dec")
        receipt = await self._record.append(
            tx, tenant_id=tenant_id, decision_id=decision_id, body=decision.body(decision_id)
        )
        if rules.shadow is not None:
            difference = _difference(decision, decision_id, rules.shadow, make)
            if difference is not None:
                await _keep(tx, tenant_id, rules.shadow.version_sha256, difference)
        return Decided(decision, decision_id, decision.view(receipt), rules.active)


def _difference(decision: Decision, decision_id: str, shadow: Shadow, make: Make) -> PolicyDifference | None:
    """None when the shadow says the same: outcome, reasons, and for a recall how far it goes."""
    if shadow.cedar.sha256_for(decision.question.action) == decision.policy_sha256:
        return None
    try:
        other = make(shadow.cedar)
    except Exception as error:  # noqa: BLE001 - the shadow decides nothing, so it must not stop what does
        log.warning("shadow_failed", action=decision.question.action, error=type(error).__name__)
        other = None
    if other is not None and _said(other) == _said(decision):
        return None
    return PolicyDifference(
        decision_id=decision_id,
        action=decision.question.action,
        outcome=decision.outcome,
        reasons=list(decision.reasons),
        shadow_outcome=None if other is None else other.outcome,
        shadow_reasons=[] if other is None else list(other.reasons),
        decided_at=decision.decided_at,
    )


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.reasons, dict(decision.question.resource)


async def _keep(tx: AsyncConnection, tenant_id: str, version: str, difference: PolicyDifference) -> None:
    """Behind a savepoint: if it cannot be stored, the decision stands all the same."""
    try:
        async with tx.begin_nested():
            await store.add_difference(tx, tenant_id, version, difference)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning("difference_not_stored", error=type(error).__name__)
