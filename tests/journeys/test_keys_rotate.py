"""Every key that signs for a while rotates while five processes work: nobody notices, and the old ones are out."""

import asyncio
import json
import shutil
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import rotation
from gateway.bearers import Bearer, Bearers, CallerKind
from gateway.grants import GrantMint
from gateway.provision import provision
from gateway.settings import Keys, load_keys
from infra.bench.callers import agent_headers, first_brand
from infra.bench.mcp_server import Endpoint
from infra.bench.measuring import BenchFailed
from infra.bench.stage import JSON, Door
from infra.chassis.clock import SystemClock
from infra.chassis.ids import new_id
from infra.chassis.jwk import published
from infra.chassis.ring import KeyFiles
from infra.chassis.secret import Secret
from infra.dev import provisioning
from infra.dev.house import House
from infra.dev.settings import MCP_CLIENT_ID
from mcp_server.identity import ClientKey
from memory.contract import Action, RecallOrder, Tier
from tests.support.assistants import new_person
from tests.support.counter import Buyer, Counter, buyer, opened
from tests.support.waiting import wait_until

ANSWERS_BETWEEN: Final = 15
"""Of all callers together, after each step."""
CLIENT_KEY: Final = "mcp_server/client.pem"
Call = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Load:
    """Callers that ask again as soon as they are answered."""

    seen: Tally[str] = field(default_factory=Tally)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, name: str, call: Call) -> None:
        while not self.over.is_set():
            try:
                await call()
            except (BenchFailed, AssertionError, aiohttp.ClientError) as error:
                self.seen[f"{name}: {error}"] += 1
                return
            self.seen[name] += 1

    async def more(self) -> None:
        goal = self.seen.total() + ANSWERS_BETWEEN
        await wait_until(lambda: self.seen.total() >= goal)


@asynccontextmanager
async def loaded(calls: dict[str, Call]) -> AsyncIterator[Load]:
    load = Load()
    callers = [asyncio.create_task(load.keep(name, call)) for name, call in calls.items()]
    try:
        await load.more()
        yield load
    finally:
        load.over.set()
        await asyncio.gather(*callers)


@dataclass(slots=True)
class Former:
    """What somebody copied before the keys rotated, and what it made then."""

    keys: Keys
    client_key: Path
    agent: dict[str, str]

    @classmethod
    def copy(cls, house: House, to: Path) -> "Former":
        folder, client_key = to / "keys", to / "client.pem"
        shutil.copytree(house.keyring.path("gateway/keys"), folder)
        shutil.copy(house.keyring.path(CLIENT_KEY), client_key)
        return cls(load_keys(folder), client_key, new_headers(house))


@pytest.fixture
async def at(house: House) -> AsyncIterator[Counter]:
    async with opened(house) as made:
        yield made


@pytest.mark.control("UC-G.3")
async def test_every_key_rotates_under_load_without_a_failed_request_and_the_old_ones_are_out(
    house: House, at: Counter, tmp_path: Path
):
    who, former = await buyer(at), Former.copy(house, tmp_path)
    endpoint = first_brand(house)[1].resource_url
    async with new_person(house, endpoint) as person:
        calls: dict[str, Call] = {
            "an assistant with the bearer it has": lambda: recall_by_assistant(at, endpoint, person.bearer),
            "an assistant with a new bearer": lambda: recall_by_assistant(at, endpoint, renewed(house, person.bearer)),
            "an agent with the bearer it has, to memory": lambda: recall_by_agent(who, former.agent),
            "an agent with a new bearer, to memory": lambda: recall_by_agent(who, new_headers(house)),
            "an agent that pays, to the vault": lambda: pay(who),
        }
        async with loaded(calls) as load:
            await rotate_the_gateways(house, load)
            await rotate_mcp_servers(house, load)

    assert load.seen.keys() == calls.keys()
    assert min(load.seen.values()) > 1
    assert "client_key_read" in (house.logs / "mcp_server.log").read_text()
    assert kid(renewed(house, person.bearer)) != kid(person.bearer)
    await assert_the_old_are_out(at, former)


async def rotate_the_gateways(house: House, load: Load) -> None:
    """As `python -m gateway keys rotate --at-once` does, and whoever hands the public halves on."""
    folder = house.keyring.path("gateway/keys")
    for purpose in ("bearer", "grant", "sender"):
        await asyncio.to_thread(rotation.rotate, KeyFiles(folder, purpose), SystemClock().now(), at_once=True)
        await load.more()
        house.keyring.publish_grant_keys()
        await load.more()


