"""The vault as a process: killed between any two steps, told of outcomes by webhook, and searched for card numbers."""

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.chassis.ids import new_id
from infra.dev.postgres import Cluster, ServiceDatabase
from tests.sandbox.running import APPROVES, ROOT, Sandbox, free_port, make_sandbox
from tests.support.database import DatabaseMaker
from tests.support.waiting import wait_until
from tests.vault.bench import FORM, Person, rows
from tests.vault.forks import nursery
from tests.vault.killed import revive
from tests.vault.process import VaultProcess, vault_process
from vault.contract import ChargeOrder

MASTERCARD, DECLINED, CODE = "5555555555554444", "4000000000000002", "7391"
PATIENT_SECONDS = 60
"""For what is not to run into its time."""
PUT_FORWARD = timedelta(minutes=10)
"""More than a worker may take for four such calls, so that nobody waits for a killed one."""


def held(processor: Sandbox) -> int:
    count: int = processor.plain.get(f"{processor.url}/_sandbox/faults").json()["held"]
    return count


def charged(processor: Sandbox, charge_id: str) -> list[dict[str, Any]]:
    answer = processor.plain.get(f"{processor.url}/_sandbox/charges").json()["charges"]
    return [item for item in answer if item["metadata"].get("charge_id") == charge_id]


async def hold_a_charge(
    vault: VaultProcess, processor: Sandbox, person: Person, fault: str, operation: str
) -> tuple[ChargeOrder, asyncio.Task[httpx2.Response]]:
    """Order a charge and come back while the vault waits for the processor at this step of it."""
    order = person.charge(await vault.new_token(person))
    waiting = held(processor)
    processor.fault(fault, operation=operation)
    asked = asyncio.ensure_future(vault.charge(order))
    await wait_until(lambda: held(processor) == waiting + 1)
    return order, asked


async def end_of(ask: Callable[[], Awaitable[httpx2.Response]]) -> dict[str, Any]:
    """What is answered once nobody works on it: whoever asks while the reconciler does is told `unknown`."""
    answers = list[dict[str, Any]]()

    async def ended() -> bool:
        answers.append((await ask()).json())
        return bool(answers[-1]["state"] != "unknown")

    await wait_until(ended)
    return answers[-1]


