"""Charges of cards keyed in on the telephone: which processor is told what, and who is never asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import DBAPIError

from infra.chassis.ids import new_id
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.money import DECLINES, Till
from tests.vault.phone import BY_PHONE, Guard
from tests.vault.processor_rigs import Rig, open_rig
from tests.vault.test_airwallex_charges import airwallex_settings
from tests.vault.updates import replaced
from vault.contract import ChargeOrder
from vault.ledger.check import check
from vault.routing.rows import add_route, attempts_of
from vault.routing.rules import Route
from vault.store import Store

WANTS_3DS = "4000002760003184"
STRIPE_ALONE, AIRWALLEX_ALONE, EITHER, NOBODY = "stripe", "airwallex", "stripe, airwallex", ""


@dataclass(slots=True)
class Phone:
    """A vault with two processors, and somebody who calls."""

    bench: Bench
    guard: Guard
    stripe: Rig
    airwallex: Rig
    ada: Person

    async def order(self, number: str = APPROVES, **changes: Any) -> ChargeOrder:
        return self.ada.charge(await self.guard.new_token(self.ada, number), **changes)

    async def charge(self, order: ChargeOrder) -> tuple[str, str | None]:
        answer = (await self.bench.charge(order)).json()
        return answer["state"], answer["reason"]

    def told(self, order: ChargeOrder) -> list[tuple[str, bool, int]]:
        """Each attempt at a processor: whose, whether as a telephone order, and what it took."""
        found = [(rig.name, one) for rig in (self.stripe, self.airwallex) for one in rig.charges(order.charge_id)]
        return [(name, one["moto"], one["amount_settled_minor"]) for name, one in found]

    async def route(self, *names: str) -> None:
        for position, name in enumerate(names, start=1):
            route = Route(route_id=new_id("rte"), position=position, processor=name, weight=1)
            async with Store(self.bench.vault.engine).transaction(self.ada.tenant_id) as tx:
                await add_route(tx, route)

    async def attempts(self, order: ChargeOrder) -> list[tuple[str, str, str | None]]:
        async with Store(self.bench.vault.engine).transaction(self.ada.tenant_id) as tx:
            found = await attempts_of(tx, order.charge_id)
        return [(one.processor, one.state, one.reason) for one in found]


def allowed(phone_processors: str) -> pytest.MarkDecorator:
    """Whose account is enabled for telephone orders, as the vault's operator says."""
    return pytest.mark.parametrize("phone", [(phone_processors, 20)], indirect=True)


IMPATIENT = pytest.mark.parametrize("phone", [(STRIPE_ALONE, 1)], indirect=True)


@pytest.fixture
async def phone(
    request: pytest.FixtureRequest, database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person
) -> AsyncIterator[Phone]:
    names, seconds = getattr(request, "param", (STRIPE_ALONE, 20))
    settings = airwallex_settings(tmp_path, processor, phone_processors=names)
    async with (
        open_rig("stripe", processor) as stripe,
        open_rig("airwallex", processor) as airwallex,
        open_bench(
            tmp_path, database("vault"), processor, processors=settings, processor_timeout_seconds=seconds
        ) as bench,
    ):
        yield Phone(bench, Guard(bench), stripe, airwallex, ada)
        processor.plain.post(f"{processor.url}/_sandbox/moto")


async def test_the_first_charge_is_a_telephone_order_and_later_ones_are_of_a_card_on_file(phone: Phone):
    """3-D Secure is not for telephone orders; a later charge of the same card is asked for it as any other is."""
    first = await phone.order(WANTS_3DS)
    later = phone.ada.charge(first.token_id)

    assert await phone.charge(first) == ("approved", None)
    assert await phone.charge(later) == ("declined", "authentication_required")
    assert await phone.charge(first) == ("approved", None)
    assert phone.told(first) == [("stripe", True, 7998)]
    assert phone.told(later) == [("stripe", False, 0)]


