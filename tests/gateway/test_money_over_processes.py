"""Two hundred purchases at once over eight gateway processes against one limit, while money moves in other ways too.

What is taken (held and posted, by SQL) is looked at all the while. No look may see more than the limit, whatever the
order in which purchases, a declined card, reservations that end, and a refund come.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.contract import Reason
from gateway.mandates import MoreLimits
from gateway.windows import Window
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.dev.house import House
from tests.gateway.shop import (
    CART,
    DECLINED_CARD,
    LARKSPUR,
    MCP,
    NORTH,
    OTHER_AGENT,
    TSUBAKI,
    Shop,
    Talk,
    open_shop,
    prepare,
)
from tests.gateway.test_windows import AsOwner
from tests.support.database import DatabaseMaker
from tests.support.many_gateways import many_gateways
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until

PROCESSES, PURCHASES = 8, 200
PAYMENT_CAP, LIMIT, OUT_OF_THE_WAY = 2_000, 12_000, 900_000
OVER_ONE_PAYMENT, SMALLEST = 2_001, 999
AMOUNTS = (1_000, 1_500, 2_000, SMALLEST, OVER_ONE_PAYMENT)
A_DAY = 86_400
UNDER_WAY, TOO_MANY = 409, 429
TRIES_MAX = 40
"""On an idle machine nearly all are answered at once; on a busy one some wait more than the five seconds they may."""
CONNECTIONS_KEPT = 10
"""By each process (`engine.POOL_SIZE`)."""
LOOK_SECONDS = 0.03
"""Between two looks at what is taken."""
TAKEN = text(
    "SELECT coalesce(sum(minor), 0)::bigint AS in_window, coalesce(max(minor), 0)::bigint AS in_a_day FROM"
    " (SELECT sum(amount_minor) AS minor FROM reservations WHERE state <> 'voided' AND subject_id = :s GROUP BY day) d"
)
"""A test that midnight interrupts has two days, and each has its own cap."""
POSTED = "SELECT sum(amount_minor)::bigint AS minor FROM reservations WHERE state = 'posted' AND subject_id = :s"
COPIES = (
    "INSERT INTO quotes (tenant_id, checkout_id, brand_id, client_id, cart_sha256, amount_minor, currency, description,"
    " quoted_at, expires_at) SELECT q.tenant_id, c.checkout_id, c.brand_id, q.client_id, q.cart_sha256, c.amount_minor,"
    " q.currency, q.description, q.quoted_at, q.expires_at FROM quotes q, unnest(CAST(:checkouts AS text[]),"
    " CAST(:brands AS text[]), CAST(:amounts AS bigint[])) AS c (checkout_id, brand_id, amount_minor)"
    " WHERE q.checkout_id = :like RETURNING checkout_id"
)
UNFINISHED = "SELECT 1 FROM purchases WHERE state IN ('charging', 'unknown') AND subject_id = :s"
HELD = "SELECT 1 FROM reservations WHERE state = 'held' AND purchase_id = ANY(:p)"
NEVER_ASKED_FOR = "SELECT amount_minor FROM reservations WHERE amount_minor NOT BETWEEN 1 AND :cap AND subject_id = :s"
CHARGES = "SELECT charge_id FROM purchases WHERE charge_id IS NOT NULL AND subject_id = :s"


@dataclass(frozen=True, slots=True)
class Crew:
    """Eight gateways, and the one of the test on the same database."""

    shop: Shop
    clients: list[httpx2.AsyncClient]


@dataclass(frozen=True, slots=True)
class Order:
    checkout_id: str
    brand_id: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Look:
    """What was taken (held and posted): all of it, and the most of any one day (UTC)."""

    in_window: int
    in_a_day: int


@dataclass(frozen=True, slots=True)
class Buyer:
    """A person with one mandate for two brands. The first has a card on file, purchases at the second wait for one."""

    crew: Crew
    first: Talk
    second: Talk
    paid: str
    waiting: list[dict[str, Any]]

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        return await self.crew.shop.rows(query, s=self.first.subject_id, **values)


@pytest.fixture(scope="module")
async def crew(house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crew]:
    ground = await prepare(house, database)
    folder = tmp_path_factory.mktemp("gateways")
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(open_shop(ground))
        urls = stack.enter_context(many_gateways(house, ground.app_dsn, folder, PROCESSES))
        clients = [
            await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=BUSY_SECONDS_MAX)) for url in urls
        ]
        await asyncio.gather(*(connected(shop, client) for client in clients for _ in range(CONNECTIONS_KEPT)))
        yield Crew(shop, clients)


async def connected(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Connections to the database are made beforehand: 160 at once take a busy machine longer than they may."""
    await client.get("/ready")
    await shop.rows("SELECT 1")


