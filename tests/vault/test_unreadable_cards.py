"""A card that does not open: for good, because its row was changed, or for now, because its key service is away."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.vault.bench import Bench, Person, root_away
from tests.vault.destination import WITH_CODE, Forwarding
from tests.vault.test_token_terms import as_owner
from vault import charges
from vault.keys.ring import HELD_FOR, KeyRing

EDITS = {
    "terms": "terms = NULL",
    "key": "wrapped_key = set_byte(wrapped_key, 80, get_byte(wrapped_key, 80) # 1)",
    "details": "sealed_details = set_byte(sealed_details, 80, get_byte(sealed_details, 80) # 1)",
    "number": "sealed_number = set_byte(sealed_number, 80, get_byte(sealed_number, 80) # 1)",
}
TENANT_KEY = (
    "UPDATE tenant_keys SET wrapped_key = set_byte(wrapped_key, 40, get_byte(wrapped_key, 40) # 1) WHERE version = 1"
)


def edited(what: str) -> str:
    return f"UPDATE cards SET {EDITS[what]} WHERE token_id = :token"  # noqa: S608 - the edits above


async def counted(bench: Bench) -> str:
    metrics = (await bench.api.get("/metrics")).text
    (line,) = [one for one in metrics.splitlines() if one.startswith("vault_cards_unreadable_total")]
    return line.split()[-1]


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.control("UC-T.1")
async def test_a_card_whose_row_was_edited_fails_each_charge_and_hold_and_raises_an_alarm(
    bench: Bench, ada: Person, what: str
):
    token = await bench.new_token(ada)
    await as_owner(bench, ada.tenant_id, edited(what), token=token)
    charge, hold = ada.charge(token), ada.hold(token)

    with capture_logs() as logged:
        answers = [(await bench.charge(charge)).json(), (await bench.hold(hold)).json()]
        again = (await bench.charge(charge)).json()

    assert [(one["state"], one["reason"]) for one in (*answers, again)] == [("failed", "card_unreadable")] * 3
    alarms = [(one["log_level"], one["act"], one["reference"]) for one in logged if one["event"] == "card_unreadable"]
    assert alarms == [("error", "charge", charge.charge_id), ("error", "hold", hold.charge_id)]
    assert await counted(bench) == "2.0"
    assert all(bench.processor_charges(order.charge_id) == [] for order in (charge, hold))
    left = [bench.payments(order.charge_id) for order in (charge, hold)]
    assert left == [["canceled"] if what == "number" else []] * 2, "only the number is not opened before"


@pytest.mark.parametrize(("point", "what"), [("charge_intended", "details"), ("charge_named", "number")])
@pytest.mark.control("UC-T.1")
async def test_a_vault_that_dies_before_it_says_that_a_card_does_not_open_says_so_when_it_ends_the_charge(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch, point: str, what: str
):
    token = await alone.new_token(ada)
    await as_owner(alone, ada.tenant_id, edited(what), token=token)
    order = ada.charge(token)

    def gone(reached: str) -> None:
        if reached == point:
            raise RuntimeError

    with capture_logs() as logged:
        monkeypatch.setattr(charges, "reach", gone)
        died = (await alone.charge(order)).status_code
        monkeypatch.undo()
        before = await counted(alone)
        alone.clock.advance(timedelta(minutes=1))
        await alone.vault.reconciler.run_once()

    alarms = [(one["act"], one["reference"]) for one in logged if one["event"] == "card_unreadable"]
    assert (died, before, await counted(alone)) == (500, "0.0", "1.0")
    assert alarms == [("charge", order.charge_id)]
    assert (await alone.charge(order)).json()["reason"] == "card_unreadable"
    assert "requires_payment_method" not in alone.payments(order.charge_id)


async def test_a_charge_whose_vault_died_is_never_sent_when_its_card_opens_or_nobody_can_tell(
    alone: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    orders = [ada.charge(await alone.new_token(ada)) for _ in range(2)]

    def gone(_point: str) -> None:
        raise RuntimeError

    for order in orders:
        monkeypatch.setattr(charges, "reach", gone)
        await alone.charge(order)
        monkeypatch.undo()
        alone.clock.advance(HELD_FOR)
        if order is orders[0]:
            with root_away(alone):
                await alone.vault.reconciler.run_once()
    await alone.vault.reconciler.run_once()

    assert [(await alone.charge(order)).json()["reason"] for order in orders] == ["never_sent"] * 2
    assert await counted(alone) == "0.0"


async def test_a_tenants_key_that_was_edited_fails_charges_and_forwards_and_raises_an_alarm(
    ready: Forwarding, bench: Bench
):
    ada = ready.person
    await as_owner(bench, ada.tenant_id, TENANT_KEY)
    bench.clock.advance(HELD_FOR)
    order = ada.charge(ready.token_id)

    with capture_logs() as logged:
        charged = (await bench.charge(order)).json()
        view = await ready.sent()

    assert (charged["state"], charged["reason"]) == ("failed", "card_unreadable")
    assert (view["state"], view["reason"], ready.company.connections) == ("failed", "card_unreadable", 0)
    assert [one["act"] for one in logged if one["event"] == "card_unreadable"] == ["charge", "forward"]


@pytest.mark.control("UC-C.1")
async def test_without_its_key_service_an_order_is_not_written_down_and_the_same_one_goes_through_later(
    ready: Forwarding, bench: Bench
):
    charge, hold = ready.person.charge(ready.token_id), ready.person.hold(ready.token_id)
    forward = ready.order(WITH_CODE)
    bench.clock.advance(HELD_FOR)

    with root_away(bench):
        refused = [await bench.charge(charge), await bench.hold(hold)]
        status, problem = await ready.send(forward)
        opened = bench.payments(charge.charge_id) + bench.payments(hold.charge_id)
    later = [(await bench.charge(charge)).json(), (await bench.hold(hold)).json()]
    forwarded = await ready.send(ready.order())

    assert {(one.status_code, one.json()["code"]) for one in refused} == {(503, "key_service_unreachable")}
    assert (status, problem["code"], opened) == (503, "key_service_unreachable", [])
    assert [one["state"] for one in later] == ["approved", "held"], "with the code the card was typed with"
    assert (forwarded[1]["state"], len(ready.company.received)) == ("forwarded", 1)
    assert await counted(bench) == "0.0"


async def test_a_key_service_that_goes_after_the_order_was_written_down_leaves_the_card_good(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """It was asked for the key, and when the card is opened its minute in memory is over."""
    token = await bench.new_token(ada)
    order = ada.charge(token)
    bench.clock.advance(HELD_FOR)
    monkeypatch.setattr(KeyRing, "holds", lambda *_about: True)

    with root_away(bench):
        failed = (await bench.charge(order)).json()
    monkeypatch.undo()
    later = (await bench.charge(ada.charge(token))).json()

    assert (failed["state"], failed["reason"]) == ("failed", "never_sent")
    assert (later["state"], bench.payments(order.charge_id)) == ("approved", [])
