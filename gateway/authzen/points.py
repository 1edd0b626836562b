"""Enforcement points ask whether somebody may do something; we look up who that is, and decide as for the act itself.

A subject is a *conversation* (its caller, its person, its evidence) or an *agent*; a resource is one of our objects by
its id. An enforcement point is trusted to enforce, not to know: no property it sends becomes a fact. What is not of its
tenant and brands is answered as what does not exist.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import owners
from gateway.authzen.wire import Action, Entity, Evaluation
from gateway.callers import Caller, CallerKind
from gateway.contract import (
    ACR,
    DecisionRequest,
    DecisionView,
    Outcome,
    RemedyKind,
)
from gateway.enquiries import Enquiries
from gateway.oauth.consents import live_consent
from gateway.oauth.machines import Machines
from gateway.owners import Owner
from gateway.routes import IDENTIFIER
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import BodyInvalid, NotFound

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkout": ("purchase",),
    "purchase": ("refund",),
    "mandate": ("revoke_mandate",),
    "memories": ("recall",),
    "conversation": ("remember", "forget", "read_mandates"),
}
"""Resource type → what can be done with it. `conversation` is the person in it."""
OBLIGATIONS: Final = "obligations"
STEP_UP: Final = "step-up"


@dataclass(frozen=True, slots=True)
class Acting:
    """Who would act: a caller of ours as it stands in the store, in a conversation or by itself."""

    caller: Caller
    conversation: Owner | None
    conversation_id: str | None


class Points:
    def __init__(self, engine: AsyncEngine, enquiries: Enquiries, machines: Machines, clock: Clock) -> None:
        self._engine = engine
        self._enquiries = enquiries
        self._machines = machines
        self._clock = clock

    async def evaluate(self, asked: Evaluation, point: Caller) -> dict[str, Any]:
        """A decision (section 5.5), recorded. Foreign and unknown things are denied alike and leave no entry.

        Raises BodyInvalid for an action's parameter that is missing or of the wrong kind.
        """
        try:
            return answer_of(await self.decide(asked.subject, asked.action, asked.resource, point), asked.context)
        except NotFound:
            return refused(NotFound.status, NotFound.detail)

    async def decide(self, subject: Entity, action: Action, resource: Entity, point: Caller) -> DecisionView:
        """Raises NotFound, BodyInvalid."""
        if action.name not in ACTIONS.get(resource.type, ()):
            raise NotFound
        acting = await self.acting(subject, point)
        enquiry = await self._enquiry(acting, action, resource)
        return await self._enquiries.answer(enquiry, acting.caller)

    async def acting(self, subject: Entity, point: Caller) -> Acting:
        """Raises NotFound for whoever is not of the enforcement point's tenant and brands, and for a closed one."""
        if IDENTIFIER.fullmatch(subject.id) is None:
            raise NotFound
        if subject.type == "agent":
            return Acting(await self._agent(subject.id, point), None, None)
        if subject.type != "conversation":
            raise NotFound
        async with tenant_transaction(self._engine, point.tenant_id) as tx:
            owner = await owners.of_conversation(tx, point.tenant_id, subject.id)
            consent = await tx.run_sync(live_consent, point.tenant_id, subject.id, self._clock.now())
        point.require_brand(owner.brand_id)
        if owner.closed or owner.client_id is None:
            raise NotFound
        if consent is None:
            return Acting(await self._agent(owner.client_id, point), owner, subject.id)
        assistant = Caller(
            kind=CallerKind.ASSISTANT,
            client_id=consent.client_id,
            tenant_id=consent.tenant_id,
            brand_ids=frozenset({consent.brand_id}),
            scopes=consent.scopes,
            subject_id=consent.subject_id,
            conversation_id=subject.id,
        )
        return Acting(assistant, owner, subject.id)

    async def _agent(self, client_id: str, point: Caller) -> Caller:
        machine = await self._machines.find(client_id)
        if machine is None or machine.kind is not CallerKind.AGENT or machine.tenant_id != point.tenant_id:
            raise NotFound
        if not machine.brand_ids & point.brand_ids:
            raise NotFound
        return Caller(
            kind=machine.kind,
            client_id=machine.client_id,
            tenant_id=machine.tenant_id,
            brand_ids=machine.brand_ids & point.brand_ids,
            scopes=machine.scopes,
        )

    async def _enquiry(self, acting: Acting, action: Action, resource: Entity) -> DecisionRequest:
        make = _ENQUIRIES[action.name]
        given = dict(action.properties)
        if action.name == "purchase" and "cart_sha256" not in given and IDENTIFIER.fullmatch(resource.id):
            given["cart_sha256"] = await self._cart(acting, resource.id)
        try:
            enquiry: DecisionRequest = msgspec.convert(make(acting, resource, given), DecisionRequest, strict=True)
        except msgspec.ValidationError:
            raise BodyInvalid(detail="A parameter of the action is missing or of the wrong kind.") from None
        return enquiry

    async def _cart(self, acting: Acting, checkout_id: str) -> str:
        """Without a claim about the cart it is asked about the checkout as it is quoted. Raises NotFound."""
        async with tenant_transaction(self._engine, acting.caller.tenant_id) as tx:
            return await _cart_of(tx, acting.caller.tenant_id, checkout_id)


