"""Ways of a card that the card updater is asked about: it says the number back as it must not, or sends another."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from infra.chassis.clock import SystemClock
from tests.attacks.leak_world import LeakPath, World
from tests.support.waiting import wait_until
from tests.vault.bench import Person
from vault.cleartext.hpke import SealSuite
from vault.store import Tx
from vault.updating.rows import turn_on

ENDS_SECONDS: Final = 60.0
"""A round comes every second on an idle machine."""
ENDS: Final = ("card_asked_about", "updater_unanswered", "updating_of_tenant_failed")


async def make_due(tx: Tx, token_id: str) -> None:
    """As if it had been charged, and ended in ten days. Its sealed details say otherwise."""
    now = SystemClock().now()
    sql = """UPDATE cards SET on_file_since = coalesce(on_file_since, :now), good_through = :ends
        WHERE tenant_id = :tenant_id AND token_id = :token_id"""
    await tx.run(sql, {"token_id": token_id, "now": now, "ends": (now + timedelta(days=10)).date()})


def inquiries_ended(log: Path) -> int:
    """One way or another, as the vault says."""
    said = log.read_text(encoding="utf-8")
    return sum(said.count(f'"{word}"') for word in ENDS)


async def asked(world: World, number: str) -> None:
    """A new card with that number is asked about, and that is over."""
    person, log = Person(), world.house.logs / "vault.log"
    token = await world.token(person, number, SealSuite.X_WING)
    before = inquiries_ended(log)
    async with world.store() as store, store.transaction(person.tenant_id) as tx:
        await turn_on(tx, "operator ada", SystemClock().now())
        await make_due(tx, token)
    await wait_until(lambda: inquiries_ended(log) > before, ENDS_SECONDS)


async def sent_by_the_updater(world: World, number: str) -> None:
    """In the place of a card of the same network, which another path has typed; and told as closed afterwards."""
    known = {"number": "5200828282828210", "status": "CARD_UPDATED", "new_number": number, "expiry_year": 2041}
    await _post(world, "cards", known)
    await asked(world, "5200828282828210")
    await _post(world, "cards", {"number": number, "status": "CARD_CLOSED"})
    await asked(world, number)


async def echoed_by_the_updater(world: World, number: str) -> None:
    """In a message, in a page and in a redirect; last in headers, after which the vault lets it rest for a minute."""
    for fault in ("echo_card_number", "echo_in_html", "echo_in_redirect", "echo_in_headers"):
        await _post(world, "faults", {"fault": fault})
        await asked(world, number)


async def _post(world: World, what: str, body: dict[str, object]) -> None:
    (await world.http.post(f"{world.house.checkout_url}/_sandbox/{what}", json=body)).raise_for_status()


UPDATER: Final = (
    LeakPath("sent by the card updater", "2222630000001125", sent_by_the_updater),
    LeakPath("echoed by the card updater", "2222420000001113", echoed_by_the_updater),
)
