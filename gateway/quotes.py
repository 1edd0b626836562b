"""Quotes: what a checkout costs, said by the brand's mcp_server and by nobody else."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.callers import Caller, CallerKind
from gateway.contract import QuoteRequest, QuoteView
from gateway.store import tenant_of_brand
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.problems import CardNumberRefused, NotFound
from infra.chassis.screen import find_card_number

TTL: Final = timedelta(minutes=30)
"""Longer than it takes to read a checkout and find a card; shorter than prices live."""


class Quotes:
    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def put(self, checkout_id: str, request: QuoteRequest, caller: Caller) -> QuoteView:
        """The checkout's price from now on. Raises NotFound, also for a checkout of another brand."""
        caller.require_kind(CallerKind.MCP_SERVER)
        caller.require_scope("quote")
        caller.require_brand(request.brand_id)
        if find_card_number(request.description) is not None:
            raise CardNumberRefused
        async with directory_transaction(self._engine) as tx:
            tenant_id = await tenant_of_brand(tx, request.brand_id)
        now = self._clock.now()
        row = {
            "tenant_id": tenant_id,
            "checkout_id": checkout_id,
            "brand_id": request.brand_id,
            "client_id": caller.client_id,
            "cart_sha256": request.cart_sha256,
            "amount_minor": request.amount_minor,
            "currency": request.currency,
            "description": request.description,
            "now": now,
            "expires_at": now + TTL,
        }
        async with tenant_transaction(self._engine, tenant_id) as tx:
            if (await tx.execute(_PUT_QUOTE, row)).scalar_one_or_none() is None:
                raise NotFound
        return QuoteView(
            checkout_id=checkout_id,
            cart_sha256=request.cart_sha256,
            amount_minor=request.amount_minor,
            currency=request.currency,
            expires_at=now + TTL,
        )


_PUT_QUOTE = text(
    "INSERT INTO quotes (tenant_id, checkout_id, brand_id, client_id, cart_sha256, amount_minor, currency,"
    " description, quoted_at, expires_at) VALUES (:tenant_id, :checkout_id, :brand_id, :client_id, :cart_sha256,"
    " :amount_minor, :currency, :description, :now, :expires_at) ON CONFLICT (tenant_id, checkout_id) DO UPDATE SET"
    " client_id = excluded.client_id, cart_sha256 = excluded.cart_sha256, amount_minor = excluded.amount_minor,"
    " currency = excluded.currency, description = excluded.description, quoted_at = excluded.quoted_at,"
    " expires_at = excluded.expires_at WHERE quotes.brand_id = excluded.brand_id RETURNING checkout_id"
)
