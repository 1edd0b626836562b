"""A loud house and somebody outside of it, for the paths of `leak_paths`."""

import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx2

from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from infra.dev.house import House, Options
from infra.dev.ports import HOST, Ports, free_ports
from infra.dev.postgres import ServiceDatabase
from infra.dev.processes import Child, spawn
from infra.dev.settings import ROOT
from infra.sandbox.settings import AIRWALLEX_CLIENT_ID, CHECKOUT_CLIENT_ID
from tests.journeys.conftest import Street
from tests.sandbox.running import AIRWALLEX_KEY, CHECKOUT_SECRET, NO_TLS, WEBHOOK_SECRET, updater_pems
from tests.support.grants import TestMint
from tests.support.waiting import BUSY_SECONDS_MAX
from tests.vault.bench import Doors, Person
from tests.vault.destination import Company, company
from tests.vault.receiver import Receiver, receiving
from vault.cleartext.hpke import PagePublicKey, SealSuite, seal_form
from vault.contract import CaptureOrder, ChargeOrder, TokenTerms
from vault.store import Store

LOUD_POSTGRES: Final = {
    "log_statement": "all",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "log_min_error_statement": "error",
}


class LoudHouse(House):
    """Everything said at DEBUG, the processor's SDK told to log all it can, each wire but two recorded.

    PostgreSQL writes every statement and every parameter into its log, which the runner otherwise forbids it: so a
    number that is merely looked for is seen too. The vault's working folder is its own, where the kernel would leave
    its core. It has a second processor, a card updater, and libraries that write all they have to say (`loud_vault`).
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Ports.free(), Options(log_level="DEBUG", wiretap=True, durable=False))
        self.vault_folder = self.folder / "vault"
        self.raw_log = self.logs / "vault.libraries.log"
        port, another = free_ports(2)
        self.airwallex_bind, self.checkout_bind = f"{HOST}:{port}", f"{HOST}:{another}"
        self.airwallex_url, self.checkout_url = f"http://{self.airwallex_bind}", f"http://{self.checkout_bind}"

    def start(self) -> None:
        super().start()
        for cluster in self.clusters.values():
            for setting, value in LOUD_POSTGRES.items():
                cluster.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
            cluster.sql("SELECT pg_reload_conf()")

    def _spawn(self, service: str, environment: dict[str, str], *command: str) -> Child:
        if service == "sandbox":
            _, public = updater_pems()
            theirs = {
                "AIRWALLEX_BIND": self.airwallex_bind,
                "AIRWALLEX_KEY_FILE": self._file("awx.key", AIRWALLEX_KEY),
                "CHECKOUT_BIND": self.checkout_bind,
                "CHECKOUT_SECRET_FILE": self._file("checkout.secret", CHECKOUT_SECRET),
                "CHECKOUT_SEALING_KEY_FILE": self._file("updater.pem", public.decode()),
            }
            named = {f"UNDERCROFT_SANDBOX_{name}": value for name, value in theirs.items()}
            return super()._spawn(service, environment | named, *command)
        if service != "vault":
            return super()._spawn(service, environment, *command)
        self.vault_folder.mkdir(mode=0o700, exist_ok=True)
        return spawn(
            [sys.executable, "-m", "tests.attacks.loud_vault", *command],
            environment={
                **environment,
                "LIBRARIES_LOG": str(self.raw_log),
                "STRIPE_LOG": "debug",
                "PYTHONPATH": str(ROOT),
                "UNDERCROFT_VAULT_AIRWALLEX_URL": self.airwallex_url,
                "UNDERCROFT_VAULT_AIRWALLEX_CLIENT_ID": AIRWALLEX_CLIENT_ID,
                "UNDERCROFT_VAULT_AIRWALLEX_KEY_FILE": self._file("awx.key", AIRWALLEX_KEY),
                "UNDERCROFT_VAULT_AIRWALLEX_WEBHOOK_SECRET_FILE": self._file("awx.secret", WEBHOOK_SECRET),
                "UNDERCROFT_VAULT_UPDATER_URL": self.checkout_url,
                "UNDERCROFT_VAULT_UPDATER_LOGIN_URL": self.checkout_url,
                "UNDERCROFT_VAULT_UPDATER_CLIENT_ID": CHECKOUT_CLIENT_ID,
                "UNDERCROFT_VAULT_UPDATER_CLIENT_SECRET_FILE": self._file("checkout.secret", CHECKOUT_SECRET),
                "UNDERCROFT_VAULT_UPDATER_KEY_FILE": self._file("updater.key", updater_pems()[0].decode()),
                "UNDERCROFT_VAULT_UPDATER_EVERY_SECONDS": "1",
                "UNDERCROFT_VAULT_WALLS": "off",  # they would keep the search out of its memory and forbid the core
            },
            log=self.logs / "vault.log",
            folder=self.vault_folder,
        )

    def _file(self, name: str, content: str) -> str:
        path = self.folder / name
        path.write_text(content, encoding="ascii")
        path.chmod(0o600)
        return str(path)


@dataclass(slots=True)
class HouseDoors(Doors):
    """The vault's doors in a house; its grants are minted with the gateway's own keys."""

    door_origin: str = ""

    async def enter(self, order: CaptureOrder, grant: str | None = None, origin: str = "") -> httpx2.Response:
        return await Doors.enter(self, order, grant, origin or self.door_origin)


@dataclass(slots=True)
class World:
    """Outside of a house. What it answered, headers and all, is kept, and what it told the tenant at `receiver`.

    `company` is where cards are forwarded.
    """

    house: LoudHouse
    street: Street
    doors: HouseDoors
    http: httpx2.AsyncClient
    company: Company
    receiver: Receiver
    answers: list[bytes] = field(default_factory=list)

    @property
    def databases(self) -> ServiceDatabase:
        """The vault's."""
        return self.house.databases["vault"]

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """As an operator's command has it."""
        engine = create_engine(Secret(self.databases.app_dsn), pool_size=1)
        try:
            yield Store(engine)
        finally:
            await engine.dispose()

    async def token(
        self, person: Person, number: str, suite: SealSuite | None = None, terms: TokenTerms | None = None
    ) -> str:
        """Of a card typed on the page, posted plain or sealed."""
        ordered = {} if terms is None else {"terms": terms}
        if suite is None:
            return await self.doors.new_token(person, number, **ordered)
        order = person.capture(**ordered)
        assert (await self.doors.order_capture(order)).status_code == 200
        assert (await self.doors.enter(order)).status_code == 303
        fields = sealed_form((await self.doors.page(order)).text, suite, number)
        origin = {"origin": self.doors.page_url}
        taken = await self.doors.browser.post(f"/captures/{order.capture_id}", data=fields, headers=origin)
        assert taken.status_code == 303
        token: str = (await self.doors.show_capture(order)).json()["token_id"]
        return token

    async def charged(self, person: Person, number: str, state: str, suite: SealSuite | None = None) -> ChargeOrder:
        order = person.charge(await self.token(person, number, suite))
        answer = (await self.doors.charge(order)).json()
        assert answer["state"] == state, answer
        return order

    async def say(self, method: str, url: str, **what: Any) -> httpx2.Response:
        return await self.http.request(method, url, **what)


