"""What a cart costs comes from the pack alone, to the cent."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.brands.pack import BrandPack
from mcp_server.checkout.cart import Wishes, price, shipping_choices, written
from mcp_server.checkout.quotes import quote_of
from mcp_server.contract import Address, Item
from mcp_server.errors import AmountNotAccepted, ArgumentsInvalid, ChoiceNeeded, NotDeliveredThere, ProductUnknown

AUSTIN = Address(name="Ada", line1="1 Main St", city="Austin", state="TX", postal_code="78701", country="US")
LAMP = "LL-LAMP-DUSK"


def wishes(**changes: object) -> Wishes:
    return msgspec.structs.replace(Wishes(items=(Item(sku=LAMP, quantity=2),), ship_to=AUSTIN), **changes)


def test_a_cart_is_goods_and_the_first_shipping_method_and_the_tax_of_the_destination(pack: BrandPack):
    cart = price(pack, wishes())
    assert (cart.subtotal_minor, cart.tax_minor, cart.total_minor) == (15_600, 975, 17_265)
    assert cart.shipping is not None
    assert (cart.shipping.code, cart.shipping.price_minor) == ("standard", 690)


def test_without_an_address_there_is_no_shipping_no_tax_and_nothing_to_pay_yet(pack: BrandPack):
    cart = price(pack, wishes(ship_to=None))
    assert (cart.total_minor, cart.shipping, cart.payable) == (15_600, None, False)
    assert shipping_choices(pack, None) == []


def test_a_shipping_method_may_be_chosen_among_those_that_go_there(pack: BrandPack):
    assert price(pack, wishes(shipping_code="express")).total_minor == 15_600 + 1_900 + 975
    with pytest.raises(NotDeliveredThere):
        price(pack, wishes(shipping_code="europe"))


def test_a_country_nobody_delivers_to_is_refused(pack: BrandPack):
    with pytest.raises(NotDeliveredThere):
        price(pack, wishes(ship_to=msgspec.structs.replace(AUSTIN, country="AQ", state="")))


def test_an_american_address_needs_its_state_and_a_foreign_one_has_the_default_rate(pack: BrandPack):
    with pytest.raises(ArgumentsInvalid, match="arguments_invalid"):
        price(pack, wishes(ship_to=msgspec.structs.replace(AUSTIN, state="")))
    assert price(pack, wishes(ship_to=msgspec.structs.replace(AUSTIN, country="DE", state=""))).tax_minor == 0


@pytest.mark.parametrize(
    ("sku", "refusal"), [("LL-NOTHING-HERE", ProductUnknown), ("LL-CURT-VEIL", ChoiceNeeded), ("", ProductUnknown)]
)
def test_only_what_the_pack_offers_can_be_in_a_cart(pack: BrandPack, sku: str, refusal: type[Exception]):
    with pytest.raises(refusal):
        price(pack, wishes(items=(Item(sku=sku),)))


def test_a_sku_stands_in_a_cart_once(pack: BrandPack):
    with pytest.raises(ArgumentsInvalid):
        price(pack, wishes(items=(Item(sku=LAMP), Item(sku=LAMP))))


def test_a_total_beyond_eight_digits_is_refused(pack: BrandPack):
    dear = replace(pack.offers[LAMP], price_minor=50_000_000)
    with pytest.raises(AmountNotAccepted):
        price(replace(pack, offers={LAMP: dear}), wishes())


def test_the_hash_changes_with_every_fact_and_with_nothing_else(pack: BrandPack):
    same = [price(pack, wishes()).sha256, price(pack, wishes()).sha256]
    other = [
        price(pack, wishes(items=(Item(sku=LAMP, quantity=3),))).sha256,
        price(pack, wishes(shipping_code="express")).sha256,
        price(pack, wishes(ship_to=msgspec.structs.replace(AUSTIN, line1="2 Main St"))).sha256,
        price(replace(pack, offers={LAMP: replace(pack.offers[LAMP], price_minor=7_801)}), wishes()).sha256,
    ]
    assert same[0] == same[1]
    assert len({same[0], *other}) == 5


def test_a_cart_made_again_from_its_own_wishes_is_the_same_cart(pack: BrandPack):
    cart = price(pack, wishes(shipping_code="express"))
    assert price(pack, cart.wishes) == cart


@given(st.lists(st.integers(min_value=1, max_value=20), min_size=1, max_size=20))
def test_the_parts_of_a_total_always_add_up(pack: BrandPack, quantities: list[int]):
    items = tuple(Item(sku=sku, quantity=q) for sku, q in zip(pack.offers, quantities, strict=False))
    cart = price(pack, wishes(items=items))
    assert cart.shipping is not None
    assert cart.total_minor == sum(line.total_minor for line in cart.lines) + cart.shipping.price_minor + cart.tax_minor
    assert abs(cart.tax_minor * 10_000 - cart.subtotal_minor * 625) <= 5_000


def test_a_quote_says_amount_hash_and_what_for_within_its_length(pack: BrandPack):
    items = tuple(Item(sku=sku, quantity=1) for sku in list(pack.offers)[:20])
    cart = price(pack, wishes(items=items))
    quote = quote_of(pack, cart)
    assert (quote.amount_minor, quote.currency, quote.cart_sha256) == (cart.total_minor, "USD", cart.sha256)
    assert quote.description.startswith("Lumen & Loom: 1 x ")
    assert len(quote.description) == 200


@pytest.mark.parametrize(("amount", "text"), [(5, "USD 0.05"), (1_234_567, "USD 12,345.67"), (100, "USD 1.00")])
def test_an_amount_is_written_with_its_currency(amount: int, text: str):
    assert written(amount, "USD") == text
