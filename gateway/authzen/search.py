"""Search (section 8): who may, what may be done, on what. Candidates are found by whose they are, then each is decided.

A page holds so many candidates, of which those that are allowed are shown; a page may be empty and still say that there
is more. Every candidate is a decision like any other, with an entry in the record.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import owners
from gateway.authzen.points import ACTIONS, TIERS, Acting, Points
from gateway.authzen.wire import LIMIT_MAX, Action, ActionSearch, Entity, Page, ResourceSearch, SubjectSearch
from gateway.callers import Caller
from gateway.contract import Outcome
from gateway.owners import Owner
from gateway.routes import IDENTIFIER
from infra.chassis.canonical import parameters_sha256
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import BodyInvalid, NotFound

_TOKEN: Final = re.compile(r"([0-9a-f]{64}) ([a-z0-9_:]{0,80})")
NOTHING: Final[dict[str, Any]] = {"results": []}


@dataclass(frozen=True, slots=True)
class Candidates:
    """In the order of their ids; `more` when the page ends before they do."""

    ids: Sequence[str]
    more: bool


class Searches:
    def __init__(self, engine: AsyncEngine, points: Points) -> None:
        self._engine = engine
        self._points = points

    async def resources(self, asked: ResourceSearch, point: Caller) -> dict[str, Any]:
        """What the subject may do this with. Raises BodyInvalid."""
        position = _Position.of(asked, asked.page)
        if asked.action.name not in ACTIONS.get(asked.resource.type, ()):
            return NOTHING
        try:
            acting = await self._points.acting(asked.subject, point)
            found = await self._resources_of(acting, asked.resource.type, position, point)
        except NotFound:
            return NOTHING
        kind = asked.resource.type
        tried = [Entity(type=kind, id=one) for one in found.ids]
        allowed = [one.id for one in tried if await self._allowed(asked.subject, asked.action, one, point)]
        return _results([{"type": kind, "id": one} for one in allowed], found, position)

    async def subjects(self, asked: SubjectSearch, point: Caller) -> dict[str, Any]:
        """In which open conversations it may be done with this resource. Raises BodyInvalid."""
        position = _Position.of(asked, asked.page)
        if asked.subject.type != "conversation" or asked.action.name not in ACTIONS.get(asked.resource.type, ()):
            return NOTHING
        try:
            found = await self._conversations_for(asked.resource, position, point)
        except NotFound:
            return NOTHING
        tried = [Entity(type="conversation", id=one) for one in found.ids]
        allowed = [one.id for one in tried if await self._allowed(one, asked.action, asked.resource, point)]
        return _results([{"type": "conversation", "id": one} for one in allowed], found, position)

    async def actions(self, asked: ActionSearch, point: Caller) -> dict[str, Any]:
        """What the subject may do with the resource; a refund: all that is left of it."""
        _Position.of(asked, asked.page)
        names = []
        for name in ACTIONS.get(asked.resource.type, ()):
            properties = await self._whole_refund(asked.resource, point) if name == "refund" else {}
            if await self._allowed(asked.subject, Action(name=name, properties=properties), asked.resource, point):
                names.append({"name": name})
        return {"results": names}

    async def _allowed(self, subject: Entity, action: Action, resource: Entity, point: Caller) -> bool:
        try:
            view = await self._points.decide(subject, action, resource, point)
        except NotFound:
            return False
        return view.outcome is Outcome.ALLOW

    async def _resources_of(self, acting: Acting, kind: str, position: "_Position", point: Caller) -> Candidates:
        """Raises NotFound."""
        if kind in {"conversation", "memories"}:
            if acting.conversation_id is None:
                raise NotFound
            ids = [acting.conversation_id]
            if kind == "memories":
                ids = [f"{acting.conversation_id}:{tier}" for tier in sorted(TIERS)]
            left = [one for one in ids if one > position.after]
            return Candidates(left[: position.limit], len(left) > position.limit)
        brand_ids = acting.caller.brand_ids if acting.conversation is None else {acting.conversation.brand_id}
        subject_id = None if acting.conversation is None else acting.conversation.subject_id
        values = {"brand_ids": sorted(brand_ids), "subject_id": subject_id, "anybody": acting.conversation is None}
        return await self._found(_RESOURCES[kind], values, position, point)

    async def _conversations_for(self, resource: Entity, position: "_Position", point: Caller) -> Candidates:
        """Open ones of the resource's brand and, if it is somebody's, of that person. Raises NotFound."""
        if resource.type in {"conversation", "memories"}:
            named = resource.id.partition(":")[0]
            return Candidates([named] if named > position.after and position.limit else [], more=False)
        owner = await self._owner(resource, point)
        point.require_brand(owner.brand_id)
        values = {"brand_ids": [owner.brand_id], "subject_id": owner.subject_id, "anybody": owner.subject_id is None}
        return await self._found(_CONVERSATIONS, values, position, point)

    async def _owner(self, resource: Entity, point: Caller) -> Owner:
        look_up = {"checkout": owners.of_checkout, "purchase": owners.of_purchase, "mandate": owners.of_mandate}
        if resource.type not in look_up or IDENTIFIER.fullmatch(resource.id) is None:
            raise NotFound
        async with tenant_transaction(self._engine, point.tenant_id) as tx:
            return await look_up[resource.type](tx, point.tenant_id, resource.id)

    async def _found(
        self, query: TextClause, values: Mapping[str, Any], position: "_Position", point: Caller
    ) -> Candidates:
        key = {"tenant_id": point.tenant_id, "after": position.after, "limit": position.limit + 1, **values}
        async with tenant_transaction(self._engine, point.tenant_id) as tx:
            ids = [str(one) for one in (await tx.execute(query, key)).scalars()]
        return Candidates(ids[: position.limit], len(ids) > position.limit)

    async def _whole_refund(self, resource: Entity, point: Caller) -> dict[str, Any]:
        """At least one cent: of nothing left, a cent is too much as well."""
        key = {"tenant_id": point.tenant_id, "purchase_id": resource.id if IDENTIFIER.fullmatch(resource.id) else ""}
        async with tenant_transaction(self._engine, point.tenant_id) as tx:
            left = (await tx.execute(_LEFT, key)).scalar_one_or_none()
        return {"amount_minor": max(int(left or 0), 1)}


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page begins. The token holds the hash of everything else in the request: it must stay the same."""

    question_sha256: str
    after: str
    limit: int

    @classmethod
    def of(cls, asked: msgspec.Struct, page: Page) -> "_Position":
        """Raises BodyInvalid for a token that is not ours or of another question (section 8.2)."""
        said = msgspec.to_builtins(msgspec.structs.replace(asked, page=Page(limit=page.limit)))
        question, limit = parameters_sha256(_without_fractions(said)), min(page.limit, LIMIT_MAX)
        if not page.token:
            return cls(question, "", limit)
        try:
            found = _TOKEN.fullmatch(base64.urlsafe_b64decode(page.token.encode("ascii")).decode("ascii"))
        except (ValueError, binascii.Error):
            found = None
        if found is None or found[1] != question:
            raise BodyInvalid(detail="The page's token is not of this question.")
        return cls(question, found[2], limit)

    def token_after(self, key: str) -> str:
        return base64.urlsafe_b64encode(f"{self.question_sha256} {key}".encode()).decode()