@dataclass(frozen=True, slots=True)
class LeakPath:
    name: str
    number: str
    drive: Callable[[World, str], Awaitable[None]]
    handed: frozenset[str] = frozenset()


@asynccontextmanager
async def outside(house: LoudHouse) -> AsyncIterator[World]:
    answers: list[bytes] = []

    async def keep(answer: httpx2.Response) -> None:
        await answer.aread()
        answers.append(repr(answer.headers.raw).encode() + answer.content)

    def client(base_url: str = "") -> httpx2.AsyncClient:
        hooks = {"response": [keep]}
        return httpx2.AsyncClient(base_url=base_url, verify=NO_TLS, timeout=BUSY_SECONDS_MAX, event_hooks=hooks)

    mint = TestMint(
        SystemClock(),
        "vault",
        house.urls["gateway"],
        house.keyring.private_key("gateway/keys/grant.pem"),
        house.keyring.private_key("gateway/keys/sender.pem"),
    )
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        client(house.urls["vault"]) as api,
        client(house.urls["vault_page"]) as browser,
        client() as http,
        aiohttp.ClientSession(timeout=timeout) as session,
        company() as destination,
        receiving() as receiver,
    ):
        doors = HouseDoors(mint, api, browser, house.urls["vault_page"], house.urls["gateway"])
        yield World(house, Street(house, session), doors, http, destination, receiver, answers)


def sealed_form(page: str, suite: SealSuite, number: str) -> dict[str, str]:
    """As the page's script posts it, sealed with one of the suites that the page offers."""
    offered = json.loads(unescape(_found(r'data-keys="([^"]+)"', page)))
    key = next(PagePublicKey(**key | {"suite": suite}) for key in offered if key["suite"] == suite)
    code = "1234" if number.startswith(("34", "37")) else "123"
    card = {"number": number, "expiry": "12/40", "code": code, "holder": "Ada Byron"}
    sealed = seal_form(json.dumps(card).encode(), key)
    fields = {"csrf": _found(r'name="csrf" value="([^"]+)"', page), "sealed_kid": sealed.key_id}
    return fields | {"sealed_enc": sealed.enc, "sealed_ct": sealed.ct}


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    assert found is not None, page
    return found[1]
