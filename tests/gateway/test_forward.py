"""An agent has a person's card sent to a registered destination: by the gateway, the vault, and to another company."""

import asyncio
import json
import secrets
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from gateway.assurance import EvidenceKind
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.secret import Secret
from infra.cli import delegating
from tests.gateway.relay import Mode, relay_to
from tests.gateway.shop import AGENT, GOOD_CARD, LARKSPUR, NORTH, Ground, Shop, Talk, open_shop
from tests.vault.bench import Person
from tests.vault.destination import Company, answer, company, echo, registration
from vault.forwarding.commands import add
from vault.store import Store

TEMPLATE = '{"booking":"bk-7","card":{"number":"{{card.number}}","month":"{{card.exp_month}}"}}'


@dataclass(slots=True)
class Counter:
    """A shop whose agent may forward, a destination that takes its cards, a person with a card on file."""

    shop: Shop
    there: Company
    destination_id: str
    talk: Talk

    async def ask(self, talk: Talk | None = None, template: str = TEMPLATE, **changes: Any) -> httpx2.Response:
        body = {"destination_id": self.destination_id, "template": template, "request_key": secrets.token_hex(8)}
        return await (talk or self.talk).post("/v1/forward", **(body | changes))

    async def forward(self, talk: Talk | None = None, **changes: Any) -> dict[str, Any]:
        answered = await self.ask(talk, **changes)
        assert answered.status_code == 200, answered.text
        view: dict[str, Any] = answered.json()
        return view

    async def record(self) -> list[dict[str, Any]]:
        rows = await self.shop.rows("SELECT canonical FROM record_entries ORDER BY entry_id")
        bodies = [json.loads(bytes(row["canonical"]))["body"] for row in rows]
        return [body for body in bodies if "forward" in (body.get("action"), str(body.get("event")).split("_")[0])]


async def register(shop: Shop, url: str, **changes: Any) -> str:
    """As the operator does, at the vault of the house."""
    owner = create_engine(Secret(shop.house.databases["vault"].owner_dsn), pool_size=1)
    try:
        new = registration(Person(NORTH, LARKSPUR), url, agents=[AGENT], **changes)
        await add(Store(owner), new, SystemClock())
    finally:
        await owner.dispose()
    return new.destination_id


async def prove_strongly(shop: Shop, talk: Talk) -> None:
    """The person has used a passkey in this conversation."""
    assert talk.subject_id is not None
    async with tenant_transaction(shop.gateway.engine, talk.tenant_id) as tx:
        await shop.conversations.add_evidence(
            tx,
            tenant_id=talk.tenant_id,
            conversation_id=talk.conversation_id,
            subject_id=talk.subject_id,
            kind=EvidenceKind.PASSKEY,
            now=shop.now,
        )


@pytest.fixture
async def there() -> AsyncIterator[Company]:
    async with company() as listening:
        yield listening


@pytest.fixture
async def counter(
    ground: Ground, there: Company, as_owner: Callable[[Shop, str], Awaitable[str]]
) -> AsyncIterator[Counter]:
    async with open_shop(ground) as shop:
        may = "UPDATE client_directory SET scopes = array_append(scopes, 'forward')"
        await as_owner(shop, f"{may} WHERE client_id = '{AGENT}'")
        talk = await shop.buyer()
        assert (await shop.paid(talk, await shop.checkout()))["state"] == "paid"
        await prove_strongly(shop, talk)
        yield Counter(shop, there, await register(shop, there.url), talk)


@pytest.mark.control("UC-F.1")
async def test_a_card_goes_from_an_agents_request_to_the_destination_and_not_back(counter: Counter):
    counter.there.answering = echo()

    view = await counter.forward()

    (request,) = counter.there.received
    assert json.loads(request.body)["card"]["number"] == GOOD_CARD
    assert (view["state"], view["http_status"], view["redactions"]) == ("forwarded", 200, 1)
    assert json.loads(view["body"]) == {"booking": "bk-7", "card": {"number": "[redacted]", "month": "12"}}
    decided, ordered, ended = await counter.record()
    assert (decided["action"], decided["outcome"], decided["reasons"]) == ("forward", "allow", ["caller_may"])
    assert (ordered["event"], ordered["destination_id"]) == ("forward_ordered", counter.destination_id)
    assert (ended["event"], ended["state"], ended["http_status"]) == ("forward_ended", "forwarded", 200)
    assert {decided["decision_id"]} == {ordered["decision_id"], ended["decision_id"]}
    assert "bk-7" not in json.dumps([decided, ordered, ended])


@pytest.mark.control("UC-F.1")
async def test_by_default_nobody_may(counter: Counter, shop: Shop):
    verified = await counter.shop.buyer()
    theirs = await shop.buyer()
    assistant = await counter.shop.assistant(f"{secrets.token_hex(6)}@example.com")

    only_verified = await counter.forward(verified)
    without_scope = await Counter(shop, counter.there, counter.destination_id, theirs).forward()
    by_assistant = await counter.ask(assistant)

    assert (only_verified["state"], only_verified["decision"]["reasons"]) == ("denied", ["assurance_too_low"])
    assert [(one["kind"], one["level"]) for one in only_verified["decision"]["remedies"]] == [("step_up", "strong")]
    assert without_scope["decision"]["reasons"] == ["assurance_too_low", "scope_missing"]
    assert by_assistant.status_code == 404
    assert counter.there.connections == 0


