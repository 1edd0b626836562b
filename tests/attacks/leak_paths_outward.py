"""The paths on which the vault calls somebody: the second processor, a forward's destination, a tenant's endpoint; and
those on which somebody is refused: by a token's terms, by a canary, at the custodians' table.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Final

from infra.chassis.clock import SystemClock
from infra.chassis.ids import new_id
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.secret import Secret
from tests.attacks.leak_world import LeakPath, World
from tests.support.encodings import spaced, spoken, wide
from tests.support.waiting import wait_until
from tests.vault.authenticating import LINK
from tests.vault.bench import JSON, Person
from tests.vault.custody import PAIR, Place, prove
from tests.vault.destination import Answering, Forwarding, Received, answer, echo, head, register, registration
from tests.vault.events import event_about
from tests.vault.processor_rigs import airwallex_signature
from vault.canary_marks import CanaryMarks
from vault.canary_planting import Planting
from vault.cleartext.hpke import SealSuite
from vault.contract import ChargeOrder, SettleOrder, TokenTerms, TokenUses, VoidOrder
from vault.fingerprint import Fingerprints
from vault.keys.keeping import build_keeping
from vault.keys.settings import LifecycleSettings
from vault.outbox.endpoints import Endpoints
from vault.outbox.signing import EndpointKeys
from vault.processors import AIRWALLEX
from vault.routing.rows import add_route
from vault.routing.rules import Route

ENDS_SECONDS: Final = 40.0
"""For what the reconciler or the courier do, whose rounds come every two seconds on an idle machine."""


async def second_token(world: World, person: Person, number: str) -> str:
    """Of a person whose tenant's charges are given to the second processor."""
    token = await world.token(person, number, SealSuite.X_WING)
    async with world.store() as store, store.transaction(person.tenant_id) as tx:
        await add_route(tx, Route(route_id=new_id("rte"), position=1, processor=AIRWALLEX, weight=1))
    return token


async def charged_by_the_second(world: World, number: str) -> None:
    """Charged with a part given back; held and settled; held and voided."""
    person = Person()
    token = await second_token(world, person, number)
    order, settled, voided = person.charge(token), person.hold(token), person.hold(token)
    assert (await world.doors.charge(order)).json()["state"] == "approved"
    assert (await world.doors.refund(person.refund(order.charge_id, 100))).json()["state"] == "refunded"
    for hold in (settled, voided):
        assert (await world.doors.hold(hold)).json()["state"] == "held"
    whose = {"tenant_id": person.tenant_id, "brand_id": person.brand_id, "subject_id": person.subject_id}
    settle = SettleOrder(
        settlement_id=new_id("stl"), charge_id=settled.charge_id, amount_minor=100, currency="USD", **whose
    )
    void = VoidOrder(void_id=new_id("vod"), charge_id=voided.charge_id, **whose)
    assert (await world.doors.send("/v1/settlements", "settle", settle)).json()["state"] == "done"
    assert (await world.doors.send("/v1/voids", "void", void)).json()["state"] == "done"


async def declined_by_the_second(world: World, number: str) -> None:
    person = Person()
    order = person.charge(await second_token(world, person, number))
    assert (await world.doors.charge(order)).json()["state"] == "declined"


def faulty(fault: str, *states: str) -> Callable[[World, str], Awaitable[None]]:
    """The second processor does this at the call that has the card; in the end the charge stands so."""

    async def drive(world: World, number: str) -> None:
        person = Person()
        order = person.charge(await second_token(world, person, number))
        await second_fault(world, fault)
        await world.doors.charge(order)

        async def ended() -> bool:
            return bool((await world.doors.charge(order)).json()["state"] in states)

        await wait_until(ended, ENDS_SECONDS)

    return drive


async def asked_by_a_bank_of_the_second(world: World, number: str) -> None:
    """The processor says the number in the page to go to first; then its holder is asked, says yes, and is declined."""
    person, doors = Person(), world.doors
    order = person.charge(await second_token(world, person, number), person_present=True)
    await second_fault(world, "echo_in_action")

    async def asked() -> bool:
        return bool((await doors.charge(order)).json()["state"] == "needs_action")

    await wait_until(asked, ENDS_SECONDS)
    whose = {"charge_id": order.charge_id, "subject_id": order.subject_id}
    grant, path = doors.mint.grant("open_authentication", order, whose), f"/authentications/{order.charge_id}"
    entered = await doors.browser.post(f"{path}/open", data={"grant": grant}, headers={"origin": doors.door_origin})
    link = LINK.search((await doors.browser.get(path)).text)
    assert (entered.status_code, link is None) == (303, False)
    address = "" if link is None else unescape(link[1])
    assert (await world.say("POST", address, data={"outcome": "pass"})).status_code == 200
    assert "The payment was not made" in (await doors.browser.get(path)).text


async def second_fault(world: World, fault: str) -> None:
    url = f"{world.house.airwallex_url}/_sandbox/faults"
    (await world.http.post(url, json={"fault": fault})).raise_for_status()