@pytest.mark.control("UC-C.1")
async def test_killed_at_any_step_every_charge_ends_charged_once_or_not_at_all(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    ada = Person()
    steps = [
        ("timeout_before_charge", "payment_intents.create", "failed"),
        ("timeout_before_charge", "payment_methods.create", "failed"),
        ("timeout_after_charge", "payment_methods.create", "failed"),
        ("timeout_before_charge", "payment_intents.confirm", "failed"),
        ("timeout_after_charge", "payment_intents.confirm", "approved"),
    ]
    with nursery() as forks:
        async with vault_process(
            tmp_path,
            database("vault"),
            processor,
            timeout_seconds=PATIENT_SECONDS,
            spawn=forks.spawn,
            clock=forks.clock,
        ) as vault:
            paid = await vault.paid_charge(ada)
            orders = [await hold_a_charge(vault, processor, ada, fault, operation) for fault, operation, _ in steps]
            refund = ada.refund(paid.charge_id, 1000)
            processor.fault("timeout_after_charge", operation="refunds.create")
            refunding = asyncio.ensure_future(vault.refund(refund))
            await wait_until(lambda: held(processor) == len(steps) + 1)

            vault.kill()
            await asyncio.gather(refunding, *(asked for _, asked in orders), return_exceptions=True)
            await revive(vault, put_forward=PUT_FORWARD)
            ends = [await end_of(lambda order=order: vault.charge(order)) for order, _ in orders]  # type: ignore[misc]  # bound now
            refunded = await end_of(lambda: vault.refund(refund))

            assert [end["state"] for end in ends] == [state for _, _, state in steps]
            for order, state in zip((order for order, _ in orders), (state for _, _, state in steps), strict=True):
                taken = [item["amount_settled_minor"] for item in charged(processor, order.charge_id)]
                assert taken == ([7998] if state == "approved" else [])
            assert (refunded["state"], refunded["refunded_minor"]) == ("refunded", 1000)
            assert charged(processor, paid.charge_id)[0]["amount_refunded_minor"] == 1000


@pytest.mark.control("UC-3.3.1")
async def test_a_killed_vault_has_lost_its_codes_and_says_so(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path
):
    ada = Person()
    async with vault_process(tmp_path, database("vault"), processor, timeout_seconds=PATIENT_SECONDS) as vault:
        order = ada.charge(await vault.new_token(ada))
        vault.kill()
        await vault.start()

        answer = (await vault.charge(order)).json()

        assert (answer["state"], answer["reason"]) == ("failed", "verification_code_missing")
        assert vault.stop() == 0


async def test_a_signed_event_of_the_processor_arrives_and_ends_what_is_unknown(
    database: DatabaseMaker, tmp_path: Path
):
    port, ada, databases = free_port(), Person(), database("vault")
    processor = make_sandbox(tmp_path / "processor", webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe")
    processor.start()
    try:
        async with vault_process(tmp_path, databases, processor, timeout_seconds=5, webhook_port=port) as vault:
            order = ada.charge(await vault.new_token(ada))
            processor.fault("timeout_after_charge")
            processor.fault("duplicate_webhook")
            await vault.charge(order)

            await wait_until(lambda: arrived(databases, ada, "payment_intent.succeeded"))
            await wait_until(lambda: stands(databases, order, "approved"))
    finally:
        processor.end()


async def arrived(databases: ServiceDatabase, person: Person, kind: str) -> bool:
    return {"kind": kind} in await rows(databases.app_dsn, "SELECT kind FROM inbox_events", person.tenant_id)


async def stands(databases: ServiceDatabase, order: ChargeOrder, state: str) -> bool:
    found = await rows(
        databases.app_dsn,
        "SELECT state FROM charges WHERE charge_id = :charge_id",
        order.tenant_id,
        charge_id=order.charge_id,
    )
    return found == [{"state": state}]


@pytest.mark.control("UC-3.1", "UC-3.3.1")
async def test_card_numbers_and_codes_are_nowhere_but_on_their_way_to_the_processor(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, clusters: dict[str, Cluster]
):
    """Every path is driven, with the processor echoing numbers and every library told to log all it can."""
    ada, databases = Person(), database("vault")
    loud = {"UNDERCROFT_VAULT_LOG_LEVEL": "DEBUG", "STRIPE_LOG": "debug"}
    async with vault_process(
        tmp_path, databases, processor, timeout_seconds=PATIENT_SECONDS, environment=loud
    ) as vault:
        await vault.paid_charge(ada)
        for number in (MASTERCARD, DECLINED):
            await vault.charge(ada.charge(await vault.new_token(ada, number)))
        processor.fault("echo_card_number", times=3)
        for number in (APPROVES, MASTERCARD, DECLINED):
            await vault.charge(ada.charge(await vault.new_token(ada, number)))
        answers = await type_numbers_into_everything(vault, ada)
        assert vault.stop() == 0

    clusters["vault"].sql("CHECKPOINT")
    log = vault.log.read_bytes()
    assert find_codes(log) == []
    assert b'"event": "card_taken"' in log, "the log was written at all"
    assert find_cards(log) == []
    assert find_cards("\n".join(answers).encode()) == []
    files = files_of(clusters["vault"], databases)
    contents = ((str(path), path.read_bytes()) for path in files)
    hits = {path: found for path, content in contents if (found := find_cards(content) + find_codes(content))}
    assert hits == {}
    assert any("pg_wal" in path.parts for path in files)
    assert sum(path.stat().st_size for path in files) > 1_000_000


def files_of(cluster: Cluster, databases: ServiceDatabase) -> list[Path]:
    """All of the cluster but other tests' databases: this one's tables, the write-ahead log, what all share."""
    number = cluster.sql(f"SELECT oid FROM pg_database WHERE datname = '{databases.name}'").strip()  # noqa: S608 - ours
    tables = {one.name: one for one in (cluster.data / "base").iterdir()}
    del tables[number]
    files = (path for path in cluster.folder.rglob("*") if path.is_file())
    return [path for path in files if not any(path.is_relative_to(others) for others in tables.values())]


async def type_numbers_into_everything(vault: VaultProcess, ada: Person) -> list[str]:
    """The answers to requests that hold a card number where none belongs."""
    order = ada.capture()
    await vault.order_capture(order)
    await vault.enter(order)
    fields = {"holder": APPROVES, "expiry": APPROVES}
    body = json.dumps({"tenant_id": APPROVES, "number": APPROVES}).encode()
    headers = {"content-type": "application/json", "Undercroft-Grant": APPROVES, "traceparent": APPROVES}
    forms = [await vault.type_card(order, "4242424242424241", **fields)]
    forms.append(await vault.type_card(order, **fields))
    answers = [await vault.api.post(path, content=body, headers=headers) for path in ("/v1/charges", "/v1/refunds")]
    answers.append(await vault.api.get(f"/v1/captures/{APPROVES}", headers=headers))
    answers.append(await vault.browser.get(f"/captures/{APPROVES}"))
    answers.append(await vault.browser.post(f"/captures/{APPROVES}/open", content=f"grant={APPROVES}", headers=FORM))
    metrics = await vault.api.get("/metrics")
    return [answer.text for answer in (*forms, *answers, metrics)]


def find_cards(content: bytes) -> list[str]:
    """Which encodings of which of the numbers used are in there."""
    return [
        f"{number[-4:]} {name}"
        for number in (APPROVES, MASTERCARD, DECLINED)
        for name, needles in encodings(number).items()
        if any(needle in content for needle in needles)
    ]


def find_codes(content: bytes) -> list[bytes]:
    """A verification code as forms, the processor's SDK and JSON write it. Three digits alone are everywhere."""
    return re.findall(rb"(?i)\b(?:code|cvc|cvv)\b[\"']?\]?\s*(?:=|:|%3D|%5D=)\s*[\"']?(?:123|1234)\b", content)


def encodings(number: str) -> dict[str, set[bytes]]:
    groups = re.findall(r"\d{4}", number)
    plain = number.encode()
    shifted = [base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)]
    return {
        "plain": {plain, plain[::-1]},
        "spaced": {" ".join(groups).encode(), "-".join(groups).encode(), "+".join(groups).encode()},
        "base64": set(shifted),
        "hex": {plain.hex().encode(), plain.hex().upper().encode()},
        "utf-16": {number.encode("utf-16-le"), number.encode("utf-16-be")},
    }


def test_the_search_finds_what_it_searches_for():
    assert find_cards(f"x{APPROVES}y".encode()) == ["4242 plain"]
    assert find_cards(b"x" + base64.b64encode(b"ab" + APPROVES.encode())) == ["4242 base64"]
    assert find_cards(MASTERCARD.encode().hex().encode()) == ["4444 hex"]
    assert find_cards(b"4242 4242 4242 4242") == ["4242 spaced"]
    for written in (b"number=1&code=123&holder=x", b"card[cvc]=123", b"'cvc': '123'", b'{"code":"1234"}'):
        assert len(find_codes(written)) == 1
    assert find_codes(b"code: 1230, codes=123") == []


def run_vault(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vault"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ["BIND is missing", "ROOT_KEY_FILE is missing", "DATABASE_URL_FILE is missing"]),
        ({"BIND": "nonsense", "ROOT_KEY_FILE": "/nowhere"}, ["BIND cannot be used", "ROOT_KEY_FILE cannot be used"]),
    ],
)
def test_incomplete_settings_stop_the_start_and_are_all_named(changes: dict[str, str], named: list[str]):
    environment = {f"UNDERCROFT_VAULT_{name}": value for name, value in changes.items()}

    ended = run_vault(environment)

    assert ended.returncode == 2
    assert all(name in ended.stderr for name in named)
    assert "Traceback" not in ended.stderr


async def test_plain_http_is_for_the_sandbox_only(database: DatabaseMaker, processor: Sandbox, tmp_path: Path):
    async with vault_process(tmp_path, database("vault"), processor, timeout_seconds=1) as vault:
        environment = {**(vault.environment or {}), "UNDERCROFT_VAULT_SANDBOX": "false"}

    ended = run_vault(environment)

    assert ended.returncode == 2
    assert "UNDERCROFT_VAULT_PAGE_URL must be https" in ended.stderr


async def test_ids_have_no_run_of_digits_that_could_be_a_card():
    assert not any(character.isdigit() for _ in range(100) for character in new_id("tok"))
