"""Every path a card number can take, driven through the front doors. One path is one entry in PATHS.

Each has a number of its own, published for tests, so that a number found says which path it came by. `handed` are the
services that were given it by whoever drove the path, other than on the card page: what such a service is given passes
through its memory and, on its way in, over its wire; it must be nowhere else. The vault may keep what it was handed: a
router remembers paths. What comes by the card page or from a processor nobody remembers.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Final

from infra.chassis.clock import SystemClock
from infra.chassis.ids import new_id
from infra.dev.demo.conversation import BRAND
from infra.dev.demo.person import CARD_NUMBER
from memory.contract import Provenance, RememberOrder, Source
from tests.attacks.leak_paths_batch import BATCH
from tests.attacks.leak_paths_outward import OUTWARD
from tests.attacks.leak_paths_phone import PHONE
from tests.attacks.leak_paths_updater import UPDATER
from tests.attacks.leak_world import LeakPath, World
from tests.journeys.conftest import Shopper
from tests.support.encodings import spaced, spoken
from tests.support.grants import TestMint, body_of
from tests.support.waiting import wait_until
from tests.vault.bench import FORM, JSON, Person
from tests.vault.events import event_about, signed
from vault.cleartext.hpke import SealSuite
from vault.contract import SettleOrder, VoidOrder

PLANTED: Final = "6011000990139424"
"""Comes by no path: it is what searches are shown to find."""
SERVICES: Final = ("gateway", "memory", "mcp_server")
LISTENERS: Final = ("gateway", "vault", "vault_page", "vault_webhooks", "memory", "mcp_server", "authzen")


async def assistant_buys(world: World, number: str) -> None:
    """The whole story: MCP, the gateway's door, the card page, the charge, another one with the card on file."""
    assert number == CARD_NUMBER
    async with world.street.shopper() as shopper:
        assert (await shopper.buy())["state"] == "paid"
        assert (await shopper.buy())["state"] == "paid"


async def posted_plain(world: World, number: str) -> None:
    order = await world.charged(Person(), number, "approved")
    assert (await world.doors.charge(order)).json()["state"] == "approved"


async def sealed_post_quantum(world: World, number: str) -> None:
    await world.charged(Person(), number, "approved", SealSuite.X_WING)


async def sealed_classical(world: World, number: str) -> None:
    await world.charged(Person(), number, "approved", SealSuite.X25519)


async def refunded(world: World, number: str) -> None:
    person = Person()
    order = await world.charged(person, number, "approved", SealSuite.X_WING)
    for _ in range(2):
        assert (await world.doors.refund(person.refund(order.charge_id, 100))).json()["state"] == "refunded"


async def held_and_settled(world: World, number: str) -> None:
    person = Person()
    hold = person.hold(await world.token(person, number, SealSuite.X_WING))
    assert (await world.doors.hold(hold)).json()["state"] == "held"
    whose = {name: getattr(hold, name) for name in ("tenant_id", "brand_id", "subject_id", "charge_id", "currency")}
    order = SettleOrder(settlement_id=new_id("stl"), amount_minor=hold.amount_minor, **whose)
    assert (await world.doors.send("/v1/settlements", "settle", order)).json()["state"] == "done"


async def held_and_voided(world: World, number: str) -> None:
    person = Person()
    hold = person.hold(await world.token(person, number, SealSuite.X_WING))
    assert (await world.doors.hold(hold)).json()["state"] == "held"
    whose = {name: getattr(hold, name) for name in ("tenant_id", "brand_id", "subject_id", "charge_id")}
    order = VoidOrder(void_id=new_id("vod"), **whose)
    assert (await world.doors.send("/v1/voids", "void", order)).json()["state"] == "done"


async def disputed(world: World, number: str) -> None:
    """The processor's own events arrive and make the vault look."""
    order = await world.charged(Person(), number, "approved", SealSuite.X_WING)

    async def is_disputed() -> bool:
        return bool((await world.doors.charge(order)).json()["disputed_minor"])

    await wait_until(is_disputed)


async def declined(world: World, number: str) -> None:
    await world.charged(Person(), number, "declined", SealSuite.X_WING)


def echoed(fault: str) -> Callable[[World, str], Awaitable[None]]:
    async def drive(world: World, number: str) -> None:
        await world.street.fault(fault)
        person = Person()
        order = person.charge(await world.token(person, number, SealSuite.X_WING))
        assert (await world.doors.charge(order)).json()["state"] in {"declined", "failed", "unknown"}

    return drive


async def charge_lost(world: World, number: str) -> None:
    """The answer is lost; the reconciler finds out."""
    person = Person()
    await world.street.fault("error_500_after_charge")
    order = person.charge(await world.token(person, number, SealSuite.X_WING))

    async def ended() -> bool:
        return bool((await world.doors.charge(order)).json()["state"] == "approved")

    await wait_until(ended)


