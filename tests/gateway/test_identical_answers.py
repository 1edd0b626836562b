"""Foreign and missing are one answer, for every field of every operation that takes an id: bytes, headers, statements.

The list of fields is read from the OpenAPI document, so a new route is in it without anybody's doing; a new kind of id
fails here until somebody says whose things of that kind there can be.
"""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from tests.gateway.shop import (
    CART,
    LARKSPUR,
    MCP,
    OTHER_AGENT,
    SOUTH_AGENT,
    SOUTHERN,
    TSUBAKI,
    Shop,
    Talk,
)

MISSING = {
    "brand": "brd_nothing",
    "challenge": "chl_nothing",
    "checkout": "cko_nothing",
    "conversation": "cnv_nothing",
    "decision": "dec_nothing",
    "destination": "dst_nothing",
    "mandate": "mnd_nothing",
    "memory": "mem_nothing",
    "preparation": "prp_nothing",
    "purchase": "pur_nothing",
    "tenant": "tnt_nothing",
}
VALUES: dict[str, Any] = {
    "amount_minor": 100,
    "cart_sha256": CART,
    "channel": "chat",
    "code": "000000",
    "currency": "USD",
    "description": "One lamp",
    "identity": "no.passport.at-all",
    "method": "email_code",
    "request_key": "a-key-of-ours",
    "state": "paid",
    "template": "{}",
    "text": "Prefers brass lamps.",
    "tile_path": "0/000",
}
"""What stands in the fields that are required and take no id."""
CHOSEN_BY_THE_CALLER = {("put", "/v1/quotes/{checkout_id}", "checkout")}
"""Whoever makes an id up there makes the thing: mcp_server, which is trusted with that."""
ANSWERED_ALIKE = [
    "get /v1/challenges/{challenge_id} challenge_id",  # how one by link or phone stands; this one is by e-mail
    "post /v1/forward destination_id",  # an agent without the scope is told nothing of destinations
    "post /v1/erasures memory_id",  # afterwards it is not there, whether or not it was before
    "post /v1/recalls preparation_id",  # a preparation makes an answer sooner and never another one
    "get /v1/purchases brand_id",
    "put /v1/quotes/{checkout_id} checkout_id",  # these three are mcp_server's
    "put /v1/quotes/{checkout_id} brand_id",
]
UNLIKE_EACH_TIME = {"request_id", "decision_id", "leaf_sha256", "signed_at", "signature"}
DIRECTORY = re.compile(
    r"client_directory|^SELECT set_config|rate_buckets|rate_limits|synchronous_commit"
    r"|^SELECT subject_id FROM conversations"
)
"""Before anything is looked at. Who calls, and its limits, are remembered for ten seconds; limits lease a share
when theirs is used up, and remember the person of a caller's own conversation (limits/subjects.py)."""


@dataclass(frozen=True, slots=True)
class Place:
    """One field of one operation that takes an id; `where` is path, query or body."""

    method: str
    path: str
    where: str
    name: str
    fields: tuple[tuple[str, str, Any], ...]
    """Of the whole operation: the place, the name and, where it is fixed, the value of everything that is sent."""

    @property
    def kind(self) -> str:
        return self.name.removesuffix("_id")

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.name}"


def places_in(document: dict[str, Any]) -> Iterator[Place]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith("/v1/"):
                given = [(one["in"], one["name"], None, one["required"]) for one in operation.get("parameters", ())]
                always = [one[:3] for one in given if one[3] or one[1] == "conversation_id"]
                for body in _bodies(document, operation):
                    for where, name, _ in (*always, *body):
                        if name.endswith("_id"):
                            yield Place(method, path, where, name, (*always, *body))
                    for one in (each[:3] for each in given if each[1].endswith("_id")):
                        if one not in always:
                            yield Place(method, path, one[0], one[1], (one, *always, *body))