async def never_answered(world: World, number: str) -> None:
    """A processor and a destination that take the card and say nothing until the vault has given up."""
    person, there = Person(), Forward(world)
    order = person.charge(await second_token(world, person, number))
    forward = await there.ready(person, await world.token(person, number, SealSuite.X_WING))
    await second_fault(world, "timeout_during_charge")
    world.company.answering = _silent

    charged, (status, view) = await asyncio.gather(world.doors.charge(order), forward.send(forward.order()))

    assert charged.json()["state"] in {"unknown", "failed"}
    assert (status, view["state"], view["reason"]) == (200, "unknown", "answer_lost")


async def _silent(request: Received, _writer: asyncio.StreamWriter) -> None:
    await request.over.wait()


async def in_signed_events_of_the_second(world: World, number: str) -> None:
    shown = {"description": number, "metadata": {"tenant_id": f"tnt_{number}", number: number}}
    for changes in (
        {"id": f"evt_{number}"},
        {"name": f"payment_intent.{number}"},
        {"data": {"object": {**shown, "id": f"int_{number}"}}},
        {"data": {"object": {**shown, "payment_intent_id": f"int_{number}"}}},
        {number: spaced(number)},
    ):
        body = event_about(f"int_{new_id('abc')[4:]}", "payment_intent", "unused", name="payment_intent.succeeded")
        sent = json.dumps(json.loads(body) | changes).encode()
        milliseconds = int(SystemClock().now().timestamp() * 1000)
        sent_at, _, mac = airwallex_signature(sent, milliseconds).partition(",")
        headers = {**JSON, "x-timestamp": sent_at.removeprefix("t="), "x-signature": mac.removeprefix("v1=")}
        url = f"{world.house.urls['vault_webhooks']}/webhooks/airwallex"
        assert (await world.say("POST", url, content=sent, headers=headers)).status_code in {200, 400}


class Forward:
    """The company, registered for a person's cards."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ready(self, person: Person, token: str) -> Forwarding:
        world = self._world
        named = ["x-echo", "location", "set-cookie"]
        new = registration(person, world.company.url, answer_headers=named)
        await register(world.databases, new, SystemClock())
        return Forwarding(world.doors, world.databases, person, world.company, token, new.destination_id)


def forwarded(answers: Callable[[str], tuple[Answering, ...]], *states: str) -> Callable[[World, str], Awaitable[None]]:
    async def drive(world: World, number: str) -> None:
        person = Person()
        forward = await Forward(world).ready(person, await world.token(person, number, SealSuite.X_WING))
        for answering in answers(number):
            world.company.answering = answering
            view = await forward.sent()
            assert view["state"] in states, view
        assert all(number.encode() in one.body for one in world.company.received[-len(answers(number)) :])

    return drive


def shown(number: str) -> tuple[Answering, ...]:
    """Answers that are shown, without the card: it is in the body, in one header or in the place to go to."""
    packed = base64.b64encode(number.encode()).decode()
    written = json.dumps([spaced(number), packed, number[::-1], wide(number), spoken(number), {number: number}])
    there = f"https://elsewhere.example/{number}?number={number}"
    return (
        echo(),
        echo(lambda body: b"number=" + number.encode() + b"&all=" + body.hex().encode(),
             content_type="application/x-www-form-urlencoded"),
        answer(written.encode(), x_echo=spaced(number), x_other=number),
        answer(b"{}", None, "302 Found", location=there, set_cookie=f"card={number}"),
    )  # fmt: skip


def withheld(number: str) -> tuple[Answering, ...]:
    page = f"<html><body>{number} {spaced(number)}</body></html>".encode()
    return (
        answer(page, "text/html", f"500 {number}"),
        answer(page, "text/plain"),
        answer(json.dumps({"n": number}).encode(), content_encoding="gzip"),
        answer(b'{"n":"' + number.encode() + b'"', x_echo=number),
        answer(b'"' + number.encode() * 5_000 + b'"'),
    )


def lost(number: str) -> tuple[Answering, ...]:
    """The connection ends in the middle of the number, after it, or what comes is no answer."""

    async def cut(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", {"content-type": "application/json", "content-length": "500"}) + number.encode())

    async def no_http(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(f"220 {number} ESMTP {spaced(number)}\r\n".encode())

    async def bad_header(_request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{number}\0: {number}\r\n\r\n".encode())

    return (cut, no_http, bad_header)


async def told_to_the_tenant(world: World, number: str) -> None:
    """All that happens to a card is sent to the tenant's endpoint."""
    person = Person()
    token = await world.token(person, number)
    async with world.store() as store:
        key = Secret(world.house.keyring.path("vault/outbox.key").read_bytes())
        endpoints = Endpoints(store=store, keys=EndpointKeys(key), clock=SystemClock(), sandbox=True)
        await endpoints.add(person.tenant_id, f"{world.receiver.url}/told", ())
    await world.token(person, number, SealSuite.X_WING)
    order, hold = person.charge(token), person.hold(token)
    assert (await world.doors.charge(order)).json()["state"] == "approved"
    assert (await world.doors.hold(hold)).json()["state"] == "held"
    happened = {"card.stored", "charge.approved", "charge.held", "dispute.open"}

    async def told() -> bool:
        return happened <= set(world.receiver.kinds("/told"))

    await wait_until(told, ENDS_SECONDS)


