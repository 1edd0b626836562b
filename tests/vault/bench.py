"""The vault over real PostgreSQL and the real sandbox processor, used through its three front doors."""

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from infra.chassis.clock import FixedClock
from infra.chassis.ids import new_id
from infra.chassis.keys.settings import KeySettings
from infra.chassis.secret import Secret
from infra.chassis.settings import Bind
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import API_KEY, APPROVES, WEBHOOK_SECRET, Sandbox
from tests.support.grants import ISSUER, TestMint, body_of
from tests.support.keys import root_file
from vault.app import Vault, build_vault
from vault.contract import CaptureOrder, ChargeOrder, HoldOrder, RefundOrder
from vault.outbox.settings import OutboxSettings
from vault.settings import Settings

DOOR_ORIGIN = ISSUER
PAGE_URL = "http://127.0.0.1:7201"
TIMEOUT_SECONDS = 1
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a card, at one brand of one tenant."""

    tenant_id: str = field(default_factory=lambda: new_id("tnt"))
    brand_id: str = "brd_lamps"
    subject_id: str = field(default_factory=lambda: new_id("sub"))

    def capture(self, **changes: Any) -> CaptureOrder:
        values: dict[str, Any] = {
            "capture_id": new_id("cap"),
            "purchase_id": new_id("pur"),
            "brand_name": "Larkspur & Vale",
            "amount_minor": 7998,
            "currency": "USD",
        }
        return CaptureOrder(**self._whose(), **(values | changes))

    def charge(self, token_id: str, **changes: Any) -> ChargeOrder:
        values: dict[str, Any] = {
            "charge_id": new_id("chg"),
            "purchase_id": new_id("pur"),
            "token_id": token_id,
            "amount_minor": 7998,
            "currency": "USD",
        }
        return ChargeOrder(**self._whose(), **(values | changes))

    def hold(self, token_id: str, **changes: Any) -> HoldOrder:
        order = self.charge(token_id, **changes)
        return HoldOrder(**{name: getattr(order, name) for name in order.__struct_fields__})

    def refund(self, charge_id: str, amount_minor: int, **changes: Any) -> RefundOrder:
        values: dict[str, Any] = {"refund_id": new_id("ref"), "currency": "USD"}
        return RefundOrder(**self._whose(), charge_id=charge_id, amount_minor=amount_minor, **(values | changes))

    def _whose(self) -> dict[str, Any]:
        return {"tenant_id": self.tenant_id, "brand_id": self.brand_id, "subject_id": self.subject_id}


@dataclass(slots=True)
class Doors:
    """The gateway's and the browser's side of one vault, in process or over HTTP."""

    mint: TestMint
    api: httpx2.AsyncClient
    browser: httpx2.AsyncClient
    page_url: str = PAGE_URL

    async def send(self, path: str, action: str, order: Any, grant: str | None = None) -> httpx2.Response:
        compact = self.mint.grant(action, order) if grant is None else grant
        headers = {**JSON, **self.mint.headers(compact, "POST", path)}
        return await self.api.post(path, content=body_of(order), headers=headers)

    async def order_capture(self, order: CaptureOrder, grant: str | None = None) -> httpx2.Response:
        return await self.send("/v1/captures", "capture_card", order, grant)

    async def show_capture(self, order: CaptureOrder, grant: str | None = None) -> httpx2.Response:
        named = {"capture_id": order.capture_id}
        compact = self.mint.grant("read_capture", order, named) if grant is None else grant
        path = f"/v1/captures/{order.capture_id}"
        return await self.api.get(path, headers=self.mint.headers(compact, "GET", path))

    async def charge(self, order: ChargeOrder, grant: str | None = None) -> httpx2.Response:
        return await self.send("/v1/charges", "charge", order, grant)

    async def hold(self, order: HoldOrder, grant: str | None = None) -> httpx2.Response:
        return await self.send("/v1/holds", "hold", order, grant)

    async def refund(self, order: RefundOrder, grant: str | None = None) -> httpx2.Response:
        return await self.send("/v1/refunds", "refund", order, grant)

    def entry_grant(self, order: CaptureOrder, **changes: Any) -> str:
        parameters = {"capture_id": order.capture_id, "subject_id": order.subject_id}
        return self.mint.grant("open_capture", order, parameters, **changes)

    async def enter(self, order: CaptureOrder, grant: str | None = None, origin: str = DOOR_ORIGIN) -> httpx2.Response:
        """What the gateway's door page makes the browser do."""
        compact = self.entry_grant(order) if grant is None else grant
        return await self.browser.post(
            f"/captures/{order.capture_id}/open", data={"grant": compact}, headers={"origin": origin}
        )

    async def page(self, order: CaptureOrder) -> httpx2.Response:
        return await self.browser.get(f"/captures/{order.capture_id}")

    async def type_card(self, order: CaptureOrder, number: str = APPROVES, **changes: str) -> httpx2.Response:
        """Fill in the form of the open page and post it, as a browser without JavaScript does."""
        shown = await self.page(order)
        found = re.search(r'name="csrf" value="([^"]+)"', shown.text)
        assert found is not None, shown.status_code
        code = "1234" if number.startswith(("34", "37")) else "123"
        fields = {"csrf": found[1], "number": number, "expiry": "12/40", "code": code, "holder": "Ada Byron"}
        return await self.browser.post(
            f"/captures/{order.capture_id}", data=fields | changes, headers={"origin": self.page_url}
        )

    async def new_token(self, person: Person, number: str = APPROVES, **ordered: Any) -> str:
        """A card typed on the page just now, its verification code still at hand. `ordered`: of the capture."""
        order = person.capture(**ordered)
        assert (await self.order_capture(order)).status_code == 200
        assert (await self.enter(order)).status_code == 303
        assert (await self.type_card(order, number)).status_code == 303
        view = (await self.show_capture(order)).json()
        assert view["state"] == "completed", view
        token: str = view["token_id"]
        return token

    async def paid_charge(self, person: Person, amount_minor: int = 7998) -> ChargeOrder:
        order = person.charge(await self.new_token(person), amount_minor=amount_minor)
        assert (await self.charge(order)).json()["state"] == "approved"
        return order


