"""What the engine itself lets through, row by row (facts/gateway.md), and what becomes of it behind our door.

Each test shows first that the bare engine says allow, or says nothing; a row that a newer engine answers otherwise
fails here and can be struck from the facts.
"""

import json
from typing import Any

import cedarpy
import httpx2
import pytest

from gateway.cedar import FOLDER, Cedar, PoliciesUnusable, Question, Texts
from gateway.contract import Reason
from gateway.decide import decide_purchase
from gateway.facts import entity, ref
from tests.gateway import given
from tests.gateway.shop import CART, Shop

SCHEMA = (FOLDER / "schema.cedarschema").read_text()
PERMIT = '@id("within_mandate") permit (principal, action == Action::"purchase", resource);\n'
WRONG_BRAND = (
    '@id("payee_not_covered") forbid (principal, action == Action::"purchase", resource)'
    " unless { context.conversation.brand == resource.payee };\n"
)
OVERFLOWING = (
    '@id("over_payment_cap") forbid (principal, action == Action::"purchase", resource)'
    " when { resource.amount_minor * 4611686018427387904 * 4 > 0 };\n"
)
QUESTION = decide_purchase(Cedar.load(), given.purchase(), given.NOW).question


def asked(**changes: Any) -> Question:
    parts = {name: getattr(QUESTION, name) for name in ("action", "principal", "resource", "context", "entities")}
    return Question(**{**parts, **changes})


def bare(policies: str, question: Question, *, schema: str | None, entities_schema: str | None) -> Any:
    """The engine without our door."""
    known = cedarpy.Schema.from_str(schema) if schema else None
    typed = cedarpy.Schema.from_str(entities_schema) if entities_schema else None
    request = {
        "principal": dict(question.principal),
        "action": {"type": "Action", "id": question.action},
        "resource": dict(question.resource),
        "context": dict(question.context),
    }
    entities = cedarpy.Entities.from_json_str(json.dumps(question.entities), typed)
    return cedarpy.is_authorized(request, cedarpy.PolicySet.from_str(policies), entities, known)


def behind_our_door(policies: str, question: Question) -> tuple[bool, tuple[Reason, ...]]:
    verdict = Cedar.of_texts({"purchase": Texts(SCHEMA, policies)}).answer(question)
    return verdict.allowed, verdict.reasons


DENIED = (False, (Reason.EVALUATION_ERROR,))


@pytest.mark.control("UC-D.1")
def test_a_referenced_entity_that_is_missing_is_a_deny():
    question = asked(entities=tuple(item for item in QUESTION.entities if item["uid"]["type"] != "Conversation"))
    engine = bare(PERMIT + WRONG_BRAND, question, schema=SCHEMA, entities_schema=SCHEMA)

    assert engine.allowed
    assert engine.diagnostics.errors
    assert behind_our_door(PERMIT + WRONG_BRAND, question) == DENIED


@pytest.mark.control("UC-D.1")
def test_an_entity_without_its_attribute_is_a_deny():
    bald = entity("Conversation", QUESTION.context["conversation"]["__entity"]["id"], {})
    question = asked(
        entities=tuple(bald if item["uid"]["type"] == "Conversation" else item for item in QUESTION.entities)
    )
    engine = bare(PERMIT + WRONG_BRAND, question, schema=SCHEMA, entities_schema=None)

    assert engine.allowed
    assert engine.diagnostics.errors
    assert behind_our_door(PERMIT + WRONG_BRAND, question) == DENIED


@pytest.mark.control("UC-D.1")
def test_a_limit_that_overflows_is_a_deny():
    engine = bare(PERMIT + OVERFLOWING, QUESTION, schema=SCHEMA, entities_schema=SCHEMA)

    assert engine.allowed
    assert engine.diagnostics.errors
    assert behind_our_door(PERMIT + OVERFLOWING, QUESTION) == DENIED


@pytest.mark.control("UC-D.1")
def test_a_rule_about_an_action_that_the_schema_does_not_have_keeps_the_process_from_starting():
    silent = PERMIT + '@id("no_mandate") forbid (principal, action in Action::"Pay", resource);\n'
    engine = bare(silent, QUESTION, schema=None, entities_schema=None)

    assert engine.allowed
    assert not engine.diagnostics.errors
    with pytest.raises(PoliciesUnusable, match="Pay"):
        behind_our_door(silent, QUESTION)


@pytest.mark.control("UC-D.1")
async def test_a_body_with_the_same_key_twice_is_refused_before_anything_is_decided(shop: Shop):
    talk, checkout = await shop.verified_chat(), await shop.checkout()
    twice = f'{{"checkout_id":"{checkout}","conversation_id":"{talk.conversation_id}","cart_sha256":"{"0" * 64}",'
    twice += f'"cart_sha256":"{CART}"}}'

    answer = await shop.client.post(
        "/v1/purchases",
        content=twice,
        headers={"Authorization": f"Bearer {await talk.bearer()}", "Content-Type": "application/json"},
    )

    assert json.loads(twice)["cart_sha256"] == CART
    assert (answer.status_code, answer.json()["code"]) == (400, "body_invalid")


@pytest.mark.control("UC-D.1")
@pytest.mark.parametrize(
    "context",
    [
        {"level": 4.5},
        {"level": 2**64},
        {"level": "4"},
        {"level": True},
        {"is_admin": True},
        {"level": None},
        {"mandate": ref("Brand", "brd_larkspur")},
    ],
    ids=["fraction", "too large", "text", "true", "extra key", "missing", "another type"],
)
def test_a_context_that_does_not_fit_the_schema_is_a_deny(context: dict[str, Any]):
    whole = {name: value for name, value in {**QUESTION.context, **context}.items() if value is not None}
    question = asked(context=whole)
    engine = bare(PERMIT, question, schema=SCHEMA, entities_schema=SCHEMA)

    assert not engine.allowed
    assert behind_our_door(PERMIT, question) == DENIED
    assert behind_our_door(PERMIT, QUESTION) == (True, (Reason.WITHIN_MANDATE,))


@pytest.mark.control("UC-D.1")
def test_an_engine_that_fails_is_a_deny(monkeypatch: pytest.MonkeyPatch):
    cedar = Cedar.load()
    allowed_before = cedar.answer(QUESTION).allowed

    def failing(*_arguments: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(cedarpy, "is_authorized", failing)

    assert allowed_before
    assert (cedar.answer(QUESTION).allowed, cedar.answer(QUESTION).reasons) == DENIED


@pytest.mark.control("UC-D.1")
async def test_an_engine_that_fails_denies_through_the_front_door_and_says_so_in_the_record(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    talk, checkout = await shop.buyer(), await shop.checkout()

    def failing(*_arguments: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(cedarpy, "is_authorized", failing)
    answer: httpx2.Response = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)

    assert answer.json()["state"] == "denied"
    assert answer.json()["decision"]["reasons"] == [Reason.EVALUATION_ERROR]
    assert await shop.taken(talk) == 0
