"""Stock and orders on real PostgreSQL: nothing sold twice, nothing ordered twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.contract import PurchaseState, PurchaseView
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.cart import Cart, Wishes, price
from mcp_server.checkout.orders import place_order
from mcp_server.checkout.stock import Stock
from mcp_server.contract import Address, Item
from mcp_server.errors import NotEnoughStock
from mcp_server.store import Owner, Store
from tests.support.database import DatabaseMaker

AUSTIN = Address(name="Ada", line1="1 Main St", city="Austin", state="TX", postal_code="78701", country="US")
LAMP = "LL-LAMP-DUSK"


def cart_of(pack: BrandPack, quantity: int) -> Cart:
    return price(pack, Wishes(items=(Item(sku=LAMP, quantity=quantity),), ship_to=AUSTIN))


async def checkout_with(store: Store, owner: Owner, cart: Cart, clock: FixedClock) -> str:
    checkout_id = new_id("chk")
    async with store.transaction(owner.tenant_id) as tx:
        await tx.add_checkout(owner, checkout_id, cart, client_id="cli", now=clock.now())
    return checkout_id


def paid(checkout_id: str, cart: Cart, **changes: Any) -> PurchaseView:
    facts: dict[str, Any] = {
        "checkout_id": checkout_id,
        "state": PurchaseState.PAID,
        "amount_minor": cart.total_minor,
        "currency": cart.currency,
        "cart_sha256": cart.sha256,
        "purchase_id": new_id("pur"),
    }
    return PurchaseView(**{**facts, **changes})


async def place(store: Store, owner: Owner, purchase: PurchaseView, clock: FixedClock) -> None:
    async with store.transaction(owner.tenant_id) as tx:
        await place_order(tx, purchase, clock)


async def test_the_last_pieces_go_to_one_of_many_who_pay_at_once(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    stock, half = Stock(store, clock), pack.offers[LAMP].stock // 2 + 1
    cart = cart_of(pack, half)
    checkouts = [await checkout_with(store, owner, cart, clock) for _ in range(5)]

    async def hold(checkout_id: str) -> bool:
        try:
            async with store.transaction(owner.tenant_id) as tx:
                await stock.hold(tx, pack, checkout_id, cart)
        except NotEnoughStock:
            return False
        return True

    assert sorted(await asyncio.gather(*map(hold, checkouts))) == [False] * 4 + [True]
    assert (await stock.available(pack, owner.tenant_id, [LAMP]))[LAMP] == pack.offers[LAMP].stock - half


async def test_a_held_piece_comes_back_when_time_is_up_and_a_sold_one_does_not(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    stock, cart = Stock(store, clock), cart_of(pack, 2)
    held, sold = [await checkout_with(store, owner, cart, clock) for _ in range(2)]
    for checkout_id in (held, sold):
        async with store.transaction(owner.tenant_id) as tx:
            await stock.hold(tx, pack, checkout_id, cart)
    await place(store, owner, paid(sold, cart), clock)
    clock.advance(timedelta(days=365))
    assert (await stock.available(pack, owner.tenant_id, [LAMP]))[LAMP] == pack.offers[LAMP].stock - 2


async def test_holding_again_for_the_same_checkout_does_not_take_twice(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    stock, cart = Stock(store, clock), cart_of(pack, 3)
    checkout_id = await checkout_with(store, owner, cart, clock)
    for _ in range(3):
        async with store.transaction(owner.tenant_id) as tx:
            await stock.hold(tx, pack, checkout_id, cart)
    assert (await stock.available(pack, owner.tenant_id, [LAMP]))[LAMP] == pack.offers[LAMP].stock - 3


@pytest.mark.control("UC-C.1")
async def test_a_paid_checkout_has_one_order_however_many_notice_it_at_once(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    cart = cart_of(pack, 1)
    checkout_id = await checkout_with(store, owner, cart, clock)
    purchase = paid(checkout_id, cart)
    await asyncio.gather(*(place(store, owner, purchase, clock) for _ in range(8)))
    async with store.transaction(owner.tenant_id) as tx:
        order = await tx.newest_order(owner, checkout_id=checkout_id)
        checkout = await tx.checkout(owner, checkout_id)
    assert order is not None
    assert checkout is not None
    assert (order.cart, checkout.purchase_state) == (cart, "paid")


async def test_the_order_is_what_was_paid_for_even_if_the_checkout_moved_on(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    before, after = cart_of(pack, 1), cart_of(pack, 5)
    checkout_id = await checkout_with(store, owner, before, clock)
    async with store.transaction(owner.tenant_id) as tx:
        await tx.change_cart(checkout_id, after, now=clock.now())
    await place(store, owner, paid(checkout_id, before), clock)
    async with store.transaction(owner.tenant_id) as tx:
        order = await tx.newest_order(owner, checkout_id=checkout_id)
    assert order is not None
    assert order.cart == before


@pytest.mark.parametrize("changes", [{"cart_sha256": "0" * 64}, {"amount_minor": 1}, {"currency": "EUR"}])
async def test_a_payment_that_fits_no_cart_makes_no_order(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock, changes: dict[str, Any]
):
    cart = cart_of(pack, 1)
    checkout_id = await checkout_with(store, owner, cart, clock)
    await place(store, owner, paid(checkout_id, cart, **changes), clock)
    async with store.transaction(owner.tenant_id) as tx:
        assert await tx.newest_order(owner, checkout_id=checkout_id) is None


async def test_paid_is_final_and_a_late_answer_does_not_undo_it(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    cart = cart_of(pack, 1)
    checkout_id = await checkout_with(store, owner, cart, clock)
    await place(store, owner, paid(checkout_id, cart), clock)
    async with store.transaction(owner.tenant_id) as tx:
        await tx.note_purchase_state(checkout_id, "charging", now=clock.now())
        await tx.release_stock(checkout_id)
        checkout = await tx.checkout(owner, checkout_id)
    assert checkout is not None
    assert checkout.purchase_state == "paid"
    assert (await Stock(store, clock).available(pack, owner.tenant_id, [LAMP]))[LAMP] == pack.offers[LAMP].stock - 1


@pytest.mark.control("UC-7.3")
async def test_someone_elses_checkout_is_as_missing_as_a_missing_one(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    checkout_id = await checkout_with(store, owner, cart_of(pack, 1), clock)
    strangers = [
        Owner(tenant_id=owner.tenant_id, brand_id=owner.brand_id, subject_id="sub_bob"),
        Owner(tenant_id=owner.tenant_id, brand_id="brd_other", subject_id=owner.subject_id),
        Owner(tenant_id="tnt_other", brand_id=owner.brand_id, subject_id=owner.subject_id),
    ]
    for stranger in strangers:
        async with store.transaction(stranger.tenant_id) as tx:
            assert await tx.checkout(stranger, checkout_id) is None


async def test_a_paused_call_is_resumed_once_in_time_and_for_its_checkout(
    store: Store, pack: BrandPack, owner: Owner, clock: FixedClock
):
    cart = cart_of(pack, 1)
    one, other = [await checkout_with(store, owner, cart, clock) for _ in range(2)]
    async with store.transaction(owner.tenant_id) as tx:
        for name in ("psd_first", "psd_late"):
            await tx.pause_call(name, one, "cap_x", expires_at=clock.now() + timedelta(minutes=15))

    async def resume(name: str, checkout_id: str) -> str | None:
        async with store.transaction(owner.tenant_id) as tx:
            return await tx.resume_call(name, checkout_id, now=clock.now())

    assert await resume("psd_first", other) is None
    answers = await asyncio.gather(*(resume("psd_first", one) for _ in range(8)))
    assert sorted(answers, key=str) == [None] * 7 + ["cap_x"]
    clock.advance(timedelta(minutes=16))
    assert await resume("psd_late", one) is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM {} WHERE true OR tenant_id = 'tnt_halden'",
        "SELECT count(*) FROM {} x, (SELECT set_config('row_security', 'on', true)) y",
    ],
)
async def test_a_hostile_query_sees_no_row_of_another_tenant(
    database: DatabaseMaker, pack: BrandPack, owner: Owner, clock: FixedClock, statement: str
):
    engine = create_engine(Secret(database("mcp_server").app_dsn))
    store, cart = Store(engine), cart_of(pack, 1)
    checkout_id = await checkout_with(store, owner, cart, clock)
    await place(store, owner, paid(checkout_id, cart), clock)
    for table in ("checkouts", "carts", "orders", "stock_holds"):
        async with tenant_transaction(engine, "tnt_other") as tx:
            assert (await tx.execute(text(statement.format(table)))).scalar_one() == 0
    await engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "DROP TABLE carts",
        "UPDATE orders SET amount_minor = 1",
        "DELETE FROM orders",
        "UPDATE carts SET cart = '{}'",
        "CREATE TABLE mine (x int)",
        "UPDATE checkouts SET subject_id = 'sub_bob'",
    ],
)
async def test_the_running_service_cannot_change_its_tables_or_the_past(
    database: DatabaseMaker, owner: Owner, statement: str
):
    engine = create_engine(Secret(database("mcp_server").app_dsn))
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with tenant_transaction(engine, owner.tenant_id) as tx:
            await tx.execute(text(statement))
    await engine.dispose()
