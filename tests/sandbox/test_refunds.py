"""Refunds and their ceilings."""

import pytest
import stripe

from tests.sandbox.running import Sandbox, charge_of, open_intent, pay


def test_a_whole_payment_is_refunded_once(client: stripe.StripeClient):
    paid = pay(client)

    refund = client.v1.refunds.create({"payment_intent": paid.id, "metadata": {"refund_id": "ref_a"}})
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"payment_intent": paid.id})

    assert (refund.amount, refund.status, refund.charge) == (2_500, "succeeded", paid.latest_charge)
    found = client.v1.refunds.retrieve(refund.id)
    assert found.metadata is not None
    assert found.metadata["refund_id"] == "ref_a"
    assert again.value.code == "charge_already_refunded"
    charge = client.v1.charges.retrieve(charge_of(paid))
    assert (charge.refunded, charge.amount_refunded) == (True, 2_500)


def test_parts_are_refunded_up_to_what_was_taken_and_not_beyond(client: stripe.StripeClient):
    paid = pay(client)
    client.v1.refunds.create({"charge": charge_of(paid), "amount": 1_000, "reason": "requested_by_customer"})

    with pytest.raises(stripe.InvalidRequestError) as beyond:
        client.v1.refunds.create({"charge": charge_of(paid), "amount": 1_501})
    client.v1.refunds.create({"charge": charge_of(paid), "amount": 1_500})

    assert beyond.value.param == "amount"
    assert "greater than unrefunded amount" in str(beyond.value)
    charge = client.v1.charges.retrieve(charge_of(paid))
    assert (charge.amount_refunded, charge.refunded) == (2_500, True)
    assert len(client.v1.refunds.list({"charge": charge.id}).data) == 2


def test_a_part_settled_payment_is_refunded_up_to_the_settled_part(client: stripe.StripeClient):
    held = pay(client, capture_method="manual")
    client.v1.payment_intents.capture(held.id, {"amount_to_capture": 900})

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": held.id, "amount": 901})

    assert client.v1.refunds.create({"payment_intent": held.id}).amount == 900


@pytest.mark.parametrize("amount", [0, -1])
def test_a_refund_of_nothing_is_refused(client: stripe.StripeClient, amount: int):
    paid = pay(client)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": paid.id, "amount": amount})

    assert refused.value.code == "parameter_invalid_integer"


def test_what_was_not_paid_cannot_be_refunded(client: stripe.StripeClient):
    for intent in (open_intent(client), pay(client, capture_method="manual")):
        with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
            client.v1.refunds.create({"payment_intent": intent.id})


def test_a_charged_back_payment_cannot_be_refunded_but_an_inquiry_can(client: stripe.StripeClient):
    disputed, asked_about = pay(client, "4000000000000259"), pay(client, "4000000000001976")

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": disputed.id})

    assert refused.value.code == "charge_disputed"
    assert client.v1.refunds.create({"payment_intent": asked_about.id}).status == "succeeded"


def test_a_refund_names_its_charge_or_its_intent_but_not_both_or_neither(client: stripe.StripeClient):
    paid = pay(client)

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": paid.id, "charge": charge_of(paid)})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"amount": 100})
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.refunds.create({"charge": "ch_unknown"})

    assert missing.value.code == "resource_missing"
    assert missing.value.http_status == 404


@pytest.mark.parametrize(("ending", "refundable"), [("won", True), ("lost", False)])
def test_a_dispute_ends_and_only_won_money_can_be_refunded(
    sandbox: Sandbox, client: stripe.StripeClient, ending: str, refundable: bool
):
    paid = pay(client, "4000000000000259")
    dispute = client.v1.disputes.list({"charge": charge_of(paid)}).data[0]

    with sandbox.http() as http:
        closed = http.post(f"/_sandbox/disputes/{dispute.id}/close", json={"status": ending})
        again = http.post(f"/_sandbox/disputes/{dispute.id}/close", json={"status": ending})

    assert closed.json()["status"] == client.v1.disputes.retrieve(dispute.id).status == ending
    assert again.status_code == 400
    assert client.v1.events.list({"type": "charge.dispute.closed"}).data[0].data.object["id"] == dispute.id
    if refundable:
        assert client.v1.refunds.create({"payment_intent": paid.id}).status == "succeeded"
    else:
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.refunds.create({"payment_intent": paid.id})
