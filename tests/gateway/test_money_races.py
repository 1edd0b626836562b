"""Two requests at once, with something else happening in between: money is still never spent twice."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gateway import store
from infra.chassis.engine import tenant_transaction
from tests.gateway.shop import CART, NORTH, Shop, Talk
from tests.support.waiting import wait_until


@asynccontextmanager
async def two_purchases_held_up(
    shop: Shop, talk: Talk, begun: timedelta = timedelta()
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Both have begun and wait for their quotes; they go on after the block."""
    checkouts = [await shop.checkout(4_000), await shop.checkout(4_000)]
    lock = text("SELECT 1 FROM quotes WHERE tenant_id = :t AND checkout_id = ANY(:c) FOR UPDATE")
    async with tenant_transaction(shop.gateway.engine, NORTH) as tx:
        await tx.execute(lock, {"t": NORTH, "c": checkouts})
        shop.later(begun)
        buying = [
            asyncio.create_task(talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART))
            for checkout in checkouts
        ]
        await wait_until(lambda: _two_wait(shop))
        yield buying


async def test_a_mandate_granted_while_two_purchases_wait_is_spent_by_one_of_them(shop: Shop):
    talk = await shop.verified_chat()

    async with two_purchases_held_up(shop, talk) as buying:
        await shop.mandate(talk, payment_cap=5_000, day_cap=5_000)
    await asyncio.gather(*buying)

    assert await shop.taken(talk) <= 5_000


async def test_a_person_recognised_while_two_purchases_wait_spends_the_day_cap_once(shop: Shop):
    email = f"{secrets.token_hex(6)}@example.com"
    known = await shop.buyer(email, payment_cap=5_000, day_cap=5_000)
    talk = await shop.chat(email)
    sent = await talk.call("POST", f"/v1/conversations/{talk.conversation_id}/challenges", {"method": "email_code"})
    answer = {"code": await shop.code_sent_to(email)}

    async with two_purchases_held_up(shop, talk) as buying:
        await talk.call("POST", f"/v1/challenges/{sent.json()['challenge_id']}/answers", answer)
    await asyncio.gather(*buying)

    assert await shop.taken(known) <= 5_000


async def test_a_purchase_that_waits_over_midnight_counts_against_the_new_day(new_shop: Shop):
    talk = await new_shop.buyer(payment_cap=5_000, day_cap=5_000)
    await new_shop.paid(talk, await new_shop.checkout(2_000))

    async with two_purchases_held_up(new_shop, talk, begun=-timedelta(days=1)) as buying:
        new_shop.later(timedelta(days=1))
    await asyncio.gather(*buying)

    assert await new_shop.taken(talk) == 2_000


async def _two_wait(shop: Shop) -> bool:
    return await _waiting(shop) >= 2


async def _waiting(shop: Shop, *, for_ms: int = 0) -> int:
    """Statements that wait for a lock, and began this long ago."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND clock_timestamp() - query_start >= make_interval(secs => CAST(:ms AS float8) / 1000)"
    )
    return len(await shop.rows(query, ms=for_ms))


async def test_who_waits_too_long_for_a_persons_money_is_told_to_ask_again(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    """And not that the database is away: hundreds may queue for one person's mandates."""
    talk = await shop.buyer()
    checkout = await shop.checkout(4_000)
    monkeypatch.setattr(store, "LOCK_WAIT_MS", 50)
    async with tenant_transaction(shop.gateway.engine, NORTH) as tx:
        await tx.execute(text("SELECT 1 FROM mandates WHERE subject_id = :s FOR UPDATE"), {"s": talk.subject_id})
        waited = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)

    assert (waited.status_code, waited.json()["code"]) == (409, "purchase_under_way")
    assert waited.headers["retry-after"] == "1"
    assert await shop.taken(talk) == 0
    assert (await talk.buy(checkout))["state"] == "needs_card"


async def test_a_wait_for_anything_else_is_neither_cut_short_nor_called_a_purchase_under_way(
    new_shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """The bound is for the queue of those who pay: once the money is locked, it is lifted in the same transaction."""
    new_shop.later(-timedelta(minutes=5))
    talk = await new_shop.buyer()
    new_shop.later(timedelta(minutes=5))  # so that the evidence is noted as used once more
    checkout = await new_shop.checkout(4_000)
    monkeypatch.setattr(store, "LOCK_WAIT_MS", 50)
    async with tenant_transaction(new_shop.gateway.engine, NORTH) as tx:
        noted = text("SELECT 1 FROM evidence WHERE conversation_id = :c FOR UPDATE")
        await tx.execute(noted, {"c": talk.conversation_id})
        buying = asyncio.create_task(talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART))
        await wait_until(lambda: buying.done() or _waits_for_longer(new_shop, 4 * store.LOCK_WAIT_MS))
        assert not buying.done()
    waited = await buying

    assert (waited.status_code, waited.json()["state"]) == (200, "needs_card")
    assert await new_shop.taken(talk) == 4_000


async def _waits_for_longer(shop: Shop, milliseconds: int) -> bool:
    return await _waiting(shop, for_ms=milliseconds) == 1
