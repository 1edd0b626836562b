"""What mcp_server refuses by itself, shown with a gateway that cannot be reached."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.chassis.client import PeerClient
from infra.chassis.clock import FixedClock
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from infra.dev.ports import free_ports
from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.cart import Wishes, price
from mcp_server.checkout.stock import Stock
from mcp_server.contract import Address, CreateCheckout, Item, Pay, UpdateCheckout
from mcp_server.errors import (
    AddressMissing,
    CartChanged,
    CheckoutNotFound,
    CheckoutPaid,
    NotEnoughStock,
    PaymentUnderWay,
    ToolRefused,
    Unavailable,
)
from mcp_server.gateway_calls import GatewayCalls
from mcp_server.identity import Caller, ClientKey, Exchange
from mcp_server.store import Owner, Store
from mcp_server.tools.checkouts import Checkouts
from mcp_server.tools.payment import Payments
from mcp_server.tools.tool import Call

AUSTIN = Address(name="Ada", line1="1 Main St", city="Austin", state="TX", postal_code="78701", country="US")
LAMP = "LL-LAMP-DUSK"


@pytest.fixture
async def silent(clock: FixedClock, tmp_path: Path) -> AsyncIterator[GatewayCalls]:
    """A port nobody listens on."""
    pem = tmp_path / "client.pem"
    pem.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (port,) = free_ports(1)
    client = PeerClient("gateway", f"http://127.0.0.1:{port}")
    key = ClientKey(pem, client_id="mcp_server", issuer="https://gateway.test", clock=clock)
    yield GatewayCalls(client, Exchange(client, key, issuer="https://gateway.test", clock=clock))
    await client.close()


@pytest.fixture
def call(pack: BrandPack, owner: Owner) -> Call:
    caller = Caller(
        client_id="ast_one",
        subject_id=owner.subject_id,
        tenant_id=owner.tenant_id,
        brand_id=owner.brand_id,
        conversation_id="cnv_one",
        scopes=frozenset({"catalog", "purchase"}),
        bearer=Secret("assistant's"),
    )
    return Call(caller=caller, pack=pack)


@pytest.fixture
def payments(store: Store, silent: GatewayCalls, clock: FixedClock) -> Payments:
    return Payments(store=store, stock=Stock(store, clock), gateway=silent, clock=clock)


@pytest.fixture
def checkouts(store: Store, silent: GatewayCalls, clock: FixedClock) -> Checkouts:
    return Checkouts(store=store, stock=Stock(store, clock), gateway=silent, clock=clock)


async def kept(store: Store, call: Call, clock: FixedClock, *, ship_to: Address | None = AUSTIN) -> Pay:
    cart = price(call.pack, Wishes(items=(Item(sku=LAMP, quantity=2),), ship_to=ship_to))
    checkout_id = new_id("chk")
    async with store.transaction(call.owner.tenant_id) as tx:
        await tx.add_checkout(call.owner, checkout_id, cart, client_id="ast_one", now=clock.now())
    return Pay(checkout_id=checkout_id)


def repriced(call: Call, **changes: Any) -> Call:
    offers = {**call.pack.offers, LAMP: replace(call.pack.offers[LAMP], **changes)}
    return replace(call, pack=replace(call.pack, offers=offers))


@pytest.mark.control("UC-D.3")
async def test_a_price_that_changed_since_it_was_shown_is_not_charged(
    store: Store, payments: Payments, call: Call, clock: FixedClock
):
    wanted = await kept(store, call, clock)
    with pytest.raises(CartChanged):
        await payments.pay(repriced(call, price_minor=7_799), wanted)


async def test_what_others_bought_meanwhile_is_not_charged(
    store: Store, payments: Payments, call: Call, clock: FixedClock
):
    wanted = await kept(store, call, clock)
    with pytest.raises(NotEnoughStock, match="not_enough_stock"):
        await payments.pay(repriced(call, stock=1), wanted)


async def test_without_an_address_nothing_can_be_paid(store: Store, payments: Payments, call: Call, clock: FixedClock):
    with pytest.raises(AddressMissing):
        await payments.pay(call, await kept(store, call, clock, ship_to=None))


async def test_an_unreachable_gateway_is_said_and_the_pieces_stay_held_because_nobody_knows(
    store: Store, payments: Payments, call: Call, clock: FixedClock
):
    wanted = await kept(store, call, clock)
    with pytest.raises(Unavailable):
        await payments.pay(call, wanted)
    left = await Stock(store, clock).available(call.pack, call.owner.tenant_id, [LAMP])
    assert left[LAMP] == call.pack.offers[LAMP].stock - 2


async def test_a_checkout_that_could_not_be_quoted_is_not_kept(
    store: Store, checkouts: Checkouts, call: Call, clock: FixedClock
):
    with pytest.raises(Unavailable):
        await checkouts.create(call, CreateCheckout(items=(Item(sku=LAMP),), ship_to=AUSTIN))
    wanted = await kept(store, call, clock)
    with pytest.raises(Unavailable):
        await checkouts.update(
            call, UpdateCheckout(checkout_id=wanted.checkout_id, items=(Item(sku=LAMP, quantity=9),))
        )
    async with store.transaction(call.owner.tenant_id) as tx:
        checkout = await tx.checkout(call.owner, wanted.checkout_id)
    assert checkout is not None
    assert checkout.cart.lines[0].quantity == 2


@pytest.mark.parametrize(
    ("state", "refusal"), [("paid", CheckoutPaid), ("charging", PaymentUnderWay), ("unknown", PaymentUnderWay)]
)
async def test_a_checkout_being_paid_or_paid_does_not_change(
    store: Store, checkouts: Checkouts, call: Call, clock: FixedClock, state: str, refusal: type[ToolRefused]
):
    wanted = await kept(store, call, clock)
    async with store.transaction(call.owner.tenant_id) as tx:
        await tx.note_purchase_state(wanted.checkout_id, state, now=clock.now())
    with pytest.raises(refusal):
        await checkouts.update(call, UpdateCheckout(checkout_id=wanted.checkout_id))


async def test_another_persons_checkout_cannot_be_paid(store: Store, payments: Payments, call: Call, clock: FixedClock):
    wanted = await kept(store, call, clock)
    stranger = replace(call, caller=replace(call.caller, subject_id="sub_bob"))
    with pytest.raises(CheckoutNotFound):
        await payments.pay(stranger, wanted)
