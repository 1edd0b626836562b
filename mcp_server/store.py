"""Checkouts, carts, stock held, orders and paused calls. One statement a method, always inside one tenant."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.chassis.engine import tenant_transaction
from mcp_server.checkout.cart import Cart


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose checkout or order: a subject at a brand of a tenant. Rows of anyone else do not exist."""

    tenant_id: str
    brand_id: str
    subject_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    checkout_id: str
    cart: Cart
    cart_sha256: str
    purchase_state: str | None
    """What the gateway last said of its purchase; None before the first attempt to pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    order_id: str
    checkout_id: str
    cart: Cart
    placed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    order_id: str
    checkout_id: str
    purchase_id: str
    cart_sha256: str
    amount_minor: int
    currency: str


_CHECKOUT = """
    SELECT c.checkout_id, c.cart_sha256, c.purchase_state, k.cart::text AS cart
    FROM checkouts c JOIN carts k USING (tenant_id, checkout_id, cart_sha256)
    WHERE c.tenant_id = :tenant_id AND c.checkout_id = :checkout_id
      AND c.brand_id = :brand_id AND c.subject_id = :subject_id
"""
CHECKOUT_OF_OWNER = text(_CHECKOUT)
CHECKOUT_OF_OWNER_LOCKED = text(_CHECKOUT + " FOR UPDATE OF c")
ADD_CHECKOUT = text(
    """
    INSERT INTO checkouts (tenant_id, checkout_id, brand_id, subject_id, client_id, cart_sha256, created_at, changed_at)
    VALUES (:tenant_id, :checkout_id, :brand_id, :subject_id, :client_id, :cart_sha256, :now, :now)
    """
)
KEEP_CART = text(
    """
    INSERT INTO carts (tenant_id, checkout_id, cart_sha256, cart, made_at)
    VALUES (:tenant_id, :checkout_id, :cart_sha256, CAST(:cart AS jsonb), :now) ON CONFLICT DO NOTHING
    """
)
CHANGE_CART = text(
    """
    UPDATE checkouts SET cart_sha256 = :cart_sha256, changed_at = :now
    WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id
    """
)
NOTE_PURCHASE_STATE = text(
    """
    UPDATE checkouts SET purchase_state = :purchase_state, changed_at = :now
    WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id AND purchase_state IS DISTINCT FROM 'paid'
    """
)
SERIALISE_BRAND_STOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(CAST(:tenant_id AS text) || ' ' || :brand_id, 0))"
)
HELD_BY_SKU = text(
    """
    SELECT sku, sum(quantity)::int AS quantity FROM stock_holds
    WHERE tenant_id = :tenant_id AND brand_id = :brand_id AND sku = ANY(:skus)
      AND held_until > :now AND checkout_id <> :except_checkout_id
    GROUP BY sku
    """
)
RELEASE_STOCK = text(
    """
    DELETE FROM stock_holds
    WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id AND held_until <> 'infinity'
    """
)
HOLD_STOCK = text(
    """
    INSERT INTO stock_holds (tenant_id, checkout_id, sku, brand_id, quantity, held_until)
    VALUES (:tenant_id, :checkout_id, :sku, :brand_id, :quantity, coalesce(:held_until, 'infinity'::timestamptz))
    """
)
OWNER_OF_PAID_CART = text(
    """
    SELECT c.brand_id, c.subject_id, k.cart::text AS cart
    FROM checkouts c JOIN carts k USING (tenant_id, checkout_id)
    WHERE c.tenant_id = :tenant_id AND c.checkout_id = :checkout_id AND k.cart_sha256 = :cart_sha256
    FOR UPDATE OF c
    """
)
ADD_ORDER = text(
    """
    INSERT INTO orders (tenant_id, order_id, brand_id, checkout_id, subject_id, purchase_id, cart_sha256,
                        amount_minor, currency, placed_at)
    VALUES (:tenant_id, :order_id, :brand_id, :checkout_id, :subject_id, :purchase_id, :cart_sha256,
            :amount_minor, :currency, :now)
    ON CONFLICT (tenant_id, checkout_id) DO NOTHING RETURNING order_id
    """
)
NEWEST_ORDER = text(
    """
    SELECT o.order_id, o.checkout_id, o.placed_at, k.cart::text AS cart
    FROM orders o JOIN carts k USING (tenant_id, checkout_id, cart_sha256)
    WHERE o.tenant_id = :tenant_id AND o.brand_id = :brand_id AND o.subject_id = :subject_id
      AND (CAST(:checkout_id AS text) IS NULL OR o.checkout_id = :checkout_id)
      AND (CAST(:order_id AS text) IS NULL OR o.order_id = :order_id)
    ORDER BY o.placed_at DESC, o.order_id LIMIT 1
    """
)
PAUSE_CALL = text(
    """
    INSERT INTO paused_calls (tenant_id, paused_call_id, checkout_id, capture_id, expires_at)
    VALUES (:tenant_id, :paused_call_id, :checkout_id, :capture_id, :expires_at)
    """
)
RESUME_CALL = text(
    """
    UPDATE paused_calls SET resumed_at = :now
    WHERE tenant_id = :tenant_id AND paused_call_id = :paused_call_id AND checkout_id = :checkout_id
      AND resumed_at IS NULL AND expires_at > :now
    RETURNING capture_id
    """
)
FORGET_EXPIRED_CALLS = text("DELETE FROM paused_calls WHERE tenant_id = :tenant_id AND expires_at < :before")
CURSOR = text("SELECT after FROM purchase_cursors WHERE tenant_id = :tenant_id AND brand_id = :brand_id")
MOVE_CURSOR = text(
    """
    INSERT INTO purchase_cursors (tenant_id, brand_id, after) VALUES (:tenant_id, :brand_id, :after)
    ON CONFLICT (tenant_id, brand_id) DO UPDATE SET after = excluded.after
    """
)


class Transaction:
    """One transaction in one tenant."""

    def __init__(self, connection: AsyncConnection, tenant_id: str) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def checkout(self, owner: Owner, checkout_id: str, *, locked: bool = False) -> Checkout | None:
        statement = CHECKOUT_OF_OWNER_LOCKED if locked else CHECKOUT_OF_OWNER
        row = await self._one(statement, brand_id=owner.brand_id, subject_id=owner.subject_id, checkout_id=checkout_id)
        if row is None:
            return None
        return Checkout(
            checkout_id=row["checkout_id"],
            cart=_cart(row),
            cart_sha256=row["cart_sha256"],
            purchase_state=row["purchase_state"],
        )

    async def add_checkout(self, owner: Owner, checkout_id: str, cart: Cart, *, client_id: str, now: datetime) -> None:
        await self._run(
            ADD_CHECKOUT,
            checkout_id=checkout_id,
            brand_id=owner.brand_id,
            subject_id=owner.subject_id,
            client_id=client_id,
            cart_sha256=cart.sha256,
            now=now,
        )
        await self._keep_cart(checkout_id, cart, now)

    async def change_cart(self, checkout_id: str, cart: Cart, *, now: datetime) -> None:
        await self._keep_cart(checkout_id, cart, now)
        await self._run(CHANGE_CART, checkout_id=checkout_id, cart_sha256=cart.sha256, now=now)

    async def note_purchase_state(self, checkout_id: str, purchase_state: str, *, now: datetime) -> None:
        """Paid is final and is not overwritten by an answer that was overtaken."""
        await self._run(NOTE_PURCHASE_STATE, checkout_id=checkout_id, purchase_state=purchase_state, now=now)

    async def serialise_stock(self, brand_id: str) -> None:
        """Until this transaction ends no other one looks at or holds this brand's stock."""
        await self._run(SERIALISE_BRAND_STOCK, brand_id=brand_id)

    async def held_by_sku(
        self, brand_id: str, skus: Collection[str], *, except_checkout_id: str, now: datetime
    ) -> Mapping[str, int]:
        """Pieces sold or held for checkouts other than this one."""
        rows = await self._connection.execute(
            HELD_BY_SKU,
            {
                "tenant_id": self._tenant_id,
                "brand_id": brand_id,
                "skus": list(skus),
                "except_checkout_id": except_checkout_id,
                "now": now,
            },
        )
        return {row["sku"]: row["quantity"] for row in rows.mappings()}

    async def hold_stock(self, checkout_id: str, cart: Cart, *, held_until: datetime | None) -> None:
        """In place of what was held for this checkout before; None means sold."""
        await self._run(RELEASE_STOCK, checkout_id=checkout_id)
        for line in cart.lines:
            await self._run(
                HOLD_STOCK,
                checkout_id=checkout_id,
                sku=line.sku,
                brand_id=cart.brand_id,
                quantity=line.quantity,
                held_until=held_until,
            )

    async def release_stock(self, checkout_id: str) -> None:
        """What is sold stays sold."""
        await self._run(RELEASE_STOCK, checkout_id=checkout_id)

    async def paid_cart(self, checkout_id: str, cart_sha256: str) -> tuple[Owner, Cart] | None:
        """The cart that was paid for, and whose it is; the checkout stays locked."""
        row = await self._one(OWNER_OF_PAID_CART, checkout_id=checkout_id, cart_sha256=cart_sha256)
        if row is None:
            return None
        owner = Owner(tenant_id=self._tenant_id, brand_id=row["brand_id"], subject_id=row["subject_id"])
        return owner, _cart(row)

    async def add_order(self, owner: Owner, order: NewOrder, *, now: datetime) -> bool:
        """False when this checkout has its order already."""
        row = await self._one(
            ADD_ORDER,
            order_id=order.order_id,
            brand_id=owner.brand_id,
            checkout_id=order.checkout_id,
            subject_id=owner.subject_id,
            purchase_id=order.purchase_id,
            cart_sha256=order.cart_sha256,
            amount_minor=order.amount_minor,
            currency=order.currency,
            now=now,
        )
        return row is not None

    async def newest_order(
        self, owner: Owner, *, checkout_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        row = await self._one(
            NEWEST_ORDER,
            brand_id=owner.brand_id,
            subject_id=owner.subject_id,
            checkout_id=checkout_id,
            order_id=order_id,
        )
        if row is None:
            return None
        return Order(
            order_id=row["order_id"], checkout_id=row["checkout_id"], cart=_cart(row), placed_at=row["placed_at"]
        )

    async def pause_call(self, paused_call_id: str, checkout_id: str, capture_id: str, *, expires_at: datetime) -> None:
        await self._run(
            PAUSE_CALL,
            paused_call_id=paused_call_id,
            checkout_id=checkout_id,
            capture_id=capture_id,
            expires_at=expires_at,
        )

    async def resume_call(self, paused_call_id: str, checkout_id: str, *, now: datetime) -> str | None:
        """The capture the call waited for; None when it was resumed before, is too old, or never was."""
        row = await self._one(RESUME_CALL, paused_call_id=paused_call_id, checkout_id=checkout_id, now=now)
        return str(row["capture_id"]) if row is not None else None

    async def forget_expired_calls(self, *, before: datetime) -> None:
        await self._run(FORGET_EXPIRED_CALLS, before=before)

    async def cursor(self, brand_id: str) -> str:
        row = await self._one(CURSOR, brand_id=brand_id)
        return str(row["after"]) if row is not None else ""

    async def move_cursor(self, brand_id: str, after: str) -> None:
        await self._run(MOVE_CURSOR, brand_id=brand_id, after=after)

    async def _keep_cart(self, checkout_id: str, cart: Cart, now: datetime) -> None:
        await self._run(
            KEEP_CART,
            checkout_id=checkout_id,
            cart_sha256=cart.sha256,
            cart=msgspec.json.encode(cart).decode(),
            now=now,
        )

    async def _one(self, statement: TextClause, **values: Any) -> Mapping[str, Any] | None:
        result = await self._connection.execute(statement, {"tenant_id": self._tenant_id, **values})
        row: Mapping[str, Any] | None = result.mappings().one_or_none()  # type: ignore[assignment]  # RowMapping is one
        return row

    async def _run(self, statement: TextClause, **values: Any) -> None:
        await self._connection.execute(statement, {"tenant_id": self._tenant_id, **values})


class Store:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self, tenant_id: str) -> AsyncIterator[Transaction]:
        async with tenant_transaction(self._engine, tenant_id) as connection:
            yield Transaction(connection, tenant_id)


def _cart(row: Mapping[str, Any]) -> Cart:
    return msgspec.json.decode(row["cart"], type=Cart)