async def _cart_of(tx: AsyncConnection, tenant_id: str, checkout_id: str) -> str:
    key = {"tenant_id": tenant_id, "checkout_id": checkout_id}
    cart = (await tx.execute(_CART, key)).scalar_one_or_none()
    if cart is None:
        raise NotFound
    return str(cart)


def answer_of(view: DecisionView, context: Mapping[str, Any]) -> dict[str, Any]:
    """Reasons, remedies and receipt of a decision; a step-up as an obligation for whoever says it enforces those."""
    said: dict[str, Any] = {
        "reasons": [reason.value for reason in view.reasons],
        "remedies": msgspec.to_builtins(view.remedies),
        "receipt": msgspec.to_builtins(view.receipt),
    }
    steps = [remedy.level for remedy in view.remedies if remedy.kind is RemedyKind.STEP_UP and remedy.level is not None]
    if steps and _enforces_step_up(context):
        said[OBLIGATIONS] = [
            {"id": f"{view.receipt.decision_id}-{place}", "type": STEP_UP, "properties": {"acr_value": f"{ACR}{level}"}}
            for place, level in enumerate(steps, 1)
        ]
    return {"decision": view.outcome is Outcome.ALLOW, "context": said}


def refused(status: int, message: str) -> dict[str, Any]:
    """Section 7.2.1: an error of one evaluation is a deny."""
    return {"decision": False, "context": {"error": {"status": status, "message": message}}}


def _enforces_step_up(context: Mapping[str, Any]) -> bool:
    """AuthZEN Obligations Extension, draft 1 of October 2026: only to whom has promised to fail closed on them."""
    adopted, types = context.get("supported_mandatory_extensions"), context.get("supported_obligations")
    return isinstance(adopted, list) and OBLIGATIONS in adopted and isinstance(types, list) and STEP_UP in types


def _in_conversation(acting: Acting, **fields: Any) -> dict[str, Any]:
    """Raises NotFound: this is done in a conversation only."""
    if acting.conversation_id is None:
        raise NotFound
    return {"conversation_id": acting.conversation_id, **fields}


def _about_person(action: str) -> Callable[[Acting, Entity, dict[str, Any]], dict[str, Any]]:
    def make(acting: Acting, resource: Entity, _given: dict[str, Any]) -> dict[str, Any]:
        if resource.id != acting.conversation_id:
            raise NotFound
        return _in_conversation(acting, action=action)

    return make


def _recall(acting: Acting, resource: Entity, _given: dict[str, Any]) -> dict[str, Any]:
    """Of the person in a conversation, up to a tier: `<conversation>:<tier>`."""
    named, _, tier = resource.id.partition(":")
    if named != acting.conversation_id or tier not in TIERS:
        raise NotFound
    return _in_conversation(acting, action="recall", tier=int(tier))


def _named(field: str, action: str, *parameters: str) -> Callable[[Acting, Entity, dict[str, Any]], dict[str, Any]]:
    def make(acting: Acting, resource: Entity, given: dict[str, Any]) -> dict[str, Any]:
        if IDENTIFIER.fullmatch(resource.id) is None:
            raise NotFound
        said = {name: given[name] for name in parameters if name in given}
        if action == "refund" and acting.conversation_id is None:
            return {"action": action, field: resource.id, **said}
        return _in_conversation(acting, action=action, **{field: resource.id}, **said)

    return make


TIERS: Final = frozenset("01234")
_ENQUIRIES: Final[Mapping[str, Callable[[Acting, Entity, dict[str, Any]], dict[str, Any]]]] = {
    "purchase": _named("checkout_id", "purchase", "cart_sha256"),
    "refund": _named("purchase_id", "refund", "amount_minor"),
    "revoke_mandate": _named("mandate_id", "revoke_mandate"),
    "recall": _recall,
    "remember": _about_person("remember"),
    "forget": _about_person("forget"),
    "read_mandates": _about_person("read_mandates"),
}
_CART: Final = text("SELECT cart_sha256 FROM quotes WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id")
