"""What is asked of a vault while it breaks: every route of the three listeners, and every way on which a card goes."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, get_type_hints

import httpx2
import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.postgres import ServiceDatabase
from tests.attacks.leak_paths_updater import ENDS_SECONDS, inquiries_ended, make_due
from tests.attacks.leak_world import sealed_form
from tests.support.waiting import wait_until
from tests.vault.bench import FORM, JSON, Person, rows
from tests.vault.destination import Forwarding, company, echo, register, registration
from tests.vault.events import event_about, signed
from tests.vault.phone import Guard
from tests.vault.process import VaultProcess
from tests.vault.processor_rigs import airwallex_signature
from vault.cleartext.hpke import SealSuite
from vault.contract import CaptureOrder
from vault.forwarding.destinations import BodyKind, Part
from vault.keyed.wire import KeyedCard
from vault.processors import AIRWALLEX
from vault.routing.rows import add_route
from vault.routing.rules import Route
from vault.store import Store
from vault.updating.rows import turn_on

SAID: Final = "5105105105105100"
AS_FORM: Final = "a forward as a form"
FORM_TEMPLATE: Final = "booking=bk-7&pan={{card.number}}"
PARAMETER: Final = re.compile(r"\{[^}]+\}")
CANDIDATES: Final[tuple[Any, ...]] = (
    "abc_example",
    "USD",
    1,
    True,
    "https://a.example/",
    "x" * 64,
    {},
    [],
    "2030-01-01T00:00:00Z",
)
HEADERS: Final = {"user-agent": SAID, "accept-language": SAID, "x-request-id": SAID}


@dataclass(slots=True)
class Somebody:
    """A person with a card on file, another whose tenant's charges go to the second processor, and a destination; a
    third, whose tenant has their cards kept up to date.
    """

    vault: VaultProcess
    webhooks: str
    person: Person
    token: str
    second: Person
    second_token: str
    forwarding: Forwarding
    form_destination: str
    third: Person
    store: Store
    answers: list[bytes] = field(default_factory=list)

    async def opened(self) -> tuple[CaptureOrder, str]:
        """A capture whose form is on the screen, and the form."""
        order = self.person.capture()
        assert (await self.vault.order_capture(order)).status_code == 200
        assert (await self.vault.enter(order)).status_code == 303
        return order, (await self.vault.page(order)).text

    async def post(
        self, order: CaptureOrder, fields: dict[str, str], browser: httpx2.AsyncClient | None = None
    ) -> httpx2.Response:
        origin, browser = {"origin": self.vault.page_url}, browser or self.vault.browser
        return await browser.post(f"/captures/{order.capture_id}", data=fields, headers=origin)


Go = Callable[[Somebody, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Act:
    """`prepare` is done while nothing fails, `go` while something does."""

    name: str
    go: Go
    prepare: Callable[[Somebody], Awaitable[Any]]


async def _nothing(_one: Somebody) -> None:
    return None


async def _new_token(one: Somebody) -> str:
    return await one.vault.new_token(one.person, SAID)


async def _charge(one: Somebody, _: None) -> None:
    await one.vault.charge(one.person.charge(one.token))


async def _charge_by_the_second(one: Somebody, _: None) -> None:
    await one.vault.charge(one.second.charge(one.second_token))


async def _charge_a_new_card(one: Somebody, token: str) -> None:
    await one.vault.charge(one.person.charge(token))


async def _forward(one: Somebody, _: None) -> None:
    one.forwarding.company.answering = echo()
    await one.forwarding.send(one.forwarding.order())


async def _forward_as_a_form(one: Somebody, _: None) -> None:
    one.forwarding.company.answering = echo(content_type=FORM["content-type"])
    await one.forwarding.send(one.forwarding.order(FORM_TEMPLATE, destination_id=one.form_destination))


async def _older_fingerprint(one: Somebody) -> None:
    """As of a card stored before the fingerprint's key had a second version (`breaking_vault` gives it one)."""
    sql = "UPDATE cards SET fingerprint_version = 1 WHERE token_id = :token RETURNING 1"
    assert await rows(one.forwarding.databases.app_dsn, sql, one.person.tenant_id, token=one.token)


def plain_form(page: str, number: str) -> dict[str, str]:
    """As a browser without JavaScript posts it."""
    csrf = sealed_form(page, SealSuite.X25519, number)["csrf"]
    return {"csrf": csrf, "number": number, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}


async def _post_plain(one: Somebody, opened: tuple[CaptureOrder, str]) -> None:
    order, page = opened
    await one.post(order, plain_form(page, SAID))


async def _post_mistyped(one: Somebody, opened: tuple[CaptureOrder, str]) -> None:
    order, page = opened
    csrf = sealed_form(page, SealSuite.X25519, SAID)["csrf"]
    await one.post(order, {"csrf": csrf, "number": SAID, "expiry": SAID, "code": SAID[:13], "holder": SAID})


async def _post_sealed(one: Somebody, opened: tuple[CaptureOrder, str]) -> None:
    order, page = opened
    await one.post(order, sealed_form(page, SealSuite.X_WING, SAID))


async def _guard_ready(one: Somebody) -> tuple[CaptureOrder, KeyedCard]:
    guard = Guard(one.vault)
    order = await guard.ordered(one.person)
    return order, await guard.sealed(order, SAID)


async def _key_in(one: Somebody, ready: tuple[CaptureOrder, KeyedCard]) -> None:
    await Guard(one.vault).hand_in(*ready)


async def _report(one: Somebody, _: None) -> None:
    report = {"document-uri": f"{one.vault.page_url}/captures/cap_x", "blocked-uri": f"https://a.example/{SAID}"}
    body = json.dumps({"csp-report": {**report, "effective-directive": "connect-src", "script-sample": SAID}})
    await one.vault.browser.post("/reports", content=body, headers={"content-type": "application/csp-report"})


