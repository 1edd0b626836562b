"""Money goes back at most once for each request, and never more than came."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest

from gateway.bearers import Bearer, CallerKind
from gateway.peers import Behalf, Vault
from infra.chassis.client import AnswerLost, PeerRefused
from infra.chassis.ids import new_id
from tests.gateway.relay import Mode, relay_to
from tests.gateway.shop import AGENT, GOOD_CARD, NORTH, OTHER_AGENT, SOUTH_AGENT, Ground, Shop, Talk, open_shop
from vault.contract import RefundOrder, RefundView


async def bought(shop: Shop, amount_minor: int = 4_000) -> tuple[Talk, str]:
    talk = await shop.buyer()
    paid = await shop.paid(talk, await shop.checkout(amount_minor))
    assert paid["state"] == "paid"
    return talk, paid["purchase_id"]


async def give_back(shop: Shop, purchase_id: str, amount_minor: int, *, agent: str = AGENT, **changes: Any):
    body = {"amount_minor": amount_minor, "request_key": secrets.token_hex(8), **changes}
    return await shop.call("POST", f"/v1/purchases/{purchase_id}/refunds", await shop.bearer(agent), body)


async def test_a_part_goes_back_and_then_the_rest_and_then_nothing(shop: Shop):
    _, purchase_id = await bought(shop)

    part = (await give_back(shop, purchase_id, 1_500)).json()
    rest = (await give_back(shop, purchase_id, 2_500)).json()
    more = (await give_back(shop, purchase_id, 1)).json()

    assert (part["state"], part["refunded_minor"]) == ("refunded", 1_500)
    assert (rest["state"], rest["refunded_minor"]) == ("refunded", 4_000)
    assert (more["state"], more["decision"]["reasons"]) == ("denied", ["over_refundable"])
    assert more.get("refund_id") is None


async def test_the_purchase_shows_what_went_back(shop: Shop):
    talk = await shop.buyer()
    checkout = await shop.checkout()
    paid = await shop.paid(talk, checkout)
    await give_back(shop, paid["purchase_id"], 1_000)

    assert (await talk.buy(checkout))["refunded_minor"] == 1_000


async def test_the_same_key_gives_back_once_and_with_another_amount_is_refused(shop: Shop):
    _, purchase_id = await bought(shop)

    first = (await give_back(shop, purchase_id, 1_000, request_key="the-same-key")).json()
    again = (await give_back(shop, purchase_id, 1_000, request_key="the-same-key")).json()
    other = await give_back(shop, purchase_id, 2_000, request_key="the-same-key")

    assert (again["state"], again["refund_id"], again["refunded_minor"]) == ("refunded", first["refund_id"], 1_000)
    assert (other.status_code, other.json()["code"]) == (409, "request_key_reused")


@pytest.mark.control("UC-C.1")
async def test_ten_refunds_at_once_never_give_back_more_than_was_paid(shop: Shop):
    _, purchase_id = await bought(shop)

    answers = await asyncio.gather(*(give_back(shop, purchase_id, 1_000) for _ in range(10)))

    states = sorted(answer.json()["state"] for answer in answers)
    assert states.count("denied") == 6
    (row,) = await shop.rows(
        "SELECT sum(amount_minor)::bigint AS n FROM refunds WHERE purchase_id = :p AND state <> 'failed'", p=purchase_id
    )
    assert row["n"] == 4_000


async def test_a_purchase_that_was_not_paid_gives_nothing_back(shop: Shop):
    talk = await shop.buyer()
    waiting = await talk.buy(await shop.checkout())

    view = (await give_back(shop, waiting["purchase_id"], 1_000)).json()

    assert (view["state"], view["decision"]["reasons"]) == ("denied", ["not_refundable"])


async def test_foreign_and_missing_purchases_look_the_same_and_assistants_have_no_refunds(shop: Shop):
    _, purchase_id = await bought(shop)
    assistant = await shop.assistant("no-refunds@example.com")

    answers = [
        await give_back(shop, new_id("pur"), 1_000),
        await give_back(shop, purchase_id, 1_000, agent=OTHER_AGENT),
        await give_back(shop, purchase_id, 1_000, agent=SOUTH_AGENT),
        await assistant.call(
            "POST", f"/v1/purchases/{purchase_id}/refunds", {"amount_minor": 1_000, "request_key": "some-key-1"}
        ),
    ]

    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)


async def test_a_named_conversation_must_be_with_the_buyer(shop: Shop):
    talk, purchase_id = await bought(shop)
    other = await shop.verified_chat()

    refused = await give_back(shop, purchase_id, 1_000, conversation_id=other.conversation_id)
    allowed = await give_back(shop, purchase_id, 1_000, conversation_id=talk.conversation_id)

    assert (refused.status_code, allowed.json()["state"]) == (404, "refunded")


async def test_a_card_number_as_a_request_key_is_refused(shop: Shop):
    _, purchase_id = await bought(shop)

    answer = await give_back(shop, purchase_id, 1_000, request_key=GOOD_CARD)

    assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused")


async def test_a_refund_whose_answer_was_lost_is_finished_by_the_sweeper_once(ground: Ground):
    async with relay_to(ground.house.urls["vault"]) as wire, open_shop(ground, vault_url=wire.url) as shop:
        _, purchase_id = await bought(shop)
        wire.mode = Mode.CUT_ANSWERS

        lost = (await give_back(shop, purchase_id, 3_000)).json()
        meanwhile = (await give_back(shop, purchase_id, 1_001)).json()
        wire.mode = Mode.PASS
        await shop.gateway.sweeper.sweep(shop.now + timedelta(seconds=16))

        (row,) = await shop.rows("SELECT state FROM refunds WHERE refund_id = :r", r=lost["refund_id"])
        assert lost["state"] == "unknown"
        assert meanwhile["decision"]["reasons"] == ["over_refundable"]
        assert row["state"] == "refunded"
        assert (await give_back(shop, purchase_id, 1_001)).json()["state"] == "denied"


async def promised(shop: Shop, purchase_id: str, amount_minor: int) -> None:
    """The gateway takes it that this much was paid, and the vault knows better: so it refuses."""
    sql = "UPDATE purchases SET amount_minor = :n WHERE purchase_id = :p RETURNING 1"
    assert await shop.rows(sql, n=amount_minor, p=purchase_id)


async def stands(shop: Shop, refund_id: str) -> tuple[str, str | None, int]:
    (row,) = await shop.rows("SELECT state, reason, calls FROM refunds WHERE refund_id = :r", r=refund_id)
    return row["state"], row["reason"], row["calls"]


async def test_a_refund_that_the_vault_refuses_has_failed_with_its_reason_and_is_never_asked_for_again(shop: Shop):
    _, purchase_id = await bought(shop)
    await promised(shop, purchase_id, 5_000)

    refused = (await give_back(shop, purchase_id, 4_500, request_key="refused-once")).json()
    await promised(shop, purchase_id, 4_000)
    await shop.gateway.sweeper.sweep(shop.now + timedelta(hours=1))
    again = (await give_back(shop, purchase_id, 4_500, request_key="refused-once")).json()
    another = (await give_back(shop, purchase_id, 4_000)).json()

    assert (refused["state"], refused["reason"]) == ("failed", "refund_exceeds_charge")
    assert (again["state"], again["reason"], again["refund_id"]) == ("failed", refused["reason"], refused["refund_id"])
    assert await stands(shop, refused["refund_id"]) == ("failed", "refund_exceeds_charge", 1)
    assert (another["state"], another["refunded_minor"], another.get("reason")) == ("refunded", 4_000, None)
    sql = "SELECT convert_from(canonical, 'UTF8') AS entry FROM record_entries"
    (entry,) = [one["entry"] for one in await shop.rows(sql) if f'"{refused["refund_id"]}"' in one["entry"]]
    assert all(f'"{said}"' in entry for said in ("refund_failed", refused["reason"]))


async def test_a_refusal_ends_nothing_while_an_earlier_call_may_still_arrive(ground: Ground):
    """What stood against the refund may be gone by then, and the vault would make it."""
    async with relay_to(ground.house.urls["vault"]) as wire, open_shop(ground, vault_url=wire.url) as shop:
        _, purchase_id = await bought(shop)
        await promised(shop, purchase_id, 5_000)
        wire.mode = Mode.CUT_ANSWERS
        lost = (await give_back(shop, purchase_id, 4_500, request_key="lost-first")).json()
        wire.mode = Mode.PASS

        refused = (await give_back(shop, purchase_id, 4_500, request_key="lost-first")).json()
        young = await stands(shop, lost["refund_id"])
        sql = "UPDATE refunds SET open_since = open_since - interval '2 minutes' WHERE refund_id = :r RETURNING 1"
        assert await shop.rows(sql, r=lost["refund_id"])
        ended = (await give_back(shop, purchase_id, 4_500, request_key="lost-first")).json()

    assert (lost["state"], refused["state"], refused.get("reason")) == ("unknown", "unknown", None)
    assert young == ("unknown", None, 2)
    assert (ended["state"], ended["reason"]) == ("failed", "refund_exceeds_charge")


async def test_a_refusal_ends_nothing_when_another_call_was_begun_since(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    _, purchase_id = await bought(shop)
    await promised(shop, purchase_id, 5_000)
    asks, second = Vault.refund, asyncio.Event()

    async def meanwhile(self: Vault, order: RefundOrder, behalf: Behalf) -> RefundView:
        """The first call's refusal is on its way when the second begins."""
        if second.is_set():
            raise AnswerLost("vault")
        second.set()
        try:
            return await asks(self, order, behalf)
        finally:
            await give_back(shop, purchase_id, 4_500, request_key="asked-twice")

    monkeypatch.setattr(Vault, "refund", meanwhile)
    first = (await give_back(shop, purchase_id, 4_500, request_key="asked-twice")).json()

    assert first["state"] == "unknown"
    assert await stands(shop, first["refund_id"]) == ("unknown", None, 2)


