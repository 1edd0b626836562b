"""The card updater's side of a test, and a vault that is connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from infra.chassis.clock import FixedClock
from infra.dev.postgres import ServiceDatabase
from infra.sandbox.settings import CHECKOUT_CLIENT_ID
from tests.sandbox.running import APPROVES, Sandbox
from tests.vault.bench import Bench, Doors, Person, open_bench, rows
from tests.vault.forks import ForwardClock
from vault.updating.settings import UpdaterSettings

NEXT, THIRD = "4000056655665556", "4012888888881881"
"""Visa's, as the first one."""
MARGIN = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Company:
    """The card updater."""

    sandbox: Sandbox

    def knows(self, status: str, number: str = APPROVES, **said: Any) -> None:
        known = {"number": number, "status": status, **said}
        self.sandbox.plain.post(f"{self.sandbox.checkout_url}/_sandbox/cards", json=known).raise_for_status()

    def fault(self, fault: str, times: int = 1) -> None:
        order = {"fault": fault, "times": times}
        self.sandbox.plain.post(f"{self.sandbox.checkout_url}/_sandbox/faults", json=order).raise_for_status()

    @property
    def asked(self) -> list[str]:
        """The last four digits of each card it was asked about."""
        found: list[str] = self.sandbox.plain.get(f"{self.sandbox.checkout_url}/_sandbox/inquiries").json()["last4"]
        return found

    def forget(self) -> None:
        """All it was told and asked, and those it lets wait."""
        self.sandbox.plain.delete(f"{self.sandbox.checkout_url}/_sandbox/faults").raise_for_status()

    def lock_out(self) -> None:
        """Whoever has logged in."""
        self.sandbox.plain.delete(f"{self.sandbox.checkout_url}/_sandbox/bearers").raise_for_status()


def settings_of(sandbox: Sandbox, **changes: Any) -> UpdaterSettings:
    values: dict[str, Any] = {
        "updater_url": sandbox.checkout_url,
        "updater_login_url": sandbox.checkout_url,
        "updater_client_id": CHECKOUT_CLIENT_ID,
        "updater_client_secret_file": sandbox.folder / "checkout.secret",
        "updater_key_file": sandbox.updater_key,
    }
    return UpdaterSettings(**(values | changes))


def environment_of(sandbox: Sandbox, *, every_seconds: int = 1) -> dict[str, str]:
    settings = settings_of(sandbox, updater_every_seconds=every_seconds)
    named = {name: getattr(settings, name) for name in UpdaterSettings.__dataclass_fields__}
    return {f"UNDERCROFT_VAULT_{name.upper()}": str(value) for name, value in named.items()}


@asynccontextmanager
async def open_updating(
    folder: Path, databases: ServiceDatabase, sandbox: Sandbox, **changes: Any
) -> AsyncIterator[Bench]:
    async with open_bench(folder, databases, sandbox, updater=settings_of(sandbox, **changes)) as bench:
        yield bench


async def on_file(doors: Doors, person: Person, expiry: str, number: str = APPROVES, **ordered: Any) -> str:
    """The token of a card that was charged once. `expiry` as printed on it: 03/38. `ordered`: of the capture."""
    order = person.capture(**ordered)
    assert (await doors.order_capture(order)).status_code == 200
    assert (await doors.enter(order)).status_code == 303
    assert (await doors.type_card(order, number, expiry=expiry)).status_code == 303
    token: str = (await doors.show_capture(order)).json()["token_id"]
    assert (await doors.charge(person.charge(token))).json()["state"] == "approved"
    return token


def this_month(now: datetime) -> str:
    """What is printed on a card that ends with it."""
    return f"{now:%m/%y}"


def clear_of_month_end(clock: FixedClock | ForwardClock) -> None:
    """A card is asked about once a calendar month: no test is to see two of them."""
    if (clock.now() + MARGIN).month != clock.now().month:
        clock.advance(MARGIN)


async def turn_on(databases: ServiceDatabase, person: Person, now: datetime) -> None:
    sql = """INSERT INTO card_updating (tenant_id, turned_on_by, turned_on_at) VALUES (:whose, 'ada', :now)
        RETURNING 1"""
    assert await rows(databases.app_dsn, sql, person.tenant_id, whose=person.tenant_id, now=now)


async def inquiries(databases: ServiceDatabase, person: Person) -> list[tuple[str, int, str | None]]:
    """Why, how often, and how it ended."""
    sql = "SELECT cause, tries, outcome FROM card_inquiries ORDER BY asked_at, token_id"
    found = await rows(databases.app_dsn, sql, person.tenant_id)
    return [(row["cause"], row["tries"], row["outcome"]) for row in found]