def _bodies(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[list[tuple[str, str, Any]]]:
    """The fields of each body that the operation takes; one without any if it takes none."""
    if "requestBody" not in operation:
        yield []
        return
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    for one in schema.get("oneOf", [schema]):
        described = document["components"]["schemas"][one["$ref"].rpartition("/")[2]]
        required = described.get("required", ())
        yield [
            ("body", name, each.get("const"))
            for name, each in described["properties"].items()
            if name in required or name.endswith("_id")
        ]


@dataclass(slots=True)
class World:
    """One caller with what is its own, by kind, and what is others', by kind and whose."""

    bearer: str
    own: dict[str, str]
    foreign: dict[str, dict[str, str]]


@pytest.fixture
async def worlds(shop: Shop) -> dict[str, World]:
    ada_email, eve_email = (f"{secrets.token_hex(6)}@example.com" for _ in range(2))
    ada, eve = await shop.buyer(ada_email), await shop.buyer(eve_email)
    tsubaki = await shop.verified_chat(agent=OTHER_AGENT, brand_id=TSUBAKI)
    south = await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)
    closed = await shop.verified_chat()
    adas, eves = await shop.assistant(ada_email), await shop.assistant(eve_email)
    own = await _things(shop, ada, LARKSPUR)
    hers = await _things(shop, eve, LARKSPUR) | {"checkout": await _quoted_for(eves)}
    others = {
        "tenant": await _southern(shop, south),
        "brand": await _things(shop, tsubaki, TSUBAKI),
        "person": {kind: hers[kind] for kind in ("checkout", "purchase", "mandate", "memory")},
        "closed": {"conversation": closed.conversation_id, "challenge": await _challenge(closed)},
    }
    for of_the_tenant in ("decision", "tenant"):  # the record is a tenant's: its readers see all brands' decisions
        del others["brand"][of_the_tenant]
    assert (await closed.call("DELETE", f"/v1/conversations/{closed.conversation_id}")).status_code == 204
    for_agent = others | {"caller": {"conversation": adas.conversation_id, "challenge": await _challenge(adas)}}
    his = {**own, "conversation": adas.conversation_id, "challenge": await _challenge(adas)}
    for_assistant = others | {"caller": {"conversation": ada.conversation_id, "challenge": own["challenge"]}}
    for_assistant["person"] |= {"conversation": eves.conversation_id, "challenge": await _challenge(eves)}
    return {
        "agent": World(await ada.bearer(), own, _by_kind(for_agent)),
        "assistant": World(await adas.bearer(), his, _by_kind(for_assistant)),
        "mcp_server": World(await shop.bearer(MCP), own, _by_kind({"tenant": {"brand": SOUTHERN}})),
    }


async def _things(shop: Shop, talk: Talk, brand_id: str) -> dict[str, str]:
    """One thing of each kind, of the conversation's brand and person."""
    bought = await shop.checkout(brand_id=brand_id)
    mandate = {"brand_id": brand_id, "delegates": [f"agents:{brand_id}"]}
    kept = (await talk.post("/v1/memories", text="Prefers brass lamps.")).json()
    return {
        "brand": brand_id,
        "tenant": talk.tenant_id,
        "challenge": await _challenge(talk),
        "checkout": await shop.checkout(brand_id=brand_id),
        "conversation": talk.conversation_id,
        "decision": kept["decision"]["receipt"]["decision_id"],
        "destination": "dst_anything",
        "mandate": await shop.mandate(talk, payment_cap=9_000, day_cap=9_000, **mandate),
        "memory": kept["memory_id"],
        "preparation": (await talk.post("/v1/recalls/preparations")).json()["preparation_id"],
        "purchase": (await talk.buy(bought))["purchase_id"],
    }


async def _southern(shop: Shop, talk: Talk) -> dict[str, str]:
    """As above in the other tenant, which no mcp_server serves: so its checkout and purchase are written down here."""
    suffix = secrets.token_hex(6)
    quoted, bought = (
        f"INSERT INTO {table} ({columns}, tenant_id, checkout_id, brand_id, subject_id, client_id, cart_sha256,"  # noqa: S608 - constants only
        f" amount_minor, currency) VALUES ({values}, 'tnt_south', 'cko_{suffix}', 'brd_southern', :subject, 'agt_x',"
        " 'ab', 100, 'USD') RETURNING checkout_id"
        for table, columns, values in (
            ("quotes", "description, quoted_at, expires_at", "'x', now(), now() + interval '1 hour'"),
            (
                "purchases",
                "purchase_id, conversation_id, state, decision_id, reservation_id, created_at",
                f"'pur_{suffix}', 'cnv_x', 'failed', 'dec_x', 'rsv_x', now()",
            ),
        )
    )
    for statement in (quoted, bought):
        assert await shop.rows(statement, talk.tenant_id, subject=talk.subject_id)
    mandate = {"brand_id": SOUTHERN, "delegates": [f"agents:{SOUTHERN}"]}
    kept = (await talk.post("/v1/memories", text="Prefers brass lamps.")).json()
    return {
        "brand": SOUTHERN,
        "tenant": talk.tenant_id,
        "challenge": await _challenge(talk),
        "checkout": f"cko_{suffix}",
        "conversation": talk.conversation_id,
        "decision": kept["decision"]["receipt"]["decision_id"],
        "destination": "dst_anything",
        "mandate": await shop.mandate(talk, payment_cap=9_000, day_cap=9_000, **mandate),
        "memory": kept["memory_id"],
        "preparation": (await talk.post("/v1/recalls/preparations")).json()["preparation_id"],
        "purchase": f"pur_{suffix}",
    }