async def test_a_refusal_that_is_not_about_the_refund_is_asked_again(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    _, purchase_id = await bought(shop)

    async def refuses(*_: object) -> RefundView:
        raise PeerRefused(401, "grant_refused")

    with monkeypatch.context() as away:
        away.setattr(Vault, "refund", refuses)
        refused = (await give_back(shop, purchase_id, 1_000)).json()
    await shop.gateway.sweeper.sweep(shop.now + timedelta(seconds=16))

    assert refused["state"] == "unknown"
    assert await stands(shop, refused["refund_id"]) == ("refunded", None, 2)


async def test_a_request_key_shows_nothing_to_who_may_not_give_back(shop: Shop):
    _, purchase_id = await bought(shop)
    await give_back(shop, purchase_id, 1_500, request_key="known-to-both")
    scopes = frozenset({"conversation"})
    weak = Bearer(kind=CallerKind.AGENT, client_id=AGENT, audience=shop.issuer, scopes=scopes, tenant_id=NORTH)

    answer = await shop.call(
        "POST",
        f"/v1/purchases/{purchase_id}/refunds",
        shop.bearers.mint(weak),
        {"amount_minor": 1_500, "request_key": "known-to-both"},
    )

    assert (answer.json()["state"], answer.json()["decision"]["reasons"]) == ("denied", ["scope_missing"])
