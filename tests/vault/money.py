"""Orders about money as the gateway gives them, and the ledger as whoever holds the app role reads it."""

from dataclasses import dataclass
from typing import Any

import httpx2
import sqlalchemy

from infra.chassis.ids import new_id
from tests.vault.bench import Bench, Person, connected, rows
from vault.contract import ChargeOrder, HoldOrder, SettleOrder, VoidOrder

DECLINES, DISPUTED, INQUIRY = "4000000000000002", "4000000000000259", "4000000000001976"


@dataclass(frozen=True, slots=True)
class Till:
    """One person's orders; answers are the bodies, with the status of a refusal."""

    bench: Bench
    person: Person

    async def charge(self, order: ChargeOrder) -> dict[str, Any]:
        return _body(await self.bench.charge(order))

    async def held(self, amount_minor: int = 7998) -> HoldOrder:
        order = self.person.hold(await self.bench.new_token(self.person), amount_minor=amount_minor)
        answer = _body(await self.bench.hold(order))
        assert answer["state"] == "held", answer
        return order

    async def settle(
        self, hold: ChargeOrder, amount_minor: int, *, missing: bool = False, **changes: Any
    ) -> dict[str, Any]:
        values: dict[str, Any] = {"settlement_id": new_id("stl"), "currency": hold.currency}
        values |= {"amount_minor": amount_minor, **changes}
        order = SettleOrder(charge_id=new_id("chg") if missing else hold.charge_id, **self._whose(), **values)
        return _body(await self.bench.send("/v1/settlements", "settle", order))

    async def void(self, hold: ChargeOrder, **changes: Any) -> dict[str, Any]:
        order = VoidOrder(charge_id=hold.charge_id, **self._whose(), **({"void_id": new_id("vod")} | changes))
        return _body(await self.bench.send("/v1/voids", "void", order))

    async def refund(self, charge_id: str, amount_minor: int, **changes: Any) -> dict[str, Any]:
        return _body(await self.bench.refund(self.person.refund(charge_id, amount_minor, **changes)))

    async def intend(self, order: ChargeOrder) -> None:
        """Write a charge's intention as a vault does that is killed right after it, its time being up."""
        sql = """INSERT INTO charges (tenant_id, charge_id, brand_id, subject_id, purchase_id, token_id, amount_minor,
                currency, state, created_at, updated_at, worked_until)
            VALUES (:tenant_id, :charge_id, :brand_id, :subject_id, :purchase_id, :token_id, :amount_minor, :currency,
                'intended', :now, :now, :now)"""
        attempt = """INSERT INTO charge_attempts (tenant_id, charge_id, attempt, processor, state, started_at)
            VALUES (:tenant_id, :charge_id, 1, 'stripe', 'live', :now)"""
        values = {name: getattr(order, name) for name in order.__struct_fields__} | {"now": self.bench.clock.now()}
        async with connected(self.bench.databases.app_dsn) as engine, engine.begin() as connection:
            await connection.execute(
                sqlalchemy.text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": order.tenant_id}
            )
            for statement in (sql, attempt):
                await connection.execute(sqlalchemy.text(statement), values)

    def _whose(self) -> dict[str, Any]:
        person = self.person
        return {"tenant_id": person.tenant_id, "brand_id": person.brand_id, "subject_id": person.subject_id}


def _body(answer: httpx2.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    return body


async def ledger_of(bench: Bench, person: Person) -> dict[str, int]:
    """What each account of the tenant comes to, those at zero left out."""
    sql = "SELECT account, sum(amount_minor)::bigint AS total FROM entries GROUP BY account ORDER BY account"
    found = await rows(bench.databases.app_dsn, sql, person.tenant_id)
    return {row["account"]: row["total"] for row in found if row["total"]}