async def _challenge(talk: Talk) -> str:
    path = f"/v1/conversations/{talk.conversation_id}/challenges"
    sent = await talk.call("POST", path, {"method": "email_code"})
    assert sent.status_code == 201, sent.text
    return str(sent.json()["challenge_id"])


async def _quoted_for(talk: Talk) -> str:
    checkout_id = f"cko_{secrets.token_hex(6)}"
    quote = {name: VALUES[name] for name in ("cart_sha256", "amount_minor", "currency", "description")}
    answer = await talk.call("PUT", f"/v1/quotes/{checkout_id}", {**quote, "brand_id": LARKSPUR})
    assert answer.status_code == 200, answer.text
    return checkout_id


def _by_kind(others: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for whose, things in others.items():
        for kind, identifier in things.items():
            found.setdefault(kind, {})[whose] = identifier
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    """Its bytes, but for what is another each time."""
    statements: tuple[str, ...]


async def _ask(shop: Shop, world: World, place: Place, identifier: str) -> Answer:
    """The operation with this id in its place, and with what is the caller's own in all others."""
    sent: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "body": {}}
    for where, name, fixed in place.fields:
        if (where, name) == (place.where, place.name):
            sent[where][name] = identifier
        elif fixed is not None:
            sent[where][name] = fixed
        else:
            sent[where][name] = world.own[name.removesuffix("_id")] if name.endswith("_id") else VALUES[name]
    with _statements(shop) as statements:
        answer = await shop.call(
            place.method.upper(),
            place.path.format(**sent["path"]),
            world.bearer,
            sent["body"] if any(where == "body" for where, *_ in place.fields) else None,
            **sent["query"],
        )
    headers = [(name, value) for name, value in answer.headers.items() if name not in {"x-request-id", "date"}]
    return Answer(answer.status_code, tuple(headers), _same_each_time(answer), tuple(statements))


@contextmanager
def _statements(shop: Shop) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if DIRECTORY.search(statement) is None:
            seen.append(statement)

    engine = shop.gateway.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _same_each_time(answer: httpx2.Response) -> str:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: "" if name in UNLIKE_EACH_TIME else without(item) for name, item in value.items()}
        return [without(item) for item in value] if isinstance(value, list) else value

    return json.dumps(without(answer.json())) if answer.content else ""


@pytest.mark.control("UC-7.4")
@pytest.mark.parametrize("who", ["agent", "assistant", "mcp_server"])
async def test_what_is_anothers_is_answered_as_what_never_was(shop: Shop, worlds: dict[str, World], who: str):
    world = worlds[who]
    compared = 0

    for place in places_in((await shop.client.get("/schema/openapi.json")).json()):
        if (place.method, place.path, place.kind) in CHOSEN_BY_THE_CALLER:
            continue
        missing = await _ask(shop, world, place, MISSING[place.kind])
        wrong_kind = await _ask(shop, world, place, world.own["mandate" if place.kind != "mandate" else "purchase"])
        assert wrong_kind == missing, place
        for whose, identifier in world.foreign.get(place.kind, {}).items():
            assert await _ask(shop, world, place, identifier) == missing, (str(place), whose)
            compared += 1

    assert compared >= {"agent": 40, "assistant": 40, "mcp_server": 2}[who]


@pytest.mark.control("UC-7.4")
async def test_what_is_the_callers_own_is_answered_otherwise(shop: Shop, worlds: dict[str, World]):
    """Or the test above would compare refusals that have nothing to do with whose it is."""
    world = worlds["agent"]
    same = []
    places = list(places_in((await shop.client.get("/schema/openapi.json")).json()))

    for place in sorted(places, key=lambda one: (one.method == "delete", one.name == "conversation_id")):
        missing = await _ask(shop, world, place, MISSING[place.kind])
        if await _ask(shop, world, place, world.own[place.kind]) == missing:
            same.append(f"{place.method} {place.path} {place.name}")

    assert sorted(same) == sorted(ANSWERED_ALIKE)


@pytest.mark.control("UC-7.4")
async def test_whoever_else_names_a_checkout_takes_no_lock_on_it(shop: Shop, worlds: dict[str, World]):
    world = worlds["agent"]
    names = ("checkout_id", "cart_sha256", "conversation_id")
    place = Place("post", "/v1/purchases", "body", "checkout_id", tuple(("body", name, None) for name in names))

    refused = await _ask(shop, world, place, world.foreign["checkout"]["person"])
    allowed = await _ask(shop, world, place, world.own["checkout"])

    assert refused.status == 404
    assert not [statement for statement in refused.statements if "FOR " in statement]
    assert [statement for statement in allowed.statements if "FOR NO KEY UPDATE" in statement]
