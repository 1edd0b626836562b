"""Lists: what a caller may see is decided by policy and carried out by the database, and each row is decided once more.

The policies are asked with the row unknown; what they leave becomes the query's condition (`residuals.py`). The engine
calls that a preview, and the translation is ours: so every row that was found is asked about again, whole. If the two
ever disagree, or a policy cannot be translated, nothing is listed at all.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.callers import Caller, CallerKind
from gateway.cedar import Cedar, Question
from gateway.contract import (
    CardOnFile,
    ConversationList,
    ConversationSummary,
    PurchaseList,
    PurchaseState,
    PurchaseSummary,
)
from gateway.decide import decide_about_person
from gateway.deciding import Decided, Deciding
from gateway.disclosures import person_facts
from gateway.errors import ListNotDecided
from gateway.facts import PersonFacts, caller_entity, ref, seconds
from gateway.record.entries import Record
from gateway.residuals import Condition, RowType, Untranslatable, condition_of
from gateway.rows import CONVERSATIONS, MANDATES, PURCHASES, columns_of, entity_of
from gateway.spending import TAKEN
from gateway.undecided import asked
from gateway.windows import day_of
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.problems import FieldsInvalid

LIMIT_MAX: Final = 100
"""Of one page: each row costs a tenth of a millisecond to decide once more."""
CURSOR_LENGTH_MAX: Final = 200
_CURSOR: Final = re.compile(r"([0-9]{1,17}) ([a-z0-9_]{1,64})")
"""Microseconds since 1970, up to the year 5138, and the id of the last row that was shown."""
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Table:
    """What is listed from where, at `:now` on `:day`. `made_at` orders, newest first; the key breaks ties."""

    row: RowType
    source: str
    made_at: str
    shown: str


@dataclass(frozen=True, slots=True)
class Page:
    """`limit` rows after the one that `after` names, which is where the page before it ended."""

    limit: int
    after: str | None = None

    @property
    def position(self) -> tuple[datetime, str] | None:
        """Raises FieldsInvalid for what is no cursor of ours. Forging one moves the page and shows nothing more."""
        if self.after is None:
            return None
        found = _CURSOR.fullmatch(_decoded(self.after))
        if found is None:
            raise FieldsInvalid(fields=["after"])
        return datetime.fromtimestamp(int(found[1]) // 1_000_000, UTC) + timedelta(
            microseconds=int(found[1]) % 1_000_000
        ), found[2]


@dataclass(frozen=True, slots=True)
class Found:
    rows: Sequence[Mapping[str, Any]]
    next_after: str | None


class Listing:
    def __init__(self, deciding: Deciding, record: Record, clock: Clock) -> None:
        self._deciding = deciding
        self._record = record
        self._clock = clock

    async def purchases(self, conversation_id: str | None, page: Page, caller: Caller) -> PurchaseList:
        """Of the conversation's person from its brand. Raises NotFound, ConversationMissing, ListNotDecided."""
        now = self._clock.now()
        about = asked("list_purchases", caller, conversation_id=conversation_id)
        async with self._deciding.transaction(about) as tx:
            facts = await person_facts(tx, caller, conversation_id, self._clock)
            decided = await self._deciding.decide(
                tx,
                caller.tenant_id,
                lambda cedar: decide_about_person(cedar, "list_purchases", facts, now),
                told_in=facts.conversation,
            )
            if not decided.decision.allowed:
                return PurchaseList(decision=decided.view, purchases=[], next_after=None)
            question = question_in("see_purchase", facts, now)
            found = await self._shown(tx, caller, PURCHASE_TABLE, question, page, decided)
        purchases = [_purchase(row) for row in found.rows]
        return PurchaseList(decision=decided.view, purchases=purchases, next_after=found.next_after)

    async def conversations(self, page: Page, caller: Caller) -> ConversationList:
        """Those that the agent holds. Raises ListNotDecided."""
        caller.require_kind(CallerKind.AGENT)
        caller.require_scope("conversation")
        now = self._clock.now()
        async with self._deciding.transaction(asked("see_conversation", caller)) as tx:
            question = question_of("see_conversation", caller, {"now": seconds(now)}, ())
            found = await self._shown(tx, caller, CONVERSATION_TABLE, question, page, None)
        return ConversationList(
            conversations=[ConversationSummary(**plain(row)) for row in found.rows], next_after=found.next_after
        )

    async def _shown(
        self, tx: AsyncConnection, caller: Caller, table: Table, question: Question, page: Page, opened: Decided | None
    ) -> Found:
        """One page, and in the record what was shown to whom under which rules; `opened`: the decision to show it."""
        cedar = await self._deciding.standing(tx, caller.tenant_id) if opened is None else opened.cedar
        now = self._clock.now()
        found = await seen(tx, cedar, table, question, page, tenant_id=caller.tenant_id, now=now)
        body = {
            "v": 1,
            "event": "listed",
            "at": now.isoformat(),
            "action": question.action,
            "client_id": caller.client_id,
            "policy_sha256": cedar.sha256_for(question.action),
            "decision_id": "" if opened is None else opened.decision_id,
            "rows": [row["row_id"] for row in found.rows],
            "more": found.next_after is not None,
        }
        await self._record.append(tx, tenant_id=caller.tenant_id, decision_id=new_id("evt"), body=body)
        return found


def question_of(action: str, caller: Caller, context: Mapping[str, Any], entities: Sequence[Any]) -> Question:
    """About rows: the resource is filled in for each of them."""
    principal = {"type": "Caller", "id": caller.client_id}
    return Question(action, principal, {}, context, (caller_entity(caller), *entities))


