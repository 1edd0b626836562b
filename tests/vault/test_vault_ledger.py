# ruff: noqa: S608 - the statements are a thief's, the ids in them the test's own
"""The ledger: what the database refuses whatever code says, and what the check finds when rows were edited past it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.sandbox.running import ROOT
from tests.vault.bench import Bench, Person
from tests.vault.money import DISPUTED, Till, ledger_of
from vault.contract import ChargeOrder

POST = "INSERT INTO postings (tenant_id, source_id, event, charge_id, currency, posted_at)"
ENTRY = "INSERT INTO entries (tenant_id, source_id, event, account, amount_minor)"
REFUND = (
    "INSERT INTO refunds SELECT tenant_id, gen_random_uuid(), charge_id, {minor}, currency, 'intended', NULL, now(),"
    " now(), NULL, now(), now() FROM charges WHERE charge_id = '{{c}}'"
)


@dataclass(frozen=True, slots=True)
class Thief:
    """Whoever has a role's password, in one transaction a script. `{t}` and `{c}` are the tenant and the charge."""

    dsn: str
    order: ChargeOrder

    async def run(self, *script: str, commit: bool = True) -> None:
        connection = await asyncpg.connect(self.dsn.replace("+asyncpg", ""))
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT set_config('undercroft.tenant', $1, true)", self.order.tenant_id)
            for statement in script:
                await connection.execute(statement.format(t=self.order.tenant_id, c=self.order.charge_id))
            if commit:
                await transaction.commit()
        finally:
            await connection.close()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param((f"{POST} VALUES ('{{t}}', 'x', 'held', '{{c}}', 'USD', now())",), id="a posting without entries"),
        pytest.param(
            (
                f"{POST} VALUES ('{{t}}', 'x', 'held', '{{c}}', 'USD', now())",
                f"{ENTRY} VALUES ('{{t}}', 'x', 'held', 'sales', 5), ('{{t}}', 'x', 'held', 'refunds', -4)",
            ),
            id="a posting out of balance",
        ),
        pytest.param(
            (
                f"{ENTRY} SELECT '{{t}}', '{{c}}', 'approved', * FROM (VALUES ('refunds', 5), ('disputes', -5)) x",
            ),
            id="entries added to an old posting",
        ),
        pytest.param(
            (
                f"{POST} VALUES ('{{t}}', '{{c}}', 'approved', '{{c}}', 'USD', now())",
                f"{ENTRY} VALUES ('{{t}}', '{{c}}', 'approved', 'sales', 5)",
            ),
            id="an outcome posted twice",
        ),
        pytest.param((REFUND.format(minor=7999),), id="a refund above what was taken"),
        pytest.param(
            (REFUND.format(minor=1), "UPDATE refunds SET state = 'refunded'"), id="a refund without its posting"
        ),
        pytest.param(
            ("INSERT INTO disputes VALUES ('{t}', 'dp_x', '{c}', 5, 'USD', 'open', now(), now())",),
            id="a dispute without its posting",
        ),
        pytest.param(("UPDATE charges SET taken_minor = 0, state = 'failed'",), id="an outcome taken back"),
        pytest.param(("UPDATE charges SET refunded_minor = taken_minor + 1",), id="more back than was taken"),
        pytest.param(("UPDATE charges SET processor_ref = 'pi_another'",), id="another payment"),
        pytest.param(("UPDATE charges SET state = 'settled'",), id="settled without a hold"),
    ],
)  # fmt: skip
@pytest.mark.control("UC-C.2")
async def test_the_database_refuses_what_no_outcome_does(bench: Bench, ada: Person, script: Sequence[str]):
    order = await bench.paid_charge(ada)
    before = await ledger_of(bench, ada)

    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)):
        await Thief(bench.databases.app_dsn, order).run(*script)

    assert await ledger_of(bench, ada) == before == {"processor_receivable": 7998, "sales": -7998}