@pytest.mark.control("UC-P.1")
async def test_a_card_that_took_the_place_of_a_keyed_one_is_no_telephone_order(phone: Phone):
    """It is typed on the page, though its token's first card was keyed in; and a card is replaced nowhere else."""
    token = await phone.guard.new_token(phone.ada)
    by_phone = phone.ada.capture(replaces_card_of=token)
    refused = await _raw(phone.bench, "/v1/captures", "capture_card", by_phone, {"channel": "phone"})
    await replaced(phone.bench, phone.ada, token, WANTS_3DS)

    order = phone.ada.charge(token)

    assert refused == 422
    assert await phone.charge(order) == ("declined", "authentication_required")
    assert phone.told(order) == [("stripe", False, 0)]


@pytest.mark.control("UC-P.1")
async def test_a_card_typed_on_the_page_is_no_telephone_order(phone: Phone):
    order = phone.ada.charge(await phone.bench.new_token(phone.ada, WANTS_3DS))

    assert await phone.charge(order) == ("declined", "authentication_required")
    assert phone.told(order) == [("stripe", False, 0)]


async def test_a_hold_is_told_as_a_telephone_order_too_and_is_settled_like_any(phone: Phone):
    hold = phone.ada.hold(await phone.guard.new_token(phone.ada))

    held = (await phone.bench.hold(hold)).json()
    settled = await Till(phone.bench, phone.ada).settle(hold, 5_000)

    assert (held["state"], settled["state"]) == ("held", "done")
    assert phone.told(hold) == [("stripe", True, 5_000)]


async def test_a_refused_card_is_the_banks_answer_and_its_code_is_gone(phone: Phone):
    order = await phone.order(DECLINES)

    assert await phone.charge(order) == ("declined", "card_declined")
    assert await phone.charge(phone.ada.charge(order.token_id)) == ("failed", "verification_code_missing")
    assert phone.told(order) == [("stripe", True, 0)]


@pytest.mark.control("UC-P.1")
async def test_nothing_an_agent_can_send_makes_a_telephone_order(phone: Phone):
    """The order has no such member, an id that says so is an id, and what the page's card is nobody can unsay."""
    bench, token = phone.bench, await phone.bench.new_token(phone.ada)
    plain = phone.ada.charge(token)

    said = [
        await _raw(bench, "/v1/charges", "charge", plain, more) for more in ({"by_phone": True}, {"channel": "phone"})
    ]
    order = phone.ada.charge(token, purchase_id="pur_moto_true_by_phone")

    assert said == [422, 422]
    assert await phone.charge(order) == ("approved", None)
    assert phone.told(order) == [("stripe", False, 7998)]


async def _raw(bench: Bench, path: str, action: str, order: Any, more: dict[str, Any]) -> int:
    """An order with members that no type of ours lets it have, rightly granted."""
    body = msgspec.to_builtins(order) | more
    headers = bench.mint.headers(bench.mint.grant(action, order, body), "POST", path)
    return (await bench.api.post(path, json=body, headers=headers)).status_code


@pytest.mark.control("UC-C.3")
async def test_an_account_that_is_not_enabled_refuses_and_nothing_is_charged(phone: Phone):
    """The operator said it was; the processor says that it does not know the parameter."""
    order = await phone.order()
    phone.stripe.sandbox.plain.delete(f"{phone.stripe.url}/_sandbox/moto").raise_for_status()

    refused = await phone.charge(order)
    ended = await phone.charge(order)

    assert (refused, ended) == (("unknown", None), ("failed", "never_sent"))
    assert phone.told(order) == []
    (payment,) = await phone.stripe.processor.find_payments(order.tenant_id, order.charge_id)
    assert payment.state == "cancelled"


@allowed(NOBODY)
async def test_where_no_account_is_enabled_a_telephone_order_goes_to_nobody(phone: Phone):
    order = await phone.order()
    on_page = phone.ada.charge(await phone.bench.new_token(phone.ada))

    assert await phone.charge(order) == ("failed", "phone_orders_not_taken")
    assert await phone.charge(order) == ("failed", "phone_orders_not_taken")
    assert await phone.charge(on_page) == ("approved", None)
    assert phone.told(order) == []
    assert await phone.stripe.processor.find_payments(order.tenant_id, order.charge_id) == []
    found = await check(Store(phone.bench.vault.engine), phone.ada.tenant_id)
    assert (found.differences, found.unfinished) == ((), 0)