async def typed_into_every_field(world: World, number: str) -> None:
    """A person mistypes, and types the number where it does not belong; the page comes back, without it."""
    order = Person().capture()
    await world.doors.order_capture(order)
    await world.doors.enter(order)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    for fields in (
        {"holder": number},
        {"expiry": number},
        {"code": number},
        {"holder": spaced(number), "number": wrong},
    ):
        answer = await world.doors.type_card(order, **({"number": number} | fields))
        assert answer.status_code in {400, 422}, answer.status_code
    path = f"/captures/{order.capture_id}"
    origin = {"origin": world.doors.page_url}
    for content in (f"number={number}", f"csrf={number}&number={number}", f"{number}=1", f"sealed_kid={number}"):
        await world.doors.browser.post(path, content=content, headers={**FORM, **origin})


async def said_at_every_listener(world: World, number: str) -> None:
    """In the path, the query, every header that is read, cookies, and bodies good and bad, at every listener."""
    headers = {
        "traceparent": f"00-{number}{number}-{number}-01",
        "x-request-id": number,
        "authorization": f"Bearer {number}",
        "undercroft-grant": number,
        "undercroft-proof": number,
        "cookie": f"capture=tnt_a.{number}; {number}={number}",
        "origin": f"http://{number}",
        "accept-language": number,
        "user-agent": spaced(number),
        "stripe-signature": f"t={number},v1={number}",
        "idempotency-key": number,
    }
    body = json.dumps({"number": number, number: spaced(number), "tenant_id": f"tnt_{number}"})
    for listener in LISTENERS:
        url = world.house.urls[listener]
        if listener == "authzen":
            headers = {name: value for name, value in headers.items() if name != "x-request-id"}  # it is to come back
        for path in (f"/{number}", f"/v1/captures/cap_{number}?q={number}", f"/captures/cap_{number}"):
            await world.say("GET", url + path, headers=headers)
        for path in ("/v1/charges", "/v1/memories", "/oauth/token", "/oauth/register", "/webhooks/stripe", "/reports"):
            await world.say("POST", url + path, content=body, headers={**headers, **JSON})
            await world.say("POST", url + path, content=f"code={number}&{number}=x", headers={**headers, **FORM})


async def in_orders(world: World, number: str) -> None:
    """Whoever took over the gateway writes it where the vault keeps what it is given."""
    person = Person()
    order = person.capture()
    for name in order.__struct_fields__:
        value = f"{name[:3]}_{number}" if name.endswith("_id") else number
        given = {one: getattr(order, one) for one in order.__struct_fields__ if getattr(order, one) is not None}
        body = given | {name: value}
        grant = world.doors.mint.grant("capture_card", order, body)
        sent = {**JSON, **world.doors.mint.headers(grant, "POST", "/v1/captures")}
        answer = await world.doors.api.post("/v1/captures", content=json.dumps(body), headers=sent)
        assert answer.status_code in {400, 401, 403, 422}, (name, answer.status_code)


async def in_a_browser_report(world: World, number: str) -> None:
    origin = world.house.urls["vault_page"]
    for blocked in (f"https://thief.example/{number}", f"https://{number}.example/", number):
        report = {
            "document-uri": f"{origin}/captures/cap_{number}",
            "blocked-uri": blocked,
            "effective-directive": "connect-src",
            "script-sample": number,
            "referrer": number,
        }
        body = json.dumps({"csp-report": report})
        await world.say("POST", f"{origin}/reports", content=body, headers={"content-type": "application/csp-report"})


async def in_signed_events(world: World, number: str) -> None:
    """The processor itself, rightly signed, says it in every place of an event."""
    secret = world.house.keyring.path("vault/webhook.secret").read_text(encoding="ascii").strip()
    url = f"{world.house.urls['vault_webhooks']}/webhooks/stripe"
    shown = {"description": number, "metadata": {"tenant_id": f"tnt_{number}", number: number}}
    for changes in (
        {"id": f"evt_{number}"},
        {"type": f"charge.{number}"},
        {"data": {"object": {**shown, "id": f"pi_{number}"}}},
        {"data": {"object": {**shown, "payment_intent": f"pi_{number}"}}},
        {number: number},
    ):
        body = event_about(f"pi_{new_id('abc')}", "charge", "charge.succeeded", **changes)
        await world.say("POST", url, content=body, headers=signed(body, secret=secret))


async def said_to_an_assistant(world: World, number: str) -> None:
    """Every tool is handed it, written, spaced and spoken, in each of its arguments."""
    async with world.street.shopper() as shopper:
        tools = (await shopper.client.list_tools()).tools
        for tool in tools:
            names = list(tool.input_schema.get("properties", {}))
            for text in (number, spaced(number), spoken(number)):
                await _try_each(shopper, tool.name, names, text)


async def _try_each(shopper: Shopper, tool: str, names: list[str], text: str) -> None:
    for name in names:
        result = await shopper.try_tool(tool, **{name: text})
        assert result.is_error, (tool, name)