@pytest.mark.control("UC-C.2")
async def test_refunds_written_at_once_past_the_code_cannot_exceed_the_charge(bench: Bench, ada: Person):
    order = await bench.paid_charge(ada)
    thief = Thief(bench.databases.app_dsn, order)
    answers = await asyncio.gather(*(thief.run(REFUND.format(minor=5000)) for _ in range(4)), return_exceptions=True)

    assert sum(answer is None for answer in answers) == 1
    assert {type(answer) for answer in answers if answer is not None} == {asyncpg.CheckViolationError}


@pytest.fixture
def settings(bench: Bench, tmp_path: Path) -> dict[str, str]:
    url = tmp_path / "app.url"
    url.write_text(bench.databases.app_dsn)
    return {"PATH": os.defpath, "UNDERCROFT_VAULT_DATABASE_URL_FILE": str(url)}


def run(settings: dict[str, str], *arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "vault", *arguments],
        cwd=ROOT, env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.control("UC-C.2")
async def test_the_check_agrees_with_everything_that_can_happen_and_names_every_edit(
    bench: Bench, ada: Person, settings: dict[str, str]
):
    till = Till(bench, ada)
    paid = await bench.paid_charge(ada)
    await till.refund(paid.charge_id, 998)
    settled, voided, held = [await till.held() for _ in range(3)]
    await till.settle(settled, 5000)
    await till.void(voided)
    await till.charge(ada.charge(await bench.new_token(ada, DISPUTED)))

    agrees = run(settings, "ledger", "check", "--tenant", ada.tenant_id)
    shown = run(settings, "ledger", "show", "--tenant", ada.tenant_id)
    of_one = run(settings, "ledger", "show", "--tenant", ada.tenant_id, "--charge", paid.charge_id)
    await Thief(bench.databases.owner_dsn, paid).run(
        "ALTER TABLE charges DISABLE TRIGGER USER",
        "UPDATE charges SET taken_minor = 6000 WHERE charge_id = '" + settled.charge_id + "'",
        "UPDATE charges SET refunded_minor = 0 WHERE charge_id = '{c}'",
        "ALTER TABLE entries DISABLE TRIGGER USER",
        "UPDATE entries SET amount_minor = 1 WHERE source_id = '" + held.charge_id + "' AND account = 'held_funds'",
        "ALTER TABLE entries ENABLE TRIGGER USER",
        "ALTER TABLE charges ENABLE TRIGGER USER",
    )
    differs = run(settings, "ledger", "check", "--tenant", ada.tenant_id)

    assert agrees == (0, f"{ada.tenant_id}: agrees, 5 charges, 0 orders not ended yet\n")
    assert "USD processor_receivable            19,998\n" in shown[1]
    assert "USD held_funds                       7,998\n" in shown[1]
    assert "USD processor_receivable             7,000\n" in of_one[1]
    assert differs[0] == 1
    assert sorted(differs[1].splitlines()[1:]) == sorted([
        f"  {settled.charge_id}: processor_receivable is 5000 in the ledger and 6000 by its states",
        f"  {settled.charge_id}: sales is -5000 in the ledger and -6000 by its states",
        f"  {paid.charge_id}: refunded_minor is 0 and its refunds come to 998",
        f"  {held.charge_id}: held_funds is 1 in the ledger and 7998 by its states",
        f"  {held.charge_id}: posting held does not balance",
    ])  # fmt: skip


async def test_the_commands_say_what_they_cannot_do(bench: Bench, ada: Person, settings: dict[str, str]):
    assert run(settings, "ledger", "check", "--tenant", "tnt_nobody") == (2, "vault: no tenant tnt_nobody\n")
    assert run(settings, "ledger", "show", "--charge", "chg_x")[0] == 2
    assert run({"PATH": os.defpath}, "ledger", "check") == (
        2, "vault: UNDERCROFT_VAULT_DATABASE_URL_FILE is missing\n",
    )  # fmt: skip