async def refused_by_its_terms(world: World, number: str) -> None:
    """Another agent, another currency, too much, a second time, and a forward, which takes no limited token."""
    person = Person()
    terms = TokenTerms(uses=TokenUses.SINGLE, currency="USD", amount_max_minor=8000, agent_id="agt_other")
    token = await world.token(person, number, SealSuite.X_WING, terms)
    for changes in ({}, {"currency": "EUR"}, {"amount_minor": 8001}):
        order = person.charge(token, **changes)
        assert (await world.doors.charge(order)).json()["state"] == "failed"
    forward = await Forward(world).ready(person, token)
    assert (await forward.sent())["reason"] == "token_limited"


async def beside_a_canary(world: World, number: str) -> None:
    """A thief uses a canary, and tries what goes with a number he has."""
    person, clock = Person(), SystemClock()
    await world.token(person, number, SealSuite.X_WING)
    settings = KeySettings(root_key_file=world.house.keyring.path("vault/root.key"))
    fingerprints = Fingerprints(Secret(world.house.keyring.path("vault/fingerprint.key").read_bytes()))
    keys = open_key_service(settings, clock)
    async with world.store() as store:
        ring = build_keeping(store, keys, clock, LifecycleSettings()).ring
        marks = CanaryMarks(fingerprints.keys())
        planting = Planting(store=store, ring=ring, marks=marks, fingerprints=fingerprints, clock=clock)
        canary = await planting.plant(person.tenant_id, person.brand_id, "operator ada")
    await keys.close()
    forward = await Forward(world).ready(person, canary)
    answers = [await world.doors.charge(person.charge(canary)), await world.doors.hold(person.hold(canary))]
    statuses = [answer.status_code for answer in answers]
    template = json.dumps({"number": number, "card": {"number": "{{card.number}}"}})
    statuses.append((await forward.send(forward.order(template)))[0])
    assert statuses == [404, 404, 404]
    assert '"canary_used"' in (world.house.logs / "vault.log").read_text(encoding="utf-8")


async def typed_at_the_custodians_table(world: World, number: str) -> None:
    """The root is put under custody under the running vault, which two custodians open again; one types a number."""
    place = Place(world.house.keyring.path("vault"))

    async def is_sealed() -> bool:
        return await asyncio.to_thread(world.house.custody) == "sealed"

    await asyncio.to_thread(place.enrol, *PAIR)
    papers = await asyncio.to_thread(place.generate, *PAIR)
    await wait_until(is_sealed, ENDS_SECONDS)
    mistyped = await asyncio.to_thread(_types_a_number, place, number)
    given = [await asyncio.to_thread(place.give, "enter", name, papers[name]) for name in PAIR]
    assert mistyped[0] != 0
    assert number not in mistyped[1]
    assert [code for code, _ in given] == [0, 0]
    assert world.house.custody() == "opened"
    world.answers.append("".join(said for _, said in (mistyped, *given)).encode())
    order: ChargeOrder = await world.charged(Person(), "4242424242424242", "approved", SealSuite.X_WING)
    assert order.currency == "USD"


def _types_a_number(place: Place, number: str) -> tuple[int, str]:
    with place.sit("enter", PAIR[0]) as typist:
        prove(typist, PAIR[0])
        typist.sees(f"{PAIR[0]}, your share: ")
        typist.types(spaced(number))
        return typist.end(), typist.screen


OUTWARD: Final = (
    LeakPath("beside a canary", "6223164991230014", beside_a_canary, frozenset({"vault"})),
    LeakPath("typed at the custodians' table", "30569309025904", typed_at_the_custodians_table),
    LeakPath("charged by the second processor", "4000000000001976", charged_by_the_second),
    LeakPath("declined by the second", "4000000000009987", declined_by_the_second),
    LeakPath("echoed by the second in a message", "4000000000006975", faulty("echo_card_number", "declined")),
    LeakPath("echoed by the second in headers", "4000000000000069", faulty("echo_in_headers", "declined")),
    LeakPath("echoed by the second in a page", "4000000000000127", faulty("echo_in_html", "failed")),
    LeakPath("echoed by the second in a redirect", "4000000000000119", faulty("echo_in_redirect", "failed")),
    LeakPath("echoed by the second in a page to go to", "4000008400001629", asked_by_a_bank_of_the_second),
    LeakPath("in signed events of the second", "4100000000000019", in_signed_events_of_the_second),
    LeakPath("never answered", "4000000000000101", never_answered),
    LeakPath("forwarded, the answer shown", "6205500000000000004", forwarded(shown, "forwarded")),
    LeakPath("forwarded, the answer withheld", "36227206271667", forwarded(withheld, "forwarded")),
    LeakPath("forwarded, the answer lost", "3530111333300000", forwarded(lost, "unknown")),
    LeakPath("told to the tenant", "4000000000002685", told_to_the_tenant),
    LeakPath("refused by the token's terms", "378734493671000", refused_by_its_terms),
)