@pytest.mark.parametrize(
    ("day_cap", "window_cap", "over"),
    [(LIMIT, OUT_OF_THE_WAY, Reason.OVER_DAY_CAP), (OUT_OF_THE_WAY, LIMIT, Reason.OVER_WINDOW_CAP)],
    ids=["a-day-cap", "a-window-cap"],
)
@pytest.mark.control("UC-D.2")
async def test_two_hundred_purchases_over_eight_processes_never_take_more_than_the_limit(
    crew: Crew, as_owner: AsOwner, day_cap: int, window_cap: int, over: Reason
):
    buyer = await a_person_with_one_mandate_for_two_brands(crew, day_cap, window_cap)
    orders = await quoted(crew.shop)

    async with watched(buyer) as looks:
        bought, *_ = await asyncio.gather(
            all_at_once(buyer, orders),
            one_card_is_declined(buyer),
            one_reservation_ends(buyer, as_owner),
            money_goes_back(buyer),
            nothing_is_asked_for(buyer),
        )
        await wait_until(lambda: nothing_is_under_way(buyer))
        await use_up(buyer)

    assert {answer.status_code for answers in bought for answer in answers} <= {200, UNDER_WAY, TOO_MANY}
    for order, answers in zip(orders, bought, strict=True):
        assert_decided_for_the_right_reason(order, answers[-1], over)
    seen = [look.in_a_day if over is Reason.OVER_DAY_CAP else look.in_window for look in looks]
    assert LIMIT - SMALLEST < seen[-1] <= LIMIT
    assert max(seen) <= LIMIT
    assert len(seen) > 10
    assert await buyer.rows(NEVER_ASKED_FOR, cap=PAYMENT_CAP) == []
    (posted,) = await buyer.rows(POSTED)
    assert await settled_at_the_processor(buyer) == posted["minor"]


async def a_person_with_one_mandate_for_two_brands(crew: Crew, day_cap: int, window_cap: int) -> Buyer:
    shop, email = crew.shop, f"{new_id('per')}@example.com"
    first = await shop.verified_chat(email)
    second = await shop.verified_chat(email, agent=OTHER_AGENT, brand_id=TSUBAKI)
    more = MoreLimits(payees=frozenset({TSUBAKI}), window=Window(seconds=A_DAY, cap_minor=window_cap))
    delegates = [f"agents:{LARKSPUR}", f"agents:{TSUBAKI}"]
    await shop.mandate(first, payment_cap=PAYMENT_CAP, day_cap=day_cap, more=more, delegates=delegates)
    paid = await shop.paid(first, await shop.checkout(2_000))
    waiting = [await second.buy(await shop.checkout(2_000, brand_id=TSUBAKI)) for _ in range(2)]
    assert [view["state"] for view in (paid, *waiting)] == ["paid", "needs_card", "needs_card"]
    return Buyer(crew, first, second, paid["purchase_id"], waiting)


async def quoted(shop: Shop) -> list[Order]:
    """One as mcp_server quotes it, and copies of it: how quotes come about is not what is tested here."""
    amounts = itertools.islice(itertools.cycle(AMOUNTS), PURCHASES)
    orders = [
        Order(new_id("cko"), TSUBAKI if number % 4 == 0 else LARKSPUR, amount) for number, amount in enumerate(amounts)
    ]
    copied = await shop.rows(
        COPIES,
        like=await shop.checkout(1_000),
        checkouts=[order.checkout_id for order in orders],
        brands=[order.brand_id for order in orders],
        amounts=[order.amount_minor for order in orders],
    )
    assert len(copied) == PURCHASES
    return orders


@asynccontextmanager
async def watched(buyer: Buyer) -> AsyncIterator[list[Look]]:
    """What was taken, look by look, over one connection; the last one is taken when all is over."""
    looks: list[Look] = []
    over = asyncio.Event()

    async def watch() -> None:
        async with tenant_transaction(buyer.crew.shop.gateway.engine, NORTH) as tx:
            while not over.is_set():
                looks.append(await look(tx, buyer))
                await asyncio.sleep(LOOK_SECONDS)
            looks.append(await look(tx, buyer))

    watching = asyncio.create_task(watch())
    await wait_until(lambda: watching.done() or bool(looks))
    try:
        yield looks
    finally:
        over.set()
        await watching


async def look(tx: AsyncConnection, buyer: Buyer) -> Look:
    row = (await tx.execute(TAKEN, {"s": buyer.first.subject_id})).one()
    return Look(in_window=row.in_window, in_a_day=row.in_a_day)


async def all_at_once(buyer: Buyer, orders: list[Order]) -> list[list[httpx2.Response]]:
    """All answers to each."""
    again = asyncio.Semaphore(PROCESSES)
    talks = {LARKSPUR: buyer.first, TSUBAKI: buyer.second}
    return await asyncio.gather(
        *(
            buy(client, talks[order.brand_id], order.checkout_id, again)
            for client, order in zip(itertools.cycle(buyer.crew.clients), orders, strict=False)
        )
    )