@dataclass(slots=True)
class Bench(Doors):
    """A vault in this process, whose clock stands still until moved."""

    vault: Vault = field(kw_only=True)
    clock: FixedClock = field(kw_only=True)
    processor: Sandbox = field(kw_only=True)
    webhooks: httpx2.AsyncClient = field(kw_only=True)
    databases: ServiceDatabase = field(kw_only=True)
    settings: Settings = field(kw_only=True)

    def processor_charges(self, charge_id: str) -> list[dict[str, Any]]:
        """What the processor says was attempted for a charge of ours."""
        answer = self.processor.plain.get(f"{self.processor.url}/_sandbox/charges").json()["charges"]
        return [charge for charge in answer if charge["metadata"].get("charge_id") == charge_id]

    def payments(self, charge_id: str) -> list[str]:
        """The states of all payments that the processor's own list has for a charge of ours; newest first."""
        url = f"{self.processor.url}/v1/payment_intents?limit=100"
        found = self.processor.plain.get(url, auth=(API_KEY, "")).raise_for_status().json()["data"]
        return [one["status"] for one in found if one["metadata"].get("charge_id") == charge_id]

    def payment_ref(self, charge_id: str) -> str:
        (charge,) = self.processor_charges(charge_id)
        ref: str = charge["payment_intent"]
        return ref

    def expire(self, charge_id: str) -> None:
        """The processor lets go of held money by itself."""
        url = f"{self.processor.url}/_sandbox/holds/{self.payment_ref(charge_id)}/expire"
        self.processor.plain.post(url).raise_for_status()

    def taken_minor(self, charge_id: str) -> int:
        return sum(charge["amount_settled_minor"] for charge in self.processor_charges(charge_id))


def settings_for(folder: Path, databases: ServiceDatabase, processor: Sandbox, mint: TestMint) -> Settings:
    return Settings(
        bind=Bind("127.0.0.1", 7200),
        page_bind=Bind("127.0.0.1", 7201),
        webhook_bind=Bind("127.0.0.1", 7202),
        page_url=PAGE_URL,
        database_url=Secret(databases.app_dsn),
        grant_jwks_file=mint.write_jwks(folder / "grant.jwks"),
        grant_issuer=mint.issuer,
        door_origin=DOOR_ORIGIN,
        keys=KeySettings(root_key_file=root_file(folder)),
        outbox=OutboxSettings(outbox_key=Secret(secrets.token_bytes(32))),
        fingerprint_key=Secret(secrets.token_bytes(32)),
        processor_url=processor.url,
        processor_key=Secret(API_KEY),
        webhook_secret=Secret(WEBHOOK_SECRET),
        processor_timeout_seconds=TIMEOUT_SECONDS,
        sandbox=True,
    )


@asynccontextmanager
async def open_bench(
    folder: Path, databases: ServiceDatabase, processor: Sandbox, **changes: Any
) -> AsyncIterator[Bench]:
    """`changes` are settings other than the usual ones."""
    clock = FixedClock(datetime.now(UTC))
    mint = TestMint(clock, "vault")
    settings = replace(settings_for(folder, databases, processor, mint), **changes)
    vault = build_vault(settings, clock)
    async with (
        _client(vault.api, "http://vault") as api,
        _client(vault.page, PAGE_URL) as browser,
        _client(vault.webhook, "http://vault") as webhooks,
    ):
        yield Bench(
            mint=mint,
            api=api,
            browser=browser,
            vault=vault,
            clock=clock,
            processor=processor,
            webhooks=webhooks,
            databases=databases,
            settings=settings,
        )
    await vault.close()


def _client(app: Any, base_url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base_url)


@contextmanager
def root_away(bench: Bench) -> Iterator[None]:
    """The key service does not answer meanwhile."""
    root = bench.settings.keys.root_key_file
    assert root is not None
    elsewhere = root.rename(root.with_suffix(".away"))
    try:
        yield
    finally:
        elsewhere.rename(root)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[AsyncEngine]:
    """A connection past the vault, as a thief or an operator would have it."""
    engine = create_async_engine(dsn, poolclass=NullPool)
    try:
        yield engine
    finally:
        await engine.dispose()


async def rows(dsn: str, sql: str, tenant_id: str | None = None, **values: Any) -> list[dict[str, Any]]:
    async with connected(dsn) as engine, engine.begin() as connection:
        if tenant_id is not None:
            await connection.execute(
                sqlalchemy.text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": tenant_id}
            )
        return [dict(row) for row in (await connection.execute(sqlalchemy.text(sql), values)).mappings()]
