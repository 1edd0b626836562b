"""A charge that was begun ends exactly once, whatever breaks: the wire, the vault, this process."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from gateway import ledger
from tests.gateway.relay import Mode, relay_to
from tests.gateway.shop import CART, Ground, Shop, Talk, open_shop
from tests.support.waiting import BUSY_SECONDS_MAX

NOBODY = "http://127.0.0.1:9"
"""The discard port, where nothing listens here."""


async def person_with_card(shop: Shop) -> Talk:
    talk = await shop.buyer()
    paid = await shop.paid(talk, await shop.checkout(1_000))
    assert paid["state"] == "paid"
    return talk


def at(shop: Shop, talk: Talk) -> Talk:
    """The same conversation, over another gateway on the same database."""
    return Talk(shop, talk.agent, talk.conversation_id, talk.tenant_id, talk.subject_id)


async def state_of(shop: Shop, checkout: str):
    (row,) = await shop.rows("SELECT state, reason, purchase_id FROM purchases WHERE checkout_id = :c", c=checkout)
    return row


async def test_without_the_vault_no_card_page_is_promised_and_no_money_is_held(ground: Ground):
    async with open_shop(ground) as shop, open_shop(ground, vault_url=NOBODY) as cut_off:
        talk, checkout = await shop.buyer(), await shop.checkout()

        answer = await at(cut_off, talk).post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)
        held = await shop.taken(talk)
        later = await talk.buy(checkout)

    assert (answer.status_code, answer.json()["code"]) == (503, "vault_unreachable")
    assert held == 0
    assert later["state"] == "needs_card"


@pytest.mark.control("UC-D.2")
async def test_without_the_vault_a_card_on_file_is_not_charged_and_the_money_is_free(ground: Ground):
    async with open_shop(ground) as shop, open_shop(ground, vault_url=NOBODY) as cut_off:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)

        answer = await at(cut_off, talk).post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)
        failed, held = await state_of(shop, checkout), await shop.taken(talk)
        later = await talk.buy(checkout)

        assert (answer.status_code, answer.json()["code"]) == (503, "vault_unreachable")
        assert (failed["state"], failed["reason"], held) == ("failed", "never_sent", 1_000)
        assert later["state"] == "paid"
        assert await shop.charged(later["purchase_id"]) == [2_000]


@pytest.mark.control("UC-C.1")
async def test_a_lost_answer_is_unknown_until_the_sweeper_learns_it_was_paid(ground: Ground):
    async with relay_to(ground.house.urls["vault"]) as wire, open_shop(ground, vault_url=wire.url) as shop:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.CUT_ANSWERS

        lost = await talk.buy(checkout)
        held = await shop.taken(talk)
        await shop.gateway.sweeper.sweep(shop.now + timedelta(seconds=6))
        still = await state_of(shop, checkout)
        wire.mode = Mode.PASS
        await shop.gateway.sweeper.sweep(shop.now + timedelta(seconds=12))

        assert (lost["state"], held) == ("unknown", 3_000)
        assert still["state"] == "unknown"
        assert (await state_of(shop, checkout))["state"] == "paid"
        assert await shop.charged(lost["purchase_id"]) == [2_000]
        assert await shop.taken(talk) == 3_000


async def test_a_lost_answer_is_found_by_asking_again(ground: Ground):
    async with relay_to(ground.house.urls["vault"]) as wire, open_shop(ground, vault_url=wire.url) as shop:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.CUT_ANSWERS
        lost = await talk.buy(checkout)
        wire.mode = Mode.PASS

        again = await talk.buy(checkout)

        assert (lost["state"], again["state"]) == ("unknown", "paid")
        assert await shop.charged(again["purchase_id"]) == [2_000]


@pytest.mark.control("UC-C.1")
async def test_a_vault_that_went_down_after_a_lost_answer_does_not_free_money_that_may_be_spent(ground: Ground):
    async with (
        relay_to(ground.house.urls["vault"]) as wire,
        open_shop(ground, vault_url=wire.url) as shop,
        open_shop(ground, vault_url=NOBODY) as cut_off,
    ):
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.CUT_ANSWERS
        await talk.buy(checkout)

        asked = await at(cut_off, talk).buy(checkout)
        await cut_off.gateway.sweeper.sweep(shop.now + timedelta(seconds=16))

        assert asked["state"] == "unknown"
        assert await shop.taken(talk) == 3_000
        wire.mode = Mode.PASS
        assert (await talk.buy(checkout))["state"] == "paid"


async def test_a_process_that_died_before_the_call_leaves_a_purchase_that_another_finishes_once(ground: Ground):
    async with (
        relay_to(ground.house.urls["vault"]) as wire,
        open_shop(ground) as shop,
        open_shop(ground, vault_url=wire.url) as dying,
    ):
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.SWALLOW
        buying = asyncio.ensure_future(at(dying, talk).buy(checkout))
        await asyncio.wait_for(wire.swallowed.wait(), BUSY_SECONDS_MAX)
        buying.cancel()
        with suppress(asyncio.CancelledError):
            await buying
        dead = await state_of(shop, checkout)

        await asyncio.gather(
            *(shop.gateway.sweeper.sweep(shop.now + timedelta(seconds=16)) for _ in range(3)), talk.buy(checkout)
        )

        assert dead["state"] == "charging"
        assert (await state_of(shop, checkout))["state"] == "paid"
        assert await shop.charged(dead["purchase_id"]) == [2_000]
        assert await shop.taken(talk) == 3_000


@pytest.mark.control("UC-C.1")
async def test_a_charge_that_never_reached_the_vault_is_not_begun_when_its_moneys_time_is_up(ground: Ground):
    """Its process died, and nobody came back to it for a quarter of an hour: then nobody counts on being charged."""
    async with (
        relay_to(ground.house.urls["vault"]) as wire,
        open_shop(ground) as shop,
        open_shop(ground, vault_url=wire.url) as dying,
    ):
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.SWALLOW
        buying = asyncio.ensure_future(at(dying, talk).buy(checkout))
        await asyncio.wait_for(wire.swallowed.wait(), 10)
        buying.cancel()
        with suppress(asyncio.CancelledError):
            await buying

        await shop.gateway.sweeper.sweep(shop.now + ledger.RESERVATION_TTL)
        ended, held = await state_of(shop, checkout), await shop.taken(talk)
        charged = await shop.charged(ended["purchase_id"])
        later = await talk.buy(checkout)

        assert (ended["state"], ended["reason"], held, charged) == ("failed", "never_sent", 1_000, [])
        assert later["state"] == "paid"
        assert await shop.charged(later["purchase_id"]) == [2_000]


@pytest.mark.control("UC-C.1")
async def test_a_charge_the_vault_has_no_key_for_has_failed_and_is_not_made_when_the_key_is_back(ground: Ground):
    async with open_shop(ground) as shop:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        root = shop.house.keyring.path("vault/root.key")
        await asyncio.to_thread(shop.house.restart, "vault")  # and it holds no key of a tenant
        away = root.rename(root.with_suffix(".away"))
        try:
            failed = await talk.buy(checkout)
            held = await shop.taken(talk)
        finally:
            away.rename(root)
        await shop.gateway.sweeper.sweep(shop.now + timedelta(hours=1))
        still, charged = await state_of(shop, checkout), await shop.charged(failed["purchase_id"])
        later = await talk.buy(checkout)

        assert (failed["state"], failed["reason"], held) == ("failed", "never_sent", 1_000)
        assert (still["state"], charged) == ("failed", [])
        assert (later["state"], await shop.charged(later["purchase_id"])) == ("paid", [2_000])


async def test_a_young_charge_is_left_to_the_request_that_makes_it(ground: Ground):
    async with (
        relay_to(ground.house.urls["vault"]) as wire,
        open_shop(ground) as shop,
        open_shop(ground, vault_url=wire.url) as slow,
    ):
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.SWALLOW
        buying = asyncio.ensure_future(at(slow, talk).buy(checkout))
        await asyncio.wait_for(wire.swallowed.wait(), BUSY_SECONDS_MAX)

        await shop.gateway.sweeper.sweep(shop.now)
        state = (await state_of(shop, checkout))["state"]
        buying.cancel()
        with suppress(asyncio.CancelledError):
            await buying

    assert state == "charging"


@pytest.mark.control("UC-D.2")
async def test_a_reservation_nobody_came_back_for_is_voided_and_can_be_made_again(new_shop: Shop):
    talk, checkout = await new_shop.buyer(day_cap=5_000), await new_shop.checkout(4_000)
    first = await talk.buy(checkout)
    await new_shop.gateway.sweeper.sweep(new_shop.now + timedelta(minutes=14))
    kept = await new_shop.taken(talk)

    await new_shop.gateway.sweeper.sweep(new_shop.now + timedelta(minutes=16))
    freed = await new_shop.taken(talk)
    other = await talk.buy(await new_shop.checkout(4_000))
    again = await talk.buy(checkout)

    assert (kept, freed) == (4_000, 0)
    assert other["state"] == "needs_card"
    assert (again["state"], again["decision"]["reasons"]) == ("denied", ["over_day_cap"])
    assert again["purchase_id"] == first["purchase_id"]


async def test_a_reservation_whose_charge_is_on_its_way_does_not_expire(ground: Ground):
    async with relay_to(ground.house.urls["vault"]) as wire, open_shop(ground, vault_url=wire.url) as shop:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        wire.mode = Mode.CUT_ANSWERS
        await talk.buy(checkout)

        await shop.gateway.sweeper.sweep(shop.now + timedelta(hours=2))

        assert (await state_of(shop, checkout))["state"] == "unknown"
        assert await shop.taken(talk) == 3_000


async def test_a_vault_that_lost_the_verification_code_makes_the_gateway_ask_for_the_card_again(ground: Ground):
    async with open_shop(ground) as shop:
        talk, checkout = await shop.buyer(), await shop.checkout()
        first = await talk.buy(checkout)
        await shop.type_card(first["capture_id"])
        await asyncio.to_thread(shop.house.restart, "vault")

        second = await talk.buy(checkout)
        await shop.type_card(second["capture_id"])
        third = await talk.buy(checkout)

        assert (second["state"], second["purchase_id"]) == ("needs_card", first["purchase_id"])
        assert second["capture_id"] != first["capture_id"]
        assert third["state"] == "paid"
        assert await shop.charged(third["purchase_id"]) == [4_000]
        assert await shop.taken(talk) == 4_000


async def test_a_processor_that_answers_too_late_leaves_unknown_and_the_truth_comes_later(ground: Ground):
    async with open_shop(ground) as shop:
        talk, checkout = await person_with_card(shop), await shop.checkout(2_000)
        await shop.fault("timeout_after_charge", "charge")

        first = await talk.buy(checkout)
        held = await shop.taken(talk)
        for _ in range(240):
            if (await state_of(shop, checkout))["state"] not in {"charging", "unknown"}:
                break
            await shop.gateway.sweeper.sweep(shop.now + timedelta(minutes=1))
            await asyncio.sleep(0.5)

        assert (first["state"], held) == ("unknown", 3_000)
        assert (await state_of(shop, checkout))["state"] == "paid"
        assert await shop.charged(first["purchase_id"]) == [2_000]


async def test_a_card_page_that_ran_out_is_replaced_and_its_door_closes(ground: Ground):
    async with open_shop(ground) as shop:
        talk, checkout = await shop.buyer(), await shop.checkout()
        first = await talk.buy(checkout)
        over = "UPDATE captures SET expires_at = now() - interval '1 minute' WHERE capture_id = '{}'"
        shop.house.clusters["vault"].sql(over.format(first["capture_id"]), database="vault")

        second = await talk.buy(checkout)
        await shop.type_card(second["capture_id"])
        third = await talk.buy(checkout)

        old_door = await shop.captures.door(first["capture_id"])
        assert second["capture_id"] != first["capture_id"]
        assert (third["state"], third["purchase_id"]) == ("paid", first["purchase_id"])
        assert old_door is not None
        assert old_door.state == "expired"


@pytest.mark.control("UC-C.1")
async def test_a_card_that_was_edited_in_the_vault_fails_the_purchase_frees_the_money_and_asks_for_another(
    new_shop: Shop,
):
    talk, checkout = await person_with_card(new_shop), await new_shop.checkout(2_000)
    edit = f"UPDATE cards SET terms = replace(terms, brand_id, 'brd_x') WHERE subject_id = '{talk.subject_id}'"  # noqa: S608 - a test's
    await asyncio.to_thread(new_shop.house.clusters["vault"].sql, edit, database="vault")

    failed = await talk.buy(checkout)
    held = await new_shop.taken(talk)
    again = await talk.buy(checkout)

    assert (failed["state"], failed["reason"], held) == ("failed", "card_unreadable", 1_000)
    assert await new_shop.charged(failed["purchase_id"]) == []
    assert again["state"] == "needs_card"
