"""Letting an order in: its grant is checked against the exact order and used up, before anything is done."""

from collections.abc import Mapping
from typing import Any

from infra.chassis import logs
from infra.chassis.grants import Grant, GrantVerifier, Presented
from vault.at_once import redeem
from vault.contract import Action, Order
from vault.store import Store

log = logs.get_logger()


class Admission:
    def __init__(self, *, verifier: GrantVerifier, store: Store) -> None:
        self._verifier = verifier
        self._store = store

    async def admit(self, call: Presented, action: Action, order: Order) -> Grant:
        """A grant for exactly this order, its tenant, brand and subject. Raises GrantRefused and GrantReplayed."""
        return await self._redeem(self._verifier.check_order(call, action=action, order=order))

    async def admit_parameters(self, call: Presented, action: Action, parameters: Mapping[str, Any]) -> Grant:
        """As `admit`, where there is no body: the grant alone says whose it is."""
        return await self._redeem(self._verifier.check(call, action=action, parameters=parameters))

    async def admit_browser(self, compact: str | None, action: Action, parameters: Mapping[str, Any]) -> Grant:
        """As `admit_parameters`, for the actions of CARRIED_BY_BROWSER: no sender's key binds these."""
        return await self._redeem(self._verifier.check_carried(compact, action=action, parameters=parameters))

    async def _redeem(self, grant: Grant) -> Grant:
        """In a transaction of its own, so that a grant is also used up by an order that is then refused."""
        await redeem(self._store, grant)
        log.info("admitted", action=grant.action, decision_id=grant.decision_id, actor=grant.actor, txn=grant.txn)
        return grant
