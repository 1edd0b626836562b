"""A decision that cannot be made is a deny, and is on record as one. The one place where that is so.

The engine turns its own errors into denies (`cedar.py`). What fails around it (a fact that cannot be read, a question
that canonical JSON cannot say, a statement after the answer, the commit) ends up here: everything of that transaction
is rolled back, and one entry in a transaction of its own says who asked for what, and that the answer is no. The entry
is an event and no decision, since there is no whole question that could be decided again; so `replay` passes over it.

Cancelled requests are none of this: nothing of them happened, and nobody was answered.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.callers import Caller
from gateway.contract import DecisionView, Outcome, Reason
from gateway.errors import ErrorWhileDeciding
from gateway.record.entries import Record
from infra.chassis import logs, trace
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import InternalError, Problem, where
from infra.chassis.screen import find_card_number

EVENT: Final = "error_while_deciding"
OURS: Final = 500
"""Answers below this are about the request (nothing there, not this caller's, under way): no decision was begun."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what, as far as that is known before any fact is."""

    action: str
    caller: Caller
    named: Mapping[str, str]
    """Ids as the request names them. Nothing was looked up: they may be of nothing at all."""


class Undecided:
    def __init__(self, engine: AsyncEngine, record: Record, registry: CollectorRegistry) -> None:
        self._engine = engine
        self._record = record
        self._counted = Counter(
            "gateway_errors_while_deciding_total",
            "Decisions that failed and are denies.",
            ["on_record"],
            registry=registry,
        )

    @asynccontextmanager
    async def transaction(self, asked: Asked) -> AsyncIterator[AsyncConnection]:
        """The transaction of one decision and of all that is written with it.

        Raises ErrorWhileDeciding, or the 503 that it failed with, in place of whatever goes wrong; both carry the
        recorded deny as `decision`, and lack it when it could not be recorded. Problems below 500 pass unchanged.
        """
        try:
            async with tenant_transaction(self._engine, asked.caller.tenant_id) as tx:
                yield tx
        except Exception as error:
            if isinstance(error, Problem) and error.status < OURS:
                raise
            raise await self._denied(asked, error) from error

    async def _denied(self, asked: Asked, error: Exception) -> Problem:
        decision_id = new_id("dec")
        log.error(EVENT, error=type(error).__name__, where=where(error), action=asked.action, decision_id=decision_id)
        try:
            view = await self._on_record(asked, error, decision_id)
        except Exception as failure:  # noqa: BLE001 - whatever stops the entry, nothing is allowed and somebody is told
            self._counted.labels("no").inc()
            log.critical("error_not_recorded", error=type(failure).__name__, decision_id=decision_id)
            return _of_ours(error) or _of_ours(failure) or InternalError()
        self._counted.labels("yes").inc()
        problem = _of_ours(error) or ErrorWhileDeciding()
        problem.extra["decision"] = msgspec.to_builtins(view)
        return problem

    async def _on_record(self, asked: Asked, error: Exception, decision_id: str) -> DecisionView:
        reasons = [Reason.EVALUATION_ERROR]
        body = {
            "v": 1,
            "event": EVENT,
            "at": self._record.now().isoformat(),
            "decision_id": decision_id,
            "action": asked.action,
            "client_id": asked.caller.client_id,
            "named": dict(asked.named),
            "outcome": Outcome.DENY.value,
            "reasons": [reason.value for reason in reasons],
            "error": type(error).__name__,
            "request_id": _request_id(),
        }
        async with tenant_transaction(self._engine, asked.caller.tenant_id) as tx:
            receipt = await self._record.append(
                tx, tenant_id=asked.caller.tenant_id, decision_id=decision_id, body=body
            )
        return DecisionView(outcome=Outcome.DENY, reasons=reasons, receipt=receipt)


def asked(action: str, caller: Caller, request: msgspec.Struct | None = None, **named: str | None) -> Asked:
    """Ids out of the request's fields, and those given. One that looks like a card number is left out."""
    fields: dict[str, Any] = {} if request is None else msgspec.structs.asdict(request)
    ids = {name: value for name, value in (fields | named).items() if name.endswith("_id") and isinstance(value, str)}
    return Asked(action, caller, {name: value for name, value in ids.items() if find_card_number(value) is None})


def _of_ours(error: Exception) -> Problem | None:
    """What already says that it is we who failed, and how long to wait."""
    return error if isinstance(error, Problem) and error.status >= OURS else None


def _request_id() -> str | None:
    here = trace.current.get()
    return None if here is None else here.request_id