async def said_to_the_brands_agent(world: World, number: str) -> None:
    """The brand's own agent passes on what a person says, in every form that the screen knows."""
    agent = await world.street.agent()
    opening = {"brand_id": BRAND, "channel": "chat"}
    opened = await agent.post("/v1/conversations", opening, expect=201)
    conversation = {"conversation_id": opened["conversation_id"]}
    for text in (number, spaced(number), spoken(number), f"take {'-'.join(number)} now"):
        for path, body in (
            ("/v1/memories", {"text": text, **conversation}),
            ("/v1/recalls", {"query": text, **conversation}),
            ("/v1/recalls/preparations", {"query": text, **conversation}),
            ("/v1/conversations", {**opening, "contact_point": {"kind": "email", "value": text}}),
            ("/v1/conversations", {"brand_id": BRAND, "channel": text}),
            (f"/v1/conversations/{text}/challenges", {"method": "email_code"}),
            ("/v1/purchases", {"checkout_id": text, "cart_sha256": "0" * 64, **conversation}),
            ("/v1/purchases", {"checkout_id": f"chk_{number}", "cart_sha256": "0" * 64, **conversation}),
            (f"/v1/purchases/pur_{number}/refunds", {"amount_minor": 1, "request_key": number, **conversation}),
        ):  # fmt: skip
            answer = await agent.post(path, body)
            assert answer["http_status"] >= 400, (path, answer)


async def said_to_the_memory(world: World, number: str) -> None:
    """Whoever took over the gateway orders it to be remembered."""
    person = Person()
    said = Provenance(
        source=Source.SUBJECT, channel="chat", conversation_id="cnv_lamp", client_id="agt_lamp", confidence_percent=90
    )
    mint = TestMint(SystemClock(), "memory", world.doors.mint.issuer, world.doors.mint.key, world.doors.mint.sender)
    url = f"{world.house.urls['memory']}/v1/memories"
    for text in (number, spaced(number), spoken(number)):
        order = RememberOrder(
            tenant_id=person.tenant_id,
            brand_id=person.brand_id,
            subject_id=person.subject_id,
            memory_id=new_id("mem"),
            text=text,
            provenance=said,
        )
        sent = {**JSON, **mint.headers(mint.grant("remember", order), "POST", "/v1/memories")}
        answer = await world.say("POST", url, content=body_of(order), headers=sent)
        assert answer.json()["code"] == "card_number_refused", answer.text


PATHS: Final = (
    LeakPath("an assistant buys", CARD_NUMBER, assistant_buys),
    LeakPath("posted plain, charged", "4000056655665556", posted_plain),
    LeakPath("sealed with X-Wing, charged", "5555555555554444", sealed_post_quantum),
    LeakPath("sealed with X25519, charged", "2223003122003222", sealed_classical),
    LeakPath("refunded", "378282246310005", refunded),
    LeakPath("held and settled", "371449635398431", held_and_settled),
    LeakPath("held and voided", "6011111111111117", held_and_voided),
    LeakPath("disputed", "4000000000000259", disputed),
    LeakPath("declined", "4000000000000002", declined),
    LeakPath("declined for want of money", "4000000000009995", declined),
    LeakPath("declined for want of 3-D Secure", "4000002500003155", declined),
    LeakPath("echoed in a message", "5200828282828210", echoed("echo_card_number")),
    LeakPath("echoed in headers", "5105105105105100", echoed("echo_in_headers")),
    LeakPath("echoed in a page", "3566002020360505", echoed("echo_in_html")),
    LeakPath("echoed in a redirect", "6200000000000005", echoed("echo_in_redirect")),
    LeakPath("charged, the answer lost", "3056930009020004", charge_lost),
    LeakPath("typed into every field", "4012888888881881", typed_into_every_field),
    LeakPath("in a report of a browser", "4009348888881881", in_a_browser_report),
    LeakPath("in signed events", "4012000077777777", in_signed_events),
    LeakPath("in orders of the gateway", "4217651111111119", in_orders, frozenset({"vault"})),
    LeakPath("said at every listener", "4500600000000061", said_at_every_listener, frozenset({*SERVICES, "vault"})),
    LeakPath("said to an assistant", "4012000033330026", said_to_an_assistant, frozenset({"mcp_server"})),
    LeakPath("said to the brand's agent", "2223000048400011", said_to_the_brands_agent, frozenset({"gateway"})),
    LeakPath("said to the memory", "6221261111117766", said_to_the_memory, frozenset({"memory"})),
    *BATCH,  # before the root is put under custody, in the next
    *OUTWARD,
    *PHONE,
    *UPDATER,
)
HANDED: Final = {path.number: path.handed for path in PATHS}
NAMES: Final = {path.number: path.name for path in PATHS}
assert len(HANDED) == len(PATHS), "a number of its own for each path"