def question_in(action: str, facts: PersonFacts, now: datetime) -> Question:
    context = {
        "now": seconds(now),
        "level": int(facts.level),
        "conversation": ref("Conversation", facts.conversation.conversation_id),
    }
    return question_of(action, facts.caller, context, [facts.conversation.entity()])


def condition_for(cedar: Cedar, question: Question, row: RowType) -> Condition:
    """Raises ListNotDecided: the policies' condition on a row cannot be had, so nothing may be listed."""
    try:
        return condition_of(cedar.residuals(question), row)
    except Exception as error:
        why = str(error) if isinstance(error, Untranslatable) else type(error).__name__
        log.warning("list_not_translated", action=question.action, why=why)
        raise ListNotDecided from error


async def seen(
    tx: AsyncConnection, cedar: Cedar, table: Table, question: Question, page: Page, *, tenant_id: str, now: datetime
) -> Found:
    """One page of what the policies let be seen. Raises ListNotDecided, FieldsInvalid."""
    condition = condition_for(cedar, question, table.row)
    if condition.never:
        return Found([], None)
    rows = await rows_of(tx, table, condition, page, tenant_id=tenant_id, now=now)
    for row in rows:
        _decide_whole(cedar, question, table.row, row)
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    return Found(shown, _cursor(shown[-1]) if more else None)


async def rows_of(
    tx: AsyncConnection, table: Table, condition: Condition, page: Page, *, tenant_id: str, now: datetime
) -> Sequence[Mapping[str, Any]]:
    """One more than the page has, if there is one."""
    position = page.position
    later = f" AND ({table.made_at}, {table.row.key.sql}) < (:made_at, :key)" if position else ""
    query = _statement(
        f"SELECT {table.shown}, {table.made_at} AS row_made_at, {columns_of(table.row)} FROM {table.source}"  # noqa: S608 - constants; values are parameters
        f" AND {condition.sql}{later} ORDER BY {table.made_at} DESC, {table.row.key.sql} DESC LIMIT :limit_and_one"
    )
    values = {**condition.values, "tenant_id": tenant_id, "now": now, "day": day_of(now)}
    values["limit_and_one"] = page.limit + 1
    if position:
        values |= {"made_at": position[0], "key": position[1]}
    return [dict(row) for row in (await tx.execute(query, values)).mappings()]


@lru_cache(maxsize=256)
def _statement(sql: str) -> TextClause:
    """Parsed once: values are never in the text, so there are as many as tables, orders and shapes of policies."""
    return text(sql)


def _decide_whole(cedar: Cedar, question: Question, row: RowType, found: Mapping[str, Any]) -> None:
    """The last word is the engine's. A row that only the database let through means that one of them is wrong."""
    entity = entity_of(row, found)
    whole = replace(question, resource=entity["uid"], entities=(*question.entities, entity))
    if not cedar.answer(whole).allowed:
        log.error("list_disagrees", action=question.action)
        raise ListNotDecided


def _cursor(row: Mapping[str, Any]) -> str:
    made_at: datetime = row["row_made_at"]
    microseconds = int(made_at.timestamp()) * 1_000_000 + made_at.microsecond
    return base64.urlsafe_b64encode(f"{microseconds} {row['row_id']}".encode()).decode()


def _decoded(cursor: str) -> str:
    """Empty for what is none."""
    try:
        return base64.urlsafe_b64decode(cursor[:CURSOR_LENGTH_MAX].encode("ascii")).decode("ascii")
    except (ValueError, binascii.Error):
        return ""


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a row, without what only the policies ask for."""
    return {name: value for name, value in row.items() if not name.startswith("row_")}


def _purchase(row: Mapping[str, Any]) -> PurchaseSummary:
    fields = plain(row)
    card_brand, last4 = fields.pop("card_brand"), fields.pop("card_last4")
    card = CardOnFile(card_brand=card_brand, last4=last4) if card_brand and last4 else None
    return PurchaseSummary(**{**fields, "state": PurchaseState(fields["state"]), "card": card})


PURCHASE_TABLE: Final = Table(
    PURCHASES,
    "purchases p WHERE p.tenant_id = :tenant_id",
    "p.created_at",
    "p.purchase_id, p.checkout_id, p.brand_id, p.state, p.amount_minor, p.currency, p.created_at, p.card_brand,"
    " p.card_last4, p.paid_at, (SELECT coalesce(sum(f.amount_minor), 0)::bigint FROM refunds f"
    " WHERE f.tenant_id = p.tenant_id AND f.purchase_id = p.purchase_id AND f.state = 'refunded') AS refunded_minor",
)
MANDATE_TABLE: Final = Table(
    MANDATES,
    f"mandates m LEFT JOIN LATERAL ({TAKEN}) t ON true WHERE m.tenant_id = :tenant_id",
    "m.granted_at",
    "m.mandate_id, m.brand_id, m.payees, m.purposes, m.currency, m.payment_cap_minor, m.day_cap_minor,"
    " m.window_seconds, m.window_cap_minor, m.window_count_max, m.approval_above_minor, m.delegates, m.expires_at,"
    " CASE WHEN m.revoked_at IS NOT NULL THEN 'revoked' WHEN m.expires_at <= :now THEN 'expired' ELSE 'active' END"
    " AS state, t.today_minor AS spent_today_minor, t.in_window_minor AS spent_in_window_minor, t.bought_in_window",
)
CONVERSATION_TABLE: Final = Table(
    CONVERSATIONS,
    "conversations c WHERE c.tenant_id = :tenant_id",
    "c.opened_at",
    "c.conversation_id, c.brand_id, c.channel, c.opened_at",
)
