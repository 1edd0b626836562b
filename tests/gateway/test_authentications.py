"""A purchase whose person is asked by their bank: the money stays reserved, and it ends once, whoever finds out."""

from datetime import timedelta

import httpx2
import jwt
import pytest

from gateway.ledger import RESERVATION_TTL
from infra.chassis.ids import new_id
from tests.gateway.shop import LARKSPUR, NORTH, Ground, Shop, Talk, open_shop

ASKS = "4000002760003184"
"""docs.stripe.com/testing: the bank always asks."""


async def asked(shop: Shop, talk: Talk, amount_minor: int = 4_000) -> tuple[str, dict[str, str]]:
    checkout = await shop.checkout(amount_minor)
    answer = await shop.paid(talk, checkout, ASKS)
    assert answer["state"] == "needs_authentication", answer
    return checkout, answer


async def bank(shop: Shop, charge_id: str, outcome: str) -> None:
    """The person's answer at the bank, whose page nobody comes back from."""
    house, query = shop.house, f"SELECT processor_ref FROM charges WHERE charge_id = '{charge_id}'"  # noqa: S608 - an id of ours
    intent = house.clusters["vault"].sql(query, database=house.databases["vault"].name).strip()
    async with httpx2.AsyncClient() as processor:
        url = f"{house.urls['processor']}/_sandbox/authenticate/{intent}"
        (await processor.post(url, json={"outcome": outcome})).raise_for_status()


@pytest.mark.control("UC-D.2")
async def test_while_the_bank_asks_the_money_stays_reserved_however_long_and_is_then_spent(new_shop: Shop):
    talk = await new_shop.buyer()
    checkout, answer = await asked(new_shop, talk)

    await new_shop.gateway.sweeper.sweep(new_shop.now + RESERVATION_TTL + timedelta(minutes=1))
    held = await new_shop.taken(talk)
    too_much = await talk.buy(await new_shop.checkout(6_000))
    still = await talk.buy(checkout)
    await bank(new_shop, answer["charge_id"], "pass")
    await new_shop.gateway.sweeper.sweep(new_shop.now + timedelta(seconds=16))
    paid = await talk.buy(checkout)

    assert (held, too_much["state"]) == (4_000, "denied")
    assert (still["state"], still["authentication_url"]) == ("needs_authentication", answer["authentication_url"])
    assert "decision" not in still
    assert (paid["state"], "authentication_url" in paid) == ("paid", False)
    assert await new_shop.charged(paid["purchase_id"]) == [4_000]
    assert await new_shop.taken(talk) == 4_000


@pytest.mark.control("UC-D.2")
async def test_what_the_bank_does_not_confirm_frees_the_money_and_the_sweeper_finds_out(new_shop: Shop):
    talk = await new_shop.buyer()
    checkout, answer = await asked(new_shop, talk)

    await bank(new_shop, answer["charge_id"], "fail")
    await new_shop.gateway.sweeper.sweep(new_shop.now + timedelta(seconds=16))

    (row,) = await new_shop.rows("SELECT state, reason FROM purchases WHERE checkout_id = :c", c=checkout)
    assert row == {"state": "declined", "reason": "authentication_failed"}
    assert await new_shop.taken(talk) == 0
    assert (await new_shop.paid(talk, checkout))["state"] == "paid"


async def test_who_goes_on_with_what_has_ended_is_told_its_end_and_begins_nothing(new_shop: Shop):
    talk = await new_shop.buyer()
    checkout, answer = await asked(new_shop, talk)
    await bank(new_shop, answer["charge_id"], "fail")
    await new_shop.gateway.sweeper.sweep(new_shop.now + timedelta(seconds=16))

    told = [await talk.buy(checkout, going_on=True) for _ in range(2)]
    reserved = await new_shop.taken(talk)
    begun = await talk.buy(checkout)
    fresh = await talk.buy(await new_shop.checkout(), going_on=True)

    assert [(one["state"], one["reason"]) for one in told] == [("declined", "authentication_failed")] * 2
    assert not any("decision" in one for one in told)
    assert (reserved, begun["state"], fresh["state"]) == (0, "needs_card", "needs_card")


async def test_a_vault_that_is_away_does_not_end_what_waits(ground: Ground):
    async with open_shop(ground) as shop, open_shop(ground, vault_url="http://127.0.0.1:9") as cut_off:
        talk = await shop.buyer()
        checkout, answer = await asked(shop, talk)

        elsewhere = Talk(cut_off, talk.agent, talk.conversation_id, talk.tenant_id, talk.subject_id)
        meanwhile = await elsewhere.buy(checkout)
        await cut_off.gateway.sweeper.sweep(shop.now + timedelta(seconds=16))
        held = await shop.taken(talk)
        await bank(shop, answer["charge_id"], "pass")
        paid = await talk.buy(checkout)

    assert (meanwhile["state"], meanwhile["authentication_url"]) == (
        "needs_authentication",
        answer["authentication_url"],
    )
    assert (held, paid["state"]) == (4_000, "paid")


@pytest.mark.control("UC-8.4")
async def test_the_door_to_the_bank_is_for_charges_that_were_asked_about(shop: Shop):
    talk = await shop.buyer()
    _, answer = await asked(shop, talk)
    paid = await shop.buyer()
    plain = await shop.paid(paid, await shop.checkout())
    (never,) = await shop.rows("SELECT charge_id FROM purchases WHERE purchase_id = :p", p=plain["purchase_id"])

    door = await shop.captures.authentication_door(answer["charge_id"])
    nowhere = [
        await shop.client.get(f"/authentications/{charge}") for charge in (never["charge_id"], new_id("chg"), "4242")
    ]
    to_log_in = await shop.client.get(f"/authentications/{answer['charge_id']}")

    assert door is not None
    assert (door.tenant_id, door.brand_id, door.subject_id, door.state) == (
        NORTH,
        LARKSPUR,
        talk.subject_id,
        "needs_authentication",
    )
    assert {page.status_code for page in nowhere} == {404}
    assert len({page.text for page in nowhere}) == 1
    assert (to_log_in.status_code, to_log_in.headers["location"].partition("/login/")[1]) == (303, "/login/")
    claims = jwt.decode(shop.captures.authentication_grant(door, "door"), options={"verify_signature": False})
    assert (claims["action"], claims["sub"], "cnf" in claims) == ("open_authentication", talk.subject_id, False)
    assert claims["exp"] - claims["iat"] <= 30
