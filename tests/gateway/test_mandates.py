"""Standing consent: seen and ended by the person it is from."""

from datetime import timedelta

import pytest

from infra.chassis.ids import new_id
from tests.gateway.shop import LARKSPUR, SOUTH_AGENT, SOUTHERN, Shop, Talk


async def listed(talk: Talk):
    answer = await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_person_sees_the_mandates_and_what_was_taken_today(shop: Shop):
    talk = await shop.buyer(payment_cap=5_000, day_cap=9_000)
    await talk.buy(await shop.checkout(4_000))

    view = await listed(talk)

    (mandate,) = view["mandates"]
    assert (mandate["payment_cap_minor"], mandate["day_cap_minor"], mandate["currency"]) == (5_000, 9_000, "USD")
    assert (mandate["spent_today_minor"], mandate["state"]) == (4_000, "active")


async def test_nobody_verified_sees_no_mandates(shop: Shop):
    view = await listed(await shop.chat())

    assert (view["mandates"], view["decision"]["outcome"]) == ([], "deny")


@pytest.mark.control("UC-D.2")
async def test_a_revoked_mandate_pays_for_nothing_more(shop: Shop):
    talk = await shop.buyer()
    (mandate,) = (await listed(talk))["mandates"]

    view = (await talk.post(f"/v1/mandates/{mandate['mandate_id']}/revocations")).json()
    bought = await talk.buy(await shop.checkout())

    assert view["revoked"]
    assert (bought["state"], bought["decision"]["reasons"]) == ("denied", ["mandate_revoked"])
    assert [remedy["kind"] for remedy in bought["decision"]["remedies"]] == ["new_mandate"]


@pytest.mark.control("UC-7.3")
async def test_anothers_mandate_cannot_be_revoked_and_looks_like_a_missing_one(shop: Shop):
    ada, eve = await shop.buyer(), await shop.buyer()
    south = await shop.verified_chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)
    (mandate,) = (await listed(ada))["mandates"]

    answers = [
        await eve.post(f"/v1/mandates/{mandate['mandate_id']}/revocations"),
        await south.post(f"/v1/mandates/{mandate['mandate_id']}/revocations"),
        await eve.post(f"/v1/mandates/{new_id('mnd')}/revocations"),
    ]

    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)
    assert (await listed(ada))["mandates"][0]["state"] == "active"


async def test_a_new_mandate_for_the_same_delegates_takes_the_place_of_the_old(shop: Shop):
    talk = await shop.buyer(payment_cap=1_000)
    await shop.mandate(talk, payment_cap=8_000, day_cap=9_000)

    view = await talk.buy(await shop.checkout(8_000))

    assert view["state"] == "needs_card"
    assert [mandate["state"] for mandate in (await listed(talk))["mandates"]] == ["active", "revoked"]


async def test_another_assistants_mandate_stays_when_one_is_granted(shop: Shop):
    talk = await shop.assistant("two-assistants@example.com")
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000, delegates=[talk.agent, f"agents:{LARKSPUR}"])
    await shop.mandate(talk, payment_cap=100, day_cap=100, delegates=["ast_other", f"agents:{LARKSPUR}"])

    view = await talk.buy(await shop.checkout(4_000))

    assert view["state"] == "needs_card"


async def test_an_expired_mandate_pays_for_nothing(new_shop: Shop):
    talk = await new_shop.verified_chat()
    await new_shop.mandate(talk, payment_cap=5_000, day_cap=5_000, expires_at=new_shop.now + timedelta(minutes=1))
    checkout = await new_shop.checkout()
    new_shop.later(timedelta(minutes=2))

    view = await talk.buy(checkout)

    assert view["decision"]["reasons"] == ["mandate_expired"]


async def test_the_next_day_has_its_own_allowance(new_shop: Shop):
    talk = await new_shop.buyer("tomorrow@example.com", payment_cap=5_000, day_cap=5_000)
    await talk.buy(await new_shop.checkout(5_000))
    full = await talk.buy(await new_shop.checkout(5_000))
    new_shop.later(timedelta(hours=24))
    again = await new_shop.verified_chat("tomorrow@example.com")

    next_day = (await listed(again))["mandates"][0]

    assert full["decision"]["reasons"] == ["over_day_cap"]
    assert next_day["spent_today_minor"] == 0
