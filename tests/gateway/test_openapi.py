"""The document at `/schema` is true: schemathesis asks everything it describes and holds each answer to it."""

import asyncio
import copy
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err, Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateway.shop import CART, LARKSPUR, MCP, Shop, Talk
from tests.support.cases import always
from tests.support.waiting import BUSY_SECONDS_MAX

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 6
"""Of each operation, for each caller: some 500 requests, 8 s."""
LAST = ("erasures", "revocations")
"""What ends the things that the other operations ask about comes after them, and closing the conversation last."""
AnyCase = Case[Any]
Described = APIOperation[Any, Any, Any, Any]
Send = Callable[[str, str, dict[str, Any]], httpx2.Response]


@dataclass(frozen=True, slots=True)
class Asked:
    """One caller with what it really has: ids by the name of the field that takes them."""

    bearer: str
    known: dict[str, str]


async def _known(shop: Shop, talk: Talk) -> dict[str, str]:
    checkout_id = await shop.checkout()
    bought = await shop.paid(talk, checkout_id)
    mandates = await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)
    kept = await talk.post("/v1/memories", text="Prefers brass lamps.")
    return {
        "brand_id": LARKSPUR,
        "cart_sha256": CART,
        "checkout_id": checkout_id,
        "conversation_id": talk.conversation_id,
        "decision_id": kept.json()["decision"]["receipt"]["decision_id"],
        "mandate_id": mandates.json()["mandates"][0]["mandate_id"],
        "memory_id": kept.json()["memory_id"],
        "purchase_id": bought["purchase_id"],
        "state": "paid",
    }


async def _agent(shop: Shop) -> Asked:
    talk = await shop.buyer(payment_cap=50_000, day_cap=90_000)
    sent = await talk.call("POST", f"/v1/conversations/{talk.conversation_id}/challenges", {"method": "email_code"})
    return Asked(await talk.bearer(), {**await _known(shop, talk), "challenge_id": sent.json()["challenge_id"]})


async def _assistant(shop: Shop) -> Asked:
    talk = await shop.assistant(f"{secrets.token_hex(6)}@example.com")
    await shop.mandate(talk, payment_cap=50_000, day_cap=90_000)
    return Asked(await talk.bearer(), await _known(shop, talk))


async def _mcp_server(shop: Shop) -> Asked:
    return Asked(await shop.bearer(MCP), await _known(shop, await shop.buyer()))


def _operations(document: dict[str, Any]) -> Iterator[Described]:
    described = list(schemathesis.openapi.from_dict(document).get_all_operations())
    assert not [one for one in described if isinstance(one, Err)]
    found = [one.ok() for one in described if isinstance(one, Ok)]
    api = [operation for operation in found if operation.path.startswith("/v1/")]
    yield from sorted(api, key=lambda one: (one.method == "delete", one.path.endswith(LAST), one.label))


def _with(case: AnyCase, known: dict[str, str], taken: int, optional: frozenset[str]) -> AnyCase:
    """Every field that names something we have names that, if its bit is set: so that not all ends at 404."""
    body = case.body if isinstance(case.body, dict) else {}
    for bit, (name, value) in enumerate(sorted(known.items())):
        if taken >> bit & 1:
            for place in (case.path_parameters, case.query, body):
                if name in place:
                    place[name] = value
            if body and name in optional:
                body[name] = value
    return case


def _body_fields(document: dict[str, Any], operation: Described) -> frozenset[str]:
    """What every body of the operation may say."""
    described = document["paths"][operation.path][operation.method].get("requestBody")
    if described is None:
        return frozenset()
    schema = described["content"]["application/json"]["schema"]
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("oneOf", [schema])]
    fields = [frozenset(document["components"]["schemas"][name]["properties"]) for name in names]
    return fields[0].intersection(*fields)


def _hold_to_the_document(
    operation: Described, asked: Asked, fields: frozenset[str], send: Send, examples: int = EXAMPLES
) -> list[int]:
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])
    everything = 2 ** len(asked.known) - 1
    statuses = []

    @always(examples, *HealthCheck, phases=[Phase.generate])
    @given(case=cases, taken=st.just(everything) | st.integers(0, everything))
    def ask(case: AnyCase, taken: int) -> None:
        case = _with(case, asked.known, taken, fields)
        given = case.as_transport_kwargs(base_url="http://gateway.test")
        headers = {**given["headers"], "Authorization": f"Bearer {asked.bearer}"}
        body: dict[str, Any] = {name: given[name] for name in ("json", "data", "params") if name in given}
        if isinstance(body.get("data"), bytes):
            body["content"] = body.pop("data")
        answer = send(given["method"], given["url"], {**body, "headers": headers})
        statuses.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    return statuses


@pytest.fixture
async def send(shop: Shop) -> Send:
    """From the thread in which hypothesis runs to the loop in which the gateway does."""
    loop = asyncio.get_running_loop()

    def ask(method: str, url: str, request: dict[str, Any]) -> httpx2.Response:
        return asyncio.run_coroutine_threadsafe(shop.client.request(method, url, **request), loop).result(
            BUSY_SECONDS_MAX
        )

    return ask


@pytest.mark.parametrize(("who", "answered_min"), [(_agent, 12), (_assistant, 9), (_mcp_server, 1)])
async def test_every_operation_answers_as_the_document_says_and_never_with_an_error_of_ours(
    shop: Shop, send: Send, who: Callable[[Shop], Any], answered_min: int
):
    asked: Asked = await who(shop)
    document = (await shop.client.get("/schema/openapi.json")).json()

    statuses = {
        one.label: await asyncio.to_thread(_hold_to_the_document, one, asked, _body_fields(document, one), send)
        for one in _operations(document)
    }

    answered = [label for label, seen in statuses.items() if any(status < 300 for status in seen)]
    assert len(statuses) == sum(len(item) for path, item in document["paths"].items() if path.startswith("/v1/"))
    assert len(answered) >= answered_min, statuses


async def test_a_document_that_says_something_else_is_found_out(shop: Shop, send: Send):
    asked = await _agent(shop)
    document = (await shop.client.get("/schema/openapi.json")).json()
    path = "/v1/conversations/{conversation_id}"
    lies: list[dict[str, Any]] = [copy.deepcopy(document) for _ in range(3)]
    del lies[0]["paths"][path]["get"]["responses"]["404"]
    lies[1]["components"]["schemas"]["ConversationView"]["required"].append("subject_id")
    lies[2]["paths"][path]["get"]["responses"]["404"]["content"] = {"text/plain": {"schema": {"type": "string"}}}

    for lie in lies:
        (operation,) = [one for one in _operations(lie) if one.label == f"GET {path}"]
        with pytest.raises(FailureGroup):
            await asyncio.to_thread(_hold_to_the_document, operation, asked, frozenset(), send, 30)


async def test_every_operation_of_the_api_says_that_it_needs_a_bearer_and_how_it_refuses(shop: Shop):
    document = (await shop.client.get("/schema/openapi.json")).json()

    for path, item in document["paths"].items():
        for operation in item.values():
            if path.startswith("/v1/"):
                assert operation["security"] == [{"bearer": []}]
                assert {"401", "403", "404", "409", "429", "500", "503"} <= operation["responses"].keys()
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    (content,) = answer["content"].values()
                    assert content["examples"], (path, status)
