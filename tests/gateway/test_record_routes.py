"""The record through the front door, by agents with bearers of ours."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.bearers import Bearer, Bearers, CallerKind
from gateway.callers import Callers
from gateway.oauth.machines import Machines
from gateway.record.cosignatures import Witnesses
from gateway.record.merkle import root_by_path
from gateway.record.notes import checkpoint_of, open_note
from gateway.record.proof_routes import ROUTES as PROOF_ROUTES
from gateway.record.routes import ROUTES
from infra.chassis.http import build_app
from infra.chassis.ids import new_id
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.support.database import DatabaseMaker
from tests.support.grants import ring_of
from tests.support.limits import limits_out_of_the_way
from tests.support.record import RecordHouse, record_house

ISSUER = "https://gateway.test"


@dataclass(slots=True)
class Door:
    house: RecordHouse
    client: httpx2.AsyncClient
    bearers: Bearers

    async def agent(self, tenant_id: str, scopes: str = "record") -> "Agent":
        """A new agent of this tenant."""
        client_id = new_id("agt")
        columns = "client_id, kind, tenant_id, name, scopes, public_jwk"
        values = f"'{client_id}', 'agent', '{tenant_id}', 'Auditor', '{{record,refund}}', '{{}}'"
        await self.house.superuser(f"INSERT INTO client_directory ({columns}) VALUES ({values});")  # noqa: S608 - ours
        bearer = Bearer(
            kind=CallerKind.AGENT,
            client_id=client_id,
            audience=ISSUER,
            scopes=frozenset(scopes.split()),
            tenant_id=tenant_id,
        )
        return Agent(self.client, self.bearers.mint(bearer))


@dataclass(slots=True)
class Agent:
    client: httpx2.AsyncClient
    bearer: str

    async def get(self, path: str) -> httpx2.Response:
        return await self.client.get(f"/v1/record/{path}", headers={"authorization": f"Bearer {self.bearer}"})

    async def verification(self) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.bearer}"}
        return await self.client.post("/v1/record/verifications", headers=headers)


@pytest.fixture(scope="module")
def shared(database: DatabaseMaker) -> ServiceDatabase:
    return database("gateway")


@asynccontextmanager
async def record_door(house: RecordHouse, witnesses: Witnesses) -> AsyncIterator[Door]:
    bearers = Bearers(key=ring_of(Ed25519PrivateKey.generate()), issuer=ISSUER, clock=house.clock)
    callers = Callers(
        bearers=bearers,
        machines=Machines(engine=house.engine, clock=house.clock),
        limits=limits_out_of_the_way(house.engine, house.clock),
    )
    known = {"callers": callers, "engine": house.engine, "record": house.record, "witnesses": witnesses}
    app = build_app(service="gateway", routes=[*ROUTES, *PROOF_ROUTES], dependencies=known)
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's and httpx2's scope types differ
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield Door(house, client, bearers)


@pytest.fixture
async def door(shared: ServiceDatabase, clusters: dict[str, Cluster]) -> AsyncIterator[Door]:
    async with record_house(shared, clusters["house"]) as house, record_door(house, Witnesses({})) as made:
        yield made


def key_of(verifier_key: str) -> tuple[str, Ed25519PublicKey]:
    name, _, encoded = verifier_key.split("+", 2)
    return name, Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])


def without_request_id(answer: httpx2.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


@pytest.mark.control("UC-10.3")
async def test_an_outsider_can_check_an_entry_with_nothing_but_the_answer_and_the_key(door: Door):
    receipt = await door.house.append(decision_id="dec_bought", outcome="allow")
    await door.house.sealed(300)
    agent = await door.agent(door.house.north)

    answer = (await agent.get("entries/dec_bought")).json()

    inclusion, leaf = answer["inclusion"], bytes.fromhex(answer["leaf_sha256"])
    name, key = key_of(inclusion["checkpoint"]["verifier_key"])
    signed = checkpoint_of(open_note(inclusion["checkpoint"]["note"], name=name, key=key))
    path = [bytes.fromhex(beside) for beside in inclusion["path_sha256"]]
    assert json.loads(answer["canonical"])["body"] == {"v": 1, "outcome": "allow"}
    assert leaf == hashlib.sha256(b"\x00" + answer["canonical"].encode()).digest()
    assert answer["leaf_sha256"] == receipt.leaf_sha256
    assert root_by_path(inclusion["tree_index"], signed.size, leaf, path) == signed.root
    assert inclusion["checkpoint"]["root_sha256"] == signed.root.hex()


async def test_the_newest_checkpoint_is_a_note_of_the_tenants_record(door: Door):
    await door.house.sealed(4, 3)
    agent = await door.agent(door.house.north)

    answer = (await agent.get("checkpoint")).json()

    name, key = key_of(answer["verifier_key"])
    signed = checkpoint_of(open_note(answer["note"], name=name, key=key))
    assert (signed.origin, signed.size) == (f"undercroft/record/{door.house.north}", 7)
    assert (answer["tree_size"], answer["root_sha256"]) == (7, signed.root.hex())


async def test_an_entry_that_is_not_sealed_yet_has_no_proof(door: Door):
    await door.house.append(decision_id="dec_new")
    agent = await door.agent(door.house.north)

    entry, checkpoint = await agent.get("entries/dec_new"), await agent.get("checkpoint")

    assert entry.json()["inclusion"] is None
    assert checkpoint.status_code == 404


@pytest.mark.control("UC-7.3")
async def test_another_tenants_entry_is_not_found_like_one_that_never_was(door: Door):
    await door.house.append(door.house.south, decision_id="dec_foreign")
    await door.house.sealer.seal(door.house.south)
    agent = await door.agent(door.house.north)

    foreign, missing = await agent.get("entries/dec_foreign"), await agent.get("entries/dec_missing")

    assert (foreign.status_code, without_request_id(foreign)) == (404, without_request_id(missing))


@pytest.mark.parametrize("decision_id", ["dec_%00", "x", "DEC_ONE", "dec_'--", "dec_" + "a" * 100])
async def test_what_is_no_id_is_not_found(door: Door, decision_id: str):
    agent = await door.agent(door.house.north)

    assert (await agent.get(f"entries/{decision_id}")).status_code == 404


async def test_a_verification_says_what_was_found(door: Door):
    await door.house.sealed(4, 3)
    agent = await door.agent(door.house.north)

    before = await agent.verification()
    await door.house.tamper(
        "UPDATE record_entries SET decision_id = 'dec_other' WHERE canonical IN"
        " (SELECT canonical FROM record_entries JOIN record_leaves USING (entry_id) WHERE tree_index = 6);"
    )
    after = await agent.verification()

    assert (before.status_code, before.json()) == (
        200,
        {"intact": True, "tree_size": 7, "unsealed": 0, "findings": []},
    )
    assert after.json()["findings"] == ["Place 6 was changed: its row does not say what its content says."]


async def test_the_record_is_for_agents_with_the_scope(door: Door):
    await door.house.sealed(1)
    without = await door.agent(door.house.north, scopes="refund")
    paths = ("checkpoint", f"entries/{door.house.appended[0]}")

    answers = [await without.get(path) for path in paths] + [await without.verification()]
    nobody = await door.client.get("/v1/record/checkpoint")

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert {answer.json()["code"] for answer in answers} == {"scope_missing"}
    assert nobody.status_code == 401