@allowed(AIRWALLEX_ALONE)
async def test_a_processor_that_may_not_take_telephone_orders_is_passed_over(phone: Phone):
    order = await phone.order(WANTS_3DS)
    await phone.route("stripe", "airwallex")

    assert await phone.charge(order) == ("approved", None)
    assert phone.told(order) == [("airwallex", True, 7998)]
    assert await phone.attempts(order) == [("airwallex", "live", None)]


@allowed(STRIPE_ALONE)
@pytest.mark.control("UC-C.3")
async def test_a_telephone_order_is_not_moved_on_to_who_may_not_take_it(phone: Phone):
    order = await phone.order()
    await phone.route("stripe", "airwallex")
    phone.stripe.fault("error_503", "payment_intents.create")

    assert await phone.charge(order) == ("failed", "processor_unreachable")
    assert phone.told(order) == []
    assert await phone.attempts(order) == [("stripe", "live", None)]


@allowed(EITHER)
@pytest.mark.control("UC-C.3")
async def test_who_follows_is_told_that_it_is_a_telephone_order_too(phone: Phone):
    order = await phone.order(WANTS_3DS)
    await phone.route("stripe", "airwallex")
    phone.stripe.fault("error_503", "payment_methods.create")

    assert await phone.charge(order) == ("approved", None)
    assert phone.told(order) == [("airwallex", True, 7998)]


@IMPATIENT
@pytest.mark.control("UC-C.3")
async def test_a_telephone_order_whose_answer_is_lost_is_found_again_and_charged_once(phone: Phone):
    order = await phone.order(WANTS_3DS)
    phone.stripe.fault("timeout_after_charge")

    unknown = await phone.charge(order)
    phone.stripe.by_hand("release")

    assert unknown == ("unknown", None)
    assert await phone.charge(order) == ("approved", None)
    assert phone.told(order) == [("stripe", True, 7998)]


@pytest.mark.control("UC-P.1")
async def test_no_row_is_turned_into_a_telephone_order(phone: Phone):
    """Not a charge's, by the service's own role; a card's says how it came in, and is sealed with that."""
    paid = await phone.bench.paid_charge(phone.ada)
    to_phone = "UPDATE charges SET by_phone = true WHERE charge_id = :charge RETURNING charge_id"
    terms = """UPDATE cards SET terms = replace(terms, '"subject_id"', '"channel":"phone","subject_id"')
        WHERE tenant_id = :tenant RETURNING terms"""

    with pytest.raises(DBAPIError):
        await rows(phone.bench.databases.app_dsn, to_phone, phone.ada.tenant_id, charge=paid.charge_id)
    token = await phone.bench.new_token(phone.ada)
    (*_, edited) = await rows(phone.bench.databases.owner_dsn, terms, phone.ada.tenant_id, tenant=phone.ada.tenant_id)
    order = phone.ada.charge(token)
    await phone.bench.charge(order)

    assert '"channel":"phone"' in edited["terms"]
    assert phone.told(order) == []


async def test_after_a_restart_the_card_is_still_there_and_its_code_is_not(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person
):
    """Keys and codes are in one process's memory only: what was sealed before it opens no more."""
    databases, before, after = database("vault"), tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    async with open_bench(before, databases, processor) as bench:
        guard = Guard(bench)
        taken, waiting = await guard.ordered(ada), await guard.ordered(ada)
        keyed = await guard.sealed(taken)
        token_id = (await guard.hand_in(taken, keyed)).json()["token_id"]
        sealed = await guard.sealed(waiting)
    same = {name: getattr(bench.settings, name) for name in ("keys", "fingerprint_key")}
    async with open_bench(after, databases, processor, processors=BY_PHONE, **same) as bench:
        guard = Guard(bench)
        again = (await guard.hand_in(taken, keyed)).json()
        lost = (await guard.hand_in(waiting, sealed)).json()
        keyed_anew = await guard.key_in(waiting)
        charged = (await bench.charge(ada.charge(token_id))).json()

    assert (again["state"], again["token_id"]) == ("completed", token_id)
    assert (lost["flaws"], lost["state"], keyed_anew["state"]) == (["sealed_unreadable"], "open", "completed")
    assert (charged["state"], charged["reason"]) == ("failed", "verification_code_missing")
