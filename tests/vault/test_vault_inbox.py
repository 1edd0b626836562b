"""The processor's events: signed, once each, and only a reason to look."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import stripe

from infra.chassis.ids import new_id
from tests.sandbox.running import ROOT, WEBHOOK_SECRET
from tests.vault.bench import Bench, Person, rows
from tests.vault.events import event_about, post
from tests.vault.money import Till


def event(person: Person, kind: str = "payment_intent.succeeded", **changes: Any) -> bytes:
    values: dict[str, Any] = {"id": f"evt_{new_id('evt')[4:]}", "object": "event", "type": kind}
    values["data"] = {"object": {"object": "payment_intent", "metadata": {"tenant_id": person.tenant_id}}}
    return json.dumps(values | changes).encode()


async def taken(bench: Bench, person: Person) -> list[dict[str, Any]]:
    return await rows(bench.databases.app_dsn, "SELECT kind FROM inbox_events", person.tenant_id)


async def test_an_event_is_taken_once_however_often_it_comes(bench: Bench, ada: Person):
    await bench.order_capture(ada.capture())
    body = event(ada)

    answers = [await post(bench, body) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert await taken(bench, ada) == [{"kind": "payment_intent.succeeded"}]


async def test_an_event_that_is_not_the_processors_is_refused(bench: Bench, ada: Person):
    await bench.order_capture(ada.capture())
    body = event(ada)
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET)
    not_ascii = f"t={int(time.time())},v1=\u00e9".encode("latin-1")
    tampered = body.replace(b"succeeded", b"canceled")

    answers = [
        await post(bench, body, secret="whsec_other"),
        await post(bench, body, age=301),
        await bench.webhooks.post("/webhooks/stripe", content=body),
        await bench.webhooks.post("/webhooks/stripe", content=body, headers={b"Stripe-Signature": not_ascii}),
        await bench.webhooks.post("/webhooks/stripe", content=tampered, headers={"Stripe-Signature": signature}),
        await post(bench, b"not json"),
        await post(bench, event(ada, id="evt_4242424242424242")),
        await post(bench, event(ada, kind="4242 4242 4242 4242")),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(400, "webhook_refused")}
    assert await taken(bench, ada) == []


async def test_an_event_about_nobody_we_know_is_thanked_for_and_left(bench: Bench, ada: Person):
    nobody = await post(bench, event(ada, data={"object": {"object": "payout"}}))
    stranger = await post(bench, event(Person()))

    assert (nobody.status_code, stranger.status_code) == (200, 200)
    assert await taken(bench, ada) == []


@pytest.mark.parametrize("kind", ["payment_intent.payment_failed", "payment_intent.canceled", "charge.failed"])
async def test_a_late_or_lying_event_changes_no_outcome(alone: Bench, ada: Person, kind: str):
    """What an event says of a charge is not believed; the processor is asked, and a final outcome stands."""
    paid = await alone.paid_charge(ada)
    alone.processor.fault("timeout_after_charge")
    open_one = ada.charge(paid.token_id, amount_minor=100)
    assert (await alone.charge(open_one)).json()["state"] == "unknown"

    await post(alone, event(ada, kind))
    await alone.vault.reconciler.run_once()

    assert (await alone.charge(paid)).json()["state"] == "approved"
    assert (await alone.charge(open_one)).json()["state"] == "approved"


async def test_an_event_of_a_hold_that_ran_out_makes_us_look_before_its_time(alone: Bench, ada: Person):
    hold = await Till(alone, ada).held()
    alone.expire(hold.charge_id)

    await post(alone, event_about(alone.payment_ref(hold.charge_id), "payment_intent", "payment_intent.canceled"))
    await alone.vault.reconciler.run_once()

    assert (await alone.hold(hold)).json()["state"] == "expired"


async def test_an_event_that_a_hold_ran_out_is_not_believed(alone: Bench, ada: Person):
    hold = await Till(alone, ada).held()

    await post(alone, event_about(alone.payment_ref(hold.charge_id), "payment_intent", "payment_intent.canceled"))
    await alone.vault.reconciler.run_once()

    assert (await alone.hold(hold)).json()["state"] == "held"


async def test_an_event_is_seen_to_once_and_again_when_it_is_replayed(alone: Bench, ada: Person, tmp_path: Path):
    """A replay makes the reconciler look: here at a hold that ran out after its only event was seen to."""
    hold = await Till(alone, ada).held()
    body = event_about(alone.payment_ref(hold.charge_id), "payment_intent", "payment_intent.amount_capturable_updated")
    await post(alone, body)
    await alone.vault.reconciler.run_once()
    alone.expire(hold.charge_id)
    (tmp_path / "app.url").write_text(alone.databases.app_dsn)
    event_id = json.loads(body)["id"]

    await post(alone, body)
    untouched = await alone.vault.reconciler.run_once()
    listed = inbox(tmp_path, "list", "--tenant", ada.tenant_id)
    missing = inbox(tmp_path, "replay", "--tenant", ada.tenant_id, "evt_missing")
    replayed = inbox(tmp_path, "replay", "--tenant", ada.tenant_id, event_id)
    seen_to = await alone.vault.reconciler.run_once()

    assert (untouched, seen_to) == (0, 1)
    assert "seen to" in listed.stdout
    assert event_id in listed.stdout
    assert (missing.returncode, replayed.returncode) == (1, 0)
    assert (await alone.hold(hold)).json()["state"] == "expired"


def inbox(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": os.defpath, "UNDERCROFT_VAULT_DATABASE_URL_FILE": str(folder / "app.url")}
    program = [sys.executable, "-m", "vault", "inbox", *arguments]
    return subprocess.run(program, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