async def _event(one: Somebody, _: None) -> None:
    body = event_about(f"pi_{new_id('abc')[4:]}", "charge", "charge.succeeded", description=SAID)
    await one.vault.api.post(f"{one.webhooks}/webhooks/stripe", content=body, headers={**JSON, **signed(body)})


async def _event_of_the_second(one: Somebody, _: None) -> None:
    shown = {"id": f"int_{new_id('abc')[4:]}", "metadata": {"tenant_id": one.second.tenant_id}, "number": SAID}
    said = {"id": f"evt_{SAID}", "name": "payment_intent.succeeded", "data": {"object": shown}}
    body = json.dumps(said).encode()
    sent_at, _comma, mac = airwallex_signature(body, int(SystemClock().now().timestamp() * 1000)).partition(",")
    headers = {"x-timestamp": sent_at.removeprefix("t="), "x-signature": mac.removeprefix("v1=")}
    await one.vault.api.post(f"{one.webhooks}/webhooks/airwallex", content=body, headers={**JSON, **headers})


async def _third_token(one: Somebody) -> str:
    return await one.vault.new_token(one.third, SAID)


async def _inquire(one: Somebody, token: str) -> None:
    """Until it is over, whatever became of it."""
    before = inquiries_ended(one.vault.log)
    async with one.store.transaction(one.third.tenant_id) as tx:
        await make_due(tx, token)
    await wait_until(lambda: inquiries_ended(one.vault.log) > before, ENDS_SECONDS)


async def _opened(one: Somebody) -> tuple[CaptureOrder, str]:
    return await one.opened()


ACTS: Final = (
    Act("a charge", _charge, _nothing),
    Act("a charge of a card with an older fingerprint", _charge, _older_fingerprint),
    Act("a forward", _forward, _nothing),
    Act(AS_FORM, _forward_as_a_form, _nothing),
    Act("a charge by the second processor", _charge_by_the_second, _nothing),
    Act("a form posted plain", _post_plain, _opened),
    Act("a form posted sealed", _post_sealed, _opened),
    Act("a form posted with flaws", _post_mistyped, _opened),
    Act("a card keyed in", _key_in, _guard_ready),
    Act("a charge of a new card", _charge_a_new_card, _new_token),
    Act("an inquiry at the card updater", _inquire, _third_token),
    Act("an event", _event, _nothing),
    Act("an event of the second processor", _event_of_the_second, _nothing),
    Act("a report", _report, _nothing),
)
"""Those that cost least stand first: a function that several pass through fails in the first."""


@asynccontextmanager
async def somebody(vault: VaultProcess, databases: ServiceDatabase, webhooks: str) -> AsyncIterator[Somebody]:
    person, second, third = Person(), Person(), Person()
    answers: list[bytes] = []

    async def keep(answer: httpx2.Response) -> None:
        await answer.aread()
        answers.append(repr(answer.headers.raw).encode() + answer.content)

    for client in (vault.api, vault.browser):
        client.event_hooks = {"response": [keep]}
    vault.api.headers["connection"] = "close"  # the web server keeps what it read of one until it ends
    token, second_token = await vault.new_token(person, SAID), await vault.new_token(second, SAID)
    await vault.new_token(third, SAID)
    engine = create_engine(Secret(databases.app_dsn), pool_size=1)
    store = Store(engine)
    async with store.transaction(second.tenant_id) as tx:
        await add_route(tx, Route(route_id=new_id("rte"), position=1, processor=AIRWALLEX, weight=1))
    async with store.transaction(third.tenant_id) as tx:
        await turn_on(tx, "operator ada", SystemClock().now())
    assert (await vault.charge(person.charge(token))).json()["state"] == "approved"
    assert (await vault.charge(second.charge(second_token))).json()["state"] == "approved"
    async with company() as there:
        new = registration(person, there.url)
        as_form = registration(person, there.url, body=BodyKind.FORM, fields={"/pan": Part.NUMBER})
        for one in (new, as_form):
            await register(databases, one, SystemClock())
        forwarding = Forwarding(vault, databases, person, there, token, new.destination_id)
        try:
            yield Somebody(
                vault, webhooks, person, token, second, second_token, forwarding, as_form.destination_id, third, store,
                answers,
            )  # fmt: skip
        finally:
            await engine.dispose()


def knocking_at(handler: HTTPRouteHandler, base: str) -> Act:
    """With a body of the right kind where one is read before the handler is: it is reached, and refuses.

    Not in the path or the query: who routes remembers those (`leak_paths`).
    """
    body = get_type_hints(handler.fn).get("data")
    content = f"number={SAID}" if body is None else json.dumps(example_of(body), default=str)
    headers = {**HEADERS, **(FORM if body is None else JSON), "undercroft-grant": SAID, "undercroft-proof": SAID}
    (method, *_), (path, *_) = sorted(handler.http_methods), sorted(handler.paths)
    url = base + PARAMETER.sub("abc_example", path)

    async def go(one: Somebody, _: None) -> None:
        await one.vault.api.request(method, url, content=content if method == "POST" else None, headers=headers)

    return Act(f"knocking at {method} {path}", go, _nothing)


def example_of(kind: Any) -> Any:
    """Something that this type accepts."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {one.encode_name: example_of(one.type) for one in msgspec.structs.fields(kind) if one.required}
    choices = [one.value for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else CANDIDATES
    for choice in choices:
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert(choice, kind)
            return choice
    pytest.fail(f"no example of {kind}: add one to CANDIDATES")