@pytest.mark.control("UC-F.1")
async def test_a_destination_that_is_not_for_this_agent_is_not_there(counter: Counter):
    not_ours = await register(counter.shop, counter.there.url, brand_id="brd_tsubaki")

    missing, foreign = await counter.ask(destination_id="dst_nothing"), await counter.ask(destination_id=not_ours)

    assert (missing.status_code, foreign.status_code) == (404, 404)
    assert missing.json() | {"request_id": ""} == foreign.json() | {"request_id": ""}
    assert counter.there.connections == 0


async def test_the_same_key_sends_one_card_and_another_template_under_it_none(counter: Counter):
    key = secrets.token_hex(8)

    views = await asyncio.gather(*(counter.forward(request_key=key) for _ in range(5)))
    later = await counter.forward(request_key=key)
    other = await counter.ask(request_key=key, template=TEMPLATE.replace("bk-7", "bk-8"))

    assert len(counter.there.received) == 1
    assert sum("body" in view for view in views) == 1
    assert (later["state"], later["withheld"]) == ("forwarded", "not_kept")
    assert len({view["forward_id"] for view in (*views, later)}) == 1
    assert (other.status_code, other.json()["code"]) == (409, "request_key_reused")


@pytest.mark.control("UC-3.1")
async def test_a_template_is_refused_before_and_behind_the_gateway(counter: Counter):
    written_out = await counter.ask(template=TEMPLATE.replace("bk-7", "4242 4242 4242 4242"))
    misplaced = await counter.ask(template='{"note":"{{card.number}}"}')

    assert (written_out.status_code, written_out.json()["code"]) == (422, "card_number_refused")
    assert (misplaced.status_code, misplaced.json()["code"]) == (422, "template_refused")
    assert counter.there.connections == 0


async def test_a_person_without_a_card_on_file_has_none_to_send(counter: Counter):
    somebody = await counter.shop.verified_chat()
    await prove_strongly(counter.shop, somebody)

    refused = await counter.ask(somebody)

    assert (refused.status_code, refused.json()["code"]) == (409, "card_missing")
    assert [body.get("event") for body in await counter.record()] == [None], "decided, and nothing ordered"


async def test_the_code_is_gone_after_the_first_purchase_and_nothing_goes_without_it(counter: Counter):
    view = await counter.forward(template='{"card":{"number":"{{card.number}}","code":"{{card.code}}"}}')

    assert (view["state"], view["reason"]) == ("failed", "verification_code_missing")
    assert counter.there.connections == 0


async def test_an_answer_lost_between_vault_and_gateway_is_unknown_and_can_be_asked_for(counter: Counter):
    counter.there.answering = answer(b'{"held":true}')
    key = secrets.token_hex(8)
    async with (
        relay_to(counter.shop.house.urls["vault"]) as wire,
        open_shop(counter.shop.ground, vault_url=wire.url) as cut,
    ):
        wire.mode = Mode.CUT_ANSWERS
        through = Talk(cut, AGENT, counter.talk.conversation_id, NORTH, counter.talk.subject_id)
        lost = await counter.forward(through, request_key=key)

    later = await counter.forward(request_key=key)

    assert (lost["state"], lost["reason"]) == ("unknown", "answer_lost")
    assert (later["state"], later["http_status"], len(counter.there.received)) == ("forwarded", 200, 1)
    ended = [entry["state"] for entry in await counter.record() if entry.get("event") == "forward_ended"]
    assert ended == ["unknown", "forwarded"]


async def test_the_house_has_a_command_for_its_operator(
    counter: Counter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    new = registration(Person(NORTH, LARKSPUR), counter.there.url, agents=[AGENT], destination_id="dst_by_command")
    file = tmp_path / "destination.json"
    file.write_bytes(msgspec.json.encode(new))

    def operate(*words: str) -> int:
        return delegating.destinations(Namespace(folder=counter.shop.house.folder, arguments=words))

    added = await asyncio.to_thread(operate, "add", str(file))
    view = await counter.forward(destination_id=new.destination_id)
    withdrawn = await asyncio.to_thread(operate, "withdraw", NORTH, new.destination_id)
    refused = await counter.ask(destination_id=new.destination_id)

    assert (added, withdrawn, view["state"], refused.status_code) == (0, 0, "forwarded", 404)
    assert f"dst_by_command: POST {counter.there.url}, for {AGENT}" in capfd.readouterr().out


async def test_a_vault_that_is_away_leaves_nothing_sent(counter: Counter):
    async with open_shop(counter.shop.ground, vault_url="http://127.0.0.1:9") as away:
        through = Talk(away, AGENT, counter.talk.conversation_id, NORTH, counter.talk.subject_id)
        refused = await counter.ask(through)

    assert (refused.status_code, refused.json()["code"]) == (503, "vault_unreachable")