async def buy(client: httpx2.AsyncClient, talk: Talk, checkout: str, again: asyncio.Semaphore) -> list[httpx2.Response]:
    """As an agent does it: where it is told to ask again (409), it does, though not all at once any more."""
    body = {"conversation_id": talk.conversation_id, "checkout_id": checkout, "cart_sha256": CART}
    headers = {"Authorization": f"Bearer {await talk.bearer()}"}
    answers = [await client.post("/v1/purchases", json=body, headers=headers)]
    while answers[-1].status_code == UNDER_WAY and len(answers) < TRIES_MAX:
        async with again:
            answers.append(await client.post("/v1/purchases", json=body, headers=headers))
    return answers


async def one_card_is_declined(buyer: Buyer) -> None:
    """What was held for it is free again."""
    view = buyer.waiting[0]
    await buyer.crew.shop.type_card(view["capture_id"], DECLINED_CARD)
    *_, last = await buy(buyer.crew.clients[1], buyer.second, view["checkout_id"], asyncio.Semaphore())
    assert last.json()["state"] in {"declined", "needs_card", "denied"}, last.text


async def one_reservation_ends(buyer: Buyer, as_owner: AsOwner) -> None:
    """Its time is made to be over; whichever of the eight sweepers comes first ends it."""
    purchase_id = buyer.waiting[1]["purchase_id"]
    over = f"UPDATE reservations SET expires_at = reserved_at WHERE purchase_id = '{purchase_id}'"  # noqa: S608 - ours
    await as_owner(buyer.crew.shop, over)

    async def ended() -> bool:
        return await buyer.rows(HELD, p=[purchase_id]) == []

    await wait_until(ended)


async def money_goes_back(buyer: Buyer) -> None:
    """The same refund asked of all eight at once is one; it makes no room, for the money was spent."""
    key = new_id("rq")
    answers = await asyncio.gather(*(refund(buyer, client, 1_500, key) for client in buyer.crew.clients))
    assert {answer.status_code for answer in answers} <= {200, UNDER_WAY}
    assert len({answer.json()["refund_id"] for answer in answers if answer.status_code == 200}) == 1
    more = await refund(buyer, buyer.crew.clients[0], 501, new_id("rq"))
    assert more.json()["state"] == "denied"


async def refund(buyer: Buyer, client: httpx2.AsyncClient, amount_minor: int, key: str) -> httpx2.Response:
    body = {"conversation_id": buyer.first.conversation_id, "amount_minor": amount_minor, "request_key": key}
    headers = {"Authorization": f"Bearer {await buyer.first.bearer()}"}
    return await client.post(f"/v1/purchases/{buyer.paid}/refunds", json=body, headers=headers)


async def nothing_is_asked_for(buyer: Buyer) -> None:
    """No amount and less than none are neither quoted nor given back."""
    shop = buyer.crew.shop
    for amount in (0, -1, -100_000):
        quote = {"brand_id": LARKSPUR, "cart_sha256": CART, "amount_minor": amount, "currency": "USD"}
        body = {**quote, "description": "Nothing"}
        answer = await shop.call("PUT", f"/v1/quotes/{new_id('cko')}", await shop.bearer(MCP), body)
        assert answer.status_code == 422, answer.text
        given = await refund(buyer, buyer.crew.clients[2], amount, new_id("rq"))
        assert given.status_code == 422, given.text


async def nothing_is_under_way(buyer: Buyer) -> bool:
    return await buyer.rows(UNFINISHED) == []


async def use_up(buyer: Buyer) -> None:
    """What voids gave back is there to be spent, and no more than that."""
    for _ in range(2 * LIMIT // SMALLEST):
        view = await buyer.second.buy(await buyer.crew.shop.checkout(SMALLEST, brand_id=TSUBAKI))
        if view["state"] == "denied":
            return
    pytest.fail("there is always room for one more")


def assert_decided_for_the_right_reason(order: Order, answer: httpx2.Response, over: Reason) -> None:
    assert answer.status_code == 200, answer.text
    view = answer.json()
    if order.amount_minor > PAYMENT_CAP:
        assert view["state"] == "denied"
        assert Reason.OVER_PAYMENT_CAP in view["decision"]["reasons"]
    elif view["state"] not in {"paid", "needs_card", "charging", "unknown"}:
        assert (view["state"], view["decision"]["reasons"]) == ("denied", [over])


async def settled_at_the_processor(buyer: Buyer) -> int:
    """What was really taken from the person's card, refunded or not."""
    mine = {row["charge_id"] for row in await buyer.rows(CHARGES)}
    async with httpx2.AsyncClient() as processor:
        answer = await processor.get(f"{buyer.crew.shop.house.urls['processor']}/_sandbox/charges")
    settled = [charge for charge in answer.json()["charges"] if charge["metadata"].get("charge_id") in mine]
    return sum(charge["amount_settled_minor"] for charge in settled)
