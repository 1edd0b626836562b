"""Quotes: what a checkout costs, said by the brand's mcp_server and by nobody else.

mcp_server says it in the name of the assistant whose checkout it is, and then only that person can pay for it; or in
its own name, for a checkout that is nobody's yet. An assistant never speaks to the gateway itself: its exchanged bearer
is in mcp_server's hands alone.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import owners
from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel, QuoteRequest, QuoteView
from gateway.conversations import conversation_of, own_conversation
from gateway.facts import QUOTE_TTL
from gateway.store import tenant_of_brand
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.problems import CardNumberRefused, NotFound
from infra.chassis.screen import find_card_number


class Quotes:
    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def put(self, checkout_id: str, request: QuoteRequest, caller: Caller) -> QuoteView:
        """The checkout's price from now on. Raises NotFound, also for another brand's or another person's checkout."""
        caller.require_kind(CallerKind.MCP_SERVER, CallerKind.ASSISTANT)
        caller.require_scope("quote" if caller.kind is CallerKind.MCP_SERVER else "catalog")
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
            "subject_id": caller.subject_id,
            "client_id": caller.client_id,
            "cart_sha256": request.cart_sha256,
            "amount_minor": request.amount_minor,
            "currency": request.currency,
            "description": request.description,
            "purposes": sorted(set(request.purposes)),
            "now": now,
            "expires_at": now + QUOTE_TTL,
        }
        async with tenant_transaction(self._engine, tenant_id) as tx:
            if (await tx.execute(_PUT_QUOTE, row)).scalar_one_or_none() is None:
                raise NotFound
        return QuoteView(
            checkout_id=checkout_id,
            cart_sha256=request.cart_sha256,
            amount_minor=request.amount_minor,
            currency=request.currency,
            expires_at=now + QUOTE_TTL,
        )

    async def read(self, checkout_id: str, conversation_id: str | None, caller: Caller) -> QuoteView:
        """For paying it in this conversation, whose subject is verified. Raises NotFound for everybody else."""
        caller.require_scope("purchase")
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            facts = await own_conversation(tx, caller, conversation_of(caller, conversation_id))
            if facts.assurance(self._clock.now()).level < AssuranceLevel.VERIFIED:
                raise NotFound
            owner = await owners.of_checkout(tx, caller.tenant_id, checkout_id)
            owners.require_within(owners.of_facts(facts), owner)
            key = {"tenant_id": caller.tenant_id, "checkout_id": checkout_id}
            row = (await tx.execute(_QUOTE, key)).mappings().one()
        return QuoteView(**row)


_QUOTE = text(
    "SELECT checkout_id, cart_sha256, amount_minor, currency, expires_at FROM quotes WHERE tenant_id = :tenant_id"
    " AND checkout_id = :checkout_id"
)
_PUT_QUOTE = text(
    "INSERT INTO quotes (tenant_id, checkout_id, brand_id, subject_id, client_id, cart_sha256, amount_minor, currency,"
    " description, purposes, quoted_at, expires_at) VALUES (:tenant_id, :checkout_id, :brand_id, :subject_id,"
    " :client_id, :cart_sha256, :amount_minor, :currency, :description, :purposes, :now, :expires_at)"
    " ON CONFLICT (tenant_id, checkout_id) DO UPDATE SET"
    " client_id = excluded.client_id, cart_sha256 = excluded.cart_sha256, amount_minor = excluded.amount_minor,"
    " currency = excluded.currency, description = excluded.description, purposes = excluded.purposes,"
    " quoted_at = excluded.quoted_at,"
    " expires_at = excluded.expires_at WHERE quotes.brand_id = excluded.brand_id"
    " AND quotes.subject_id IS NOT DISTINCT FROM excluded.subject_id RETURNING checkout_id"
)