async def rotate_mcp_servers(house: House, load: Load) -> None:
    """The next key is made known beside the old one, then it signs, then the old one is taken away."""
    following = Ed25519PrivateKey.generate()
    manifest = json.loads((house.folder / "manifest.json").read_text())
    manifest["mcp_servers"][0]["next_jwk"] = published(following.public_key()).document()
    await make_known(house, json.dumps(manifest).encode())
    await load.more()
    house.keyring.write(CLIENT_KEY, following.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    await load.more()
    written = provisioning.write(house.folder, house.keyring, house.urls["mcp_server"], house.urls["inbox"])
    await make_known(house, await asyncio.to_thread(written.read_bytes))
    await load.more()


async def make_known(house: House, manifest: bytes) -> None:
    await provision(Secret(house.databases["gateway"].owner_dsn), manifest, SystemClock())


async def assert_the_old_are_out(at: Counter, former: Former) -> None:
    """Once the time is over for which they were kept. The clock of a process cannot be moved: the end is moved here."""
    house = at.house
    asks = ("POST", "/v1/decisions", {"action": "purchase", **await (await buyer(at)).quoted()})
    during = [(await at.send(*asks, former.agent))[0], await recalled_with(at, former.keys)]
    with overlap_over(house, "bearer"), overlap_over(house, "grant"):
        after = [(await at.send(*asks, former.agent))[0], await recalled_with(at, former.keys)]
    new = await recalled_with(at, load_keys(house.keyring.path("gateway/keys")))
    tokens = [await token_for(at, key) for key in (former.client_key, house.keyring.path(CLIENT_KEY))]

    assert during == [200, 200], "what the old keys signed is good for a while"
    assert after == [401, 403]
    assert new == 200
    assert tokens == [400, 200]


@contextmanager
def overlap_over(house: House, purpose: str) -> Iterator[None]:
    """The retiring keys' ends are now past; afterwards as before, for those who still hold something of theirs."""
    path = KeyFiles(house.keyring.path("gateway/keys"), purpose).retiring
    before = path.read_bytes()
    ended = [{**key, "exp": int(time.time()) - 1} for key in json.loads(before)["keys"]]
    try:
        house.keyring.write(f"gateway/keys/{path.name}", json.dumps({"keys": ended}).encode())
        house.keyring.publish_grant_keys()
        yield
    finally:
        house.keyring.write(f"gateway/keys/{path.name}", before)
        house.keyring.publish_grant_keys()


async def recalled_with(at: Counter, keys: Keys) -> int:
    """The memory's answer to a grant, and its sender's proof, by these keys."""
    order = RecallOrder(
        tenant_id=at.tenant_id, brand_id=at.brand_id, subject_id=new_id("sub"), query="tea", tier_max=Tier.LOW
    )
    mint = GrantMint(keys.grant, at.house.urls["gateway"], SystemClock(), keys.sender)
    grant = mint.mint(
        audience="memory",
        action=Action.RECALL,
        actor="agt_test",
        tenant_id=order.tenant_id,
        brand_id=order.brand_id,
        subject_id=order.subject_id,
        decision_id=new_id("dec"),
        parameters=order,
    )
    headers = {**JSON, **mint.headers(grant, method="POST", path="/v1/recalls")}
    url = f"{at.house.urls['memory']}/v1/recalls"
    async with at.http.post(url, data=msgspec.json.encode(order), headers=headers) as answer:
        return answer.status


async def token_for(at: Counter, key: Path) -> int:
    """The token endpoint's answer to mcp_server with this key."""
    issuer = at.house.urls["gateway"]
    form = ClientKey(key, client_id=MCP_CLIENT_ID, issuer=issuer, clock=SystemClock()).fields()
    async with at.http.post(f"{issuer}/oauth/token", data={**form, "grant_type": "client_credentials"}) as answer:
        return answer.status


def new_headers(house: House) -> dict[str, str]:
    return agent_headers(house, first_brand(house)[1])


async def recall_by_assistant(at: Counter, endpoint: str, bearer: str) -> None:
    """Through mcp_server, which exchanges a bearer it has not seen with an assertion of its own, to memory."""
    await Endpoint(Door(at.http, endpoint), {**JSON, "Authorization": f"Bearer {bearer}"}).tool("recall", query="tea")


async def recall_by_agent(who: Buyer, headers: dict[str, str]) -> None:
    body = {"conversation_id": who.conversation_id, "query": "tea"}
    await who.counter.done("POST", "/v1/recalls", body, headers)


async def pay(who: Buyer) -> None:
    """As far as the card page, for which the vault is asked."""
    paid = await who.counter.done("POST", "/v1/purchases", await who.quoted())
    assert paid["state"] == "needs_card", paid


def renewed(house: House, bearer: str) -> str:
    """As a refresh gives it: for the same consent, signed by whatever key signs now."""
    claims: dict[str, Any] = jwt.decode(bearer, options={"verify_signature": False})
    keys = load_keys(house.keyring.path("gateway/keys"))
    again = Bearer(
        kind=CallerKind.ASSISTANT,
        client_id=claims["client_id"],
        audience=claims["aud"],
        scopes=frozenset(claims["scope"].split()),
        subject_id=claims["sub"],
        tenant_id=claims["tenant"],
        brand_id=claims["brand"],
        conversation_id=claims["cnv"],
    )
    return Bearers(key=keys.bearer, issuer=house.urls["gateway"], clock=SystemClock()).mint(again)


def kid(compact: str) -> str:
    return str(jwt.get_unverified_header(compact)["kid"])
