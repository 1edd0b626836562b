"""The answers have the fields of Stripe's published fixtures: all of them, and no others."""

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.running import Sandbox, charge_of, open_intent, pay

FIXTURES = json.loads((Path(__file__).parent / "fixtures" / "stripe_fields.json").read_text())["resources"]

# Where Stripe's fixture shows one of several shapes, or a map whose keys a caller chooses.
OPEN_ENDED = {
    "metadata",
    "fraud_details",
    "payment_intent.last_payment_error",
    "payment_intent.next_action",
    "payment_intent.payment_method_options",
    "payment_intent.automatic_payment_methods",
    "event.data.object",
}


def differences(shape: Any, answer: Any, path: str) -> list[str]:
    open_ended = path in OPEN_ENDED or path.rpartition(".")[2] in OPEN_ENDED
    if not isinstance(shape, dict) or answer is None or open_ended:
        return []
    if not isinstance(answer, dict):
        return [f"{path} is not an object"]
    missing = [f"{path}.{key} is missing" for key in sorted(shape.keys() - answer.keys())]
    extra = [f"{path}.{key} is not Stripe's" for key in sorted(answer.keys() - shape.keys())]
    deeper = (differences(shape[key], answer[key], f"{path}.{key}") for key in sorted(shape.keys() & answer.keys()))
    return [*missing, *extra, *(line for lines in deeper for line in lines)]


@pytest.fixture(scope="session")
def answers(shared: Sandbox) -> dict[str, list[Any]]:
    """Every resource in the states that change its shape, as raw JSON."""
    client = shared.client()
    opened = open_intent(client)
    disputed = pay(client, "4000000000000259")
    waiting = pay(client, "4000002760003184")
    paid = pay(client, metadata={"a": "b"})
    refund = client.v1.refunds.create({"payment_intent": paid.id, "amount": 5})
    with pytest.raises(stripe.CardError) as declined:
        pay(client, "4000000000000002")
    failed = declined.value.error
    assert failed is not None
    assert failed.payment_intent is not None
    dispute = client.v1.disputes.list({"charge": charge_of(disputed)}).data[0]
    events = client.v1.events.list({"limit": 100}).data
    paths = {
        "payment_method": [f"payment_methods/{paid.payment_method}"],
        "payment_intent": [f"payment_intents/{one.id}" for one in (opened, waiting, paid, failed.payment_intent)],
        "charge": [f"charges/{charge_of(paid)}", f"charges/{failed.charge}", f"charges/{charge_of(disputed)}"],
        "refund": [f"refunds/{refund.id}"],
        "dispute": [f"disputes/{dispute.id}"],
        "event": [f"events/{event.id}" for event in events],
    }
    with shared.http() as http:
        return {kind: [http.get(f"/v1/{path}").json() for path in urls] for kind, urls in paths.items()}


@pytest.mark.parametrize("kind", FIXTURES)
def test_a_resource_has_stripes_fields_and_no_others(answers: dict[str, list[Any]], kind: str):
    found = [line for answer in answers[kind] for line in differences(FIXTURES[kind], answer, kind)]

    assert found == []
    assert all(answer["object"] == kind for answer in answers[kind])


def test_the_object_in_every_event_has_its_own_kinds_fields(answers: dict[str, list[Any]]):
    subjects = [event["data"]["object"] for event in answers["event"]]

    found = [line for one in subjects for line in differences(FIXTURES[one["object"]], one, one["object"])]

    assert found == []
    assert {one["object"] for one in subjects} >= {"payment_intent", "charge", "refund", "dispute"}
