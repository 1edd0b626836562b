"""What a cart costs: pure, from the brand pack and the person's wishes, never from a price anyone names."""

from collections.abc import Sequence

import msgspec

from infra.chassis.canonical import parameters_sha256
from mcp_server.brands.pack import BrandPack, Offer
from mcp_server.brands.shapes import ShippingMethod
from mcp_server.contract import Address, Item, LineView, ShippingView
from mcp_server.errors import AmountNotAccepted, ArgumentsInvalid, ChoiceNeeded, NotDeliveredThere, ProductUnknown

TOTAL_MINOR_MAX = 99_999_999
"""The gateway's and the processor's ceiling: eight digits."""
BASIS_POINTS = 10_000
COUNTRY_WITH_STATES = "US"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for; with a pack it makes a cart. Without `shipping_code` the brand's first is taken."""

    items: tuple[Item, ...]
    ship_to: Address | None = None
    shipping_code: str | None = None


class Cart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A priced cart. Its hash is what is quoted, decided and paid; without an address it cannot be paid."""

    brand_id: str
    currency: str
    lines: tuple[LineView, ...]
    subtotal_minor: int
    shipping: ShippingView | None
    shipping_code_wished: str | None
    ship_to: Address | None
    tax_minor: int
    total_minor: int

    @property
    def sha256(self) -> str:
        """Lower-case hex SHA-256 of the RFC 8785 form."""
        return parameters_sha256(self)

    @property
    def payable(self) -> bool:
        return self.ship_to is not None

    @property
    def wishes(self) -> Wishes:
        """What would make this cart again from an unchanged pack."""
        items = tuple(Item(sku=line.sku, quantity=line.quantity) for line in self.lines)
        return Wishes(items=items, ship_to=self.ship_to, shipping_code=self.shipping_code_wished)


def price(pack: BrandPack, wishes: Wishes) -> Cart:
    """The cart at the pack's present prices. Raises a ToolRefused that names what is wrong; stock is not looked at."""
    lines = tuple(_line(pack, item) for item in _each_once(wishes.items))
    subtotal = sum(line.total_minor for line in lines)
    method = _method(pack, wishes)
    tax = _tax(pack, subtotal, wishes.ship_to)
    total = subtotal + tax + (method.price_minor if method else 0)
    if total > TOTAL_MINOR_MAX:
        raise AmountNotAccepted
    return Cart(
        brand_id=pack.brand.brand_id,
        currency=pack.brand.currency,
        lines=lines,
        subtotal_minor=subtotal,
        shipping=shipping_view(method) if method else None,
        shipping_code_wished=wishes.shipping_code,
        ship_to=wishes.ship_to,
        tax_minor=tax,
        total_minor=total,
    )


def shipping_choices(pack: BrandPack, ship_to: Address | None) -> list[ShippingMethod]:
    """Methods that go there, in the order the brand lists them."""
    if ship_to is None:
        return []
    return [method for method in pack.brand.shipping if ship_to.country in method.countries]


def shipping_view(method: ShippingMethod) -> ShippingView:
    return ShippingView(
        code=method.code,
        name=method.name,
        price_minor=method.price_minor,
        days_min=method.days_min,
        days_max=method.days_max,
    )


def find_offer(pack: BrandPack, sku: str) -> Offer:
    """Raises ChoiceNeeded for a product that has versions, ProductUnknown for anything else that cannot be bought."""
    offer = pack.offers.get(sku)
    if offer is not None:
        return offer
    if sku in pack.products:
        raise ChoiceNeeded
    raise ProductUnknown


def written(amount_minor: int, currency: str) -> str:
    """`1234`, `USD` as `USD 12.34`. Every currency a pack may use at first light has two decimals."""
    return f"{currency} {amount_minor // 100:,}.{amount_minor % 100:02d}"


def _each_once(items: Sequence[Item]) -> Sequence[Item]:
    if len({item.sku for item in items}) != len(items):
        raise ArgumentsInvalid("The same sku stands in items twice; name it once with the whole quantity.")
    return items


def _line(pack: BrandPack, item: Item) -> LineView:
    offer = find_offer(pack, item.sku)
    return LineView(
        sku=offer.sku,
        title=offer.title,
        quantity=item.quantity,
        unit_minor=offer.price_minor,
        total_minor=offer.price_minor * item.quantity,
    )


def _method(pack: BrandPack, wishes: Wishes) -> ShippingMethod | None:
    if wishes.ship_to is None:
        return None
    choices = shipping_choices(pack, wishes.ship_to)
    if wishes.shipping_code is not None:
        choices = [method for method in choices if method.code == wishes.shipping_code]
    if not choices:
        raise NotDeliveredThere
    return choices[0]


def _tax(pack: BrandPack, subtotal_minor: int, ship_to: Address | None) -> int:
    """On goods, not on shipping; half a cent rounds up. Unknown until the destination is."""
    if ship_to is None:
        return 0
    state = None
    if ship_to.country == COUNTRY_WITH_STATES:
        if not ship_to.state:
            raise ArgumentsInvalid("ship_to.state is needed for an address in the United States.")
        state = ship_to.state
    return (subtotal_minor * pack.brand.tax.basis_points(state) + BASIS_POINTS // 2) // BASIS_POINTS