def _without_fractions(value: Any) -> Any:
    """As text: what is hashed has whole numbers only."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {name: _without_fractions(item) for name, item in value.items()}
    return [_without_fractions(item) for item in value] if isinstance(value, list) else value


def _results(shown: Sequence[Mapping[str, Any]], found: Candidates, position: _Position) -> dict[str, Any]:
    last = found.ids[-1] if found.ids else position.after
    token = position.token_after(last) if found.more else ""
    return {"page": {"next_token": token, "count": len(shown)}, "results": list(shown)}


_CHECKOUTS: Final = text(
    "SELECT checkout_id FROM quotes WHERE tenant_id = :tenant_id AND brand_id = ANY(CAST(:brand_ids AS text[]))"
    " AND (CAST(:anybody AS boolean) OR subject_id IS NULL OR subject_id = :subject_id) AND checkout_id > :after"
    " ORDER BY checkout_id LIMIT :limit"
)
_PURCHASES: Final = text(
    "SELECT purchase_id FROM purchases WHERE tenant_id = :tenant_id AND brand_id = ANY(CAST(:brand_ids AS text[]))"
    " AND (CAST(:anybody AS boolean) OR subject_id = :subject_id) AND purchase_id > :after"
    " ORDER BY purchase_id LIMIT :limit"
)
_MANDATES: Final = text(
    "SELECT mandate_id FROM mandates WHERE tenant_id = :tenant_id AND brand_id = ANY(CAST(:brand_ids AS text[]))"
    " AND (CAST(:anybody AS boolean) OR subject_id = :subject_id) AND mandate_id > :after"
    " ORDER BY mandate_id LIMIT :limit"
)
_RESOURCES: Final = {"checkout": _CHECKOUTS, "purchase": _PURCHASES, "mandate": _MANDATES}
_CONVERSATIONS: Final = text(
    "SELECT conversation_id FROM conversations WHERE tenant_id = :tenant_id AND closed_at IS NULL"
    " AND brand_id = ANY(CAST(:brand_ids AS text[])) AND (CAST(:anybody AS boolean) OR subject_id = :subject_id)"
    " AND conversation_id > :after ORDER BY conversation_id LIMIT :limit"
)
_LEFT: Final = text(
    "SELECT p.amount_minor - coalesce((SELECT sum(f.amount_minor) FROM refunds f WHERE f.tenant_id = p.tenant_id"
    " AND f.purchase_id = p.purchase_id AND f.state <> 'failed'), 0)::bigint FROM purchases p"
    " WHERE p.tenant_id = :tenant_id AND p.purchase_id = :purchase_id"
)
