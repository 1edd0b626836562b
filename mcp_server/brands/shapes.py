"""What `brand.toml` and `catalog.toml` may contain; anything else in them is refused."""

from typing import Annotated

import msgspec

from gateway.contract import SpendingPurpose

LINE_CHARACTERS_MAX = 160  # fits one line of a chat widget twice over
PARAGRAPH_CHARACTERS_MAX = 900  # keeps a full product well under an assistant's budget for one tool result
PRICE_MINOR_MAX = 10_000_000  # 100,000.00: a price above it is a slip of the keyboard
STOCK_MAX = 100_000
BASIS_POINTS_MAX = 3_000  # no sales tax or VAT in force anywhere reaches 30 %
PRODUCTS_MAX = 5_000  # the whole catalogue is searched in memory

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=LINE_CHARACTERS_MAX, pattern=r"^\S(.*\S)?\Z")]
Paragraph = Annotated[str, msgspec.Meta(min_length=1, max_length=PARAGRAPH_CHARACTERS_MAX, pattern=r"^\S(.*\S)?\Z")]
Slug = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[a-z]+(-[a-z]+)*\Z")]
# Mostly letters, at most six digits: a sku can never be mistaken for a card number by a card screen.
Sku = Annotated[str, msgspec.Meta(pattern=r"^(?!(?:.*[0-9]){7})[A-Z]{2}(-[A-Z0-9]{2,12}){1,5}\Z")]
PictureName = Annotated[str, msgspec.Meta(max_length=60, pattern=r"^[a-z]+(-[a-z]+)*\.svg\Z")]
PriceMinor = Annotated[int, msgspec.Meta(ge=1, le=PRICE_MINOR_MAX)]
Stock = Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
BasisPoints = Annotated[int, msgspec.Meta(ge=0, le=BASIS_POINTS_MAX)]
Days = Annotated[int, msgspec.Meta(ge=0, le=90)]
Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")]
State = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")]
OptionName = Annotated[str, msgspec.Meta(max_length=20, pattern=r"^[a-z]+\Z")]


class Voice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    tone: Paragraph
    greeting: Line


class Support(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    email: Annotated[str, msgspec.Meta(max_length=80, pattern=r"^[a-z.]+@[a-z-]+(\.[a-z]+)+\Z")]
    hours: Line


class ShippingMethod(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`countries` are ISO 3166-1 alpha-2; `days_min` to `days_max` are working days."""

    code: Slug
    name: Line
    price_minor: Annotated[int, msgspec.Meta(ge=0, le=PRICE_MINOR_MAX)]
    days_min: Days
    days_max: Days
    countries: Annotated[tuple[Country, ...], msgspec.Meta(min_length=1)]


class Tax(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sales tax on goods, in basis points (1/100 of a percent), by US state (USPS code)."""

    default_basis_points: BasisPoints
    basis_points_by_state: dict[State, BasisPoints]

    def basis_points(self, state: str | None) -> int:
        """The rate where the parcel goes; `None` is a destination outside the United States."""
        if state is None:
            return self.default_basis_points
        return self.basis_points_by_state.get(state, self.default_basis_points)


class Brand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`brand.toml`. `currency` (ISO 4217) is the unit of every `_minor` in the pack."""

    name: Line
    slug: Slug
    brand_id: Annotated[str, msgspec.Meta(pattern=r"^brd_[a-z]{4,32}\Z")]
    tenant_id: Annotated[str, msgspec.Meta(pattern=r"^tnt_[a-z]{4,32}\Z")]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    tagline: Line
    voice: Voice
    support: Support
    shipping: Annotated[tuple[ShippingMethod, ...], msgspec.Meta(min_length=1)]
    tax: Tax


class VariantEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    sku: Sku
    options: Annotated[dict[OptionName, Line], msgspec.Meta(min_length=1, max_length=3)]
    price_minor: PriceMinor
    stock: Stock


class ProductEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[products]]`: either its own `price_minor` and `stock`, or `variants` that each have theirs.

    `purpose` is what buying it is for, in the gateway's words: people may limit what they allow to some of them.
    """

    sku: Sku
    name: Line
    kind: Slug
    short: Line
    long: Paragraph
    materials: Annotated[tuple[Line, ...], msgspec.Meta(min_length=1)]
    care: Line
    tags: Annotated[tuple[Slug, ...], msgspec.Meta(min_length=1, max_length=12)]
    picture: PictureName
    price_minor: PriceMinor | None = None
    stock: Stock | None = None
    purpose: SpendingPurpose = SpendingPurpose.GOODS
    variants: tuple[VariantEntry, ...] = ()


class Catalog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`catalog.toml`; the order of the file is the order people browse in."""

    products: Annotated[tuple[ProductEntry, ...], msgspec.Meta(min_length=1, max_length=PRODUCTS_MAX)]
