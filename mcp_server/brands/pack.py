"""Read a brand pack from its folder, whole and checked, or not at all (README.md shows the folder)."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from gateway.contract import SpendingPurpose
from mcp_server.brands.invalid import BrandPackInvalid
from mcp_server.brands.pictures import check_picture
from mcp_server.brands.plain_text import check_all_text, check_text
from mcp_server.brands.shapes import Brand, Catalog, ProductEntry

POLICY_NAMES = ("returns", "shipping", "privacy", "care")
POLICY_CHARACTERS_MAX = 4_000  # a policy is read out whole in one answer

_POLICY_TITLE = re.compile(r"# (\S.*)\n\n\S")
_MSGSPEC_MESSAGE = re.compile(r"(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<field>.*)`)?\Z", re.DOTALL)

Shape = TypeVar("Shape", Brand, Catalog)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The thing a cart holds: one sku at one price. `options` is empty for a product without variants."""

    sku: str
    product_sku: str
    title: str
    options: Mapping[str, str]
    price_minor: int
    stock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The thing people look at. It has at least one offer; `options` lists the choices its offers differ in."""

    sku: str
    name: str
    kind: str
    short: str
    long: str
    materials: tuple[str, ...]
    care: str
    tags: tuple[str, ...]
    picture: str
    purpose: SpendingPurpose
    options: Mapping[str, tuple[str, ...]]
    offers: tuple[Offer, ...]

    @property
    def price_minor_from(self) -> int:
        return min(offer.price_minor for offer in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`text` is Markdown with its title as first line; no HTML, links or images."""

    name: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrandPack:
    """One brand as loaded. `products` and `offers` are keyed by sku in catalogue order, `pictures` by file name."""

    brand: Brand
    products: Mapping[str, Product]
    offers: Mapping[str, Offer]
    policies: Mapping[str, Policy]
    pictures: Mapping[str, bytes]


def load_packs(folder: Path) -> dict[str, BrandPack]:
    """Every pack below `folder`, by slug; folders whose name starts with `.` or `_` are not packs.

    Raises `BrandPackInvalid` if any is wrong, if two share a slug or brand id, or if there is none.
    """
    packs: dict[str, BrandPack] = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"):
        pack = load_pack(inner)
        if pack.brand.slug in packs:
            raise BrandPackInvalid(f"{inner.name}/brand.toml", "slug", f"{pack.brand.slug} is another pack's slug")
        if any(pack.brand.brand_id == other.brand.brand_id for other in packs.values()):
            raise BrandPackInvalid(f"{inner.name}/brand.toml", "brand_id", "is another pack's brand id")
        packs[pack.brand.slug] = pack
    if not packs:
        raise BrandPackInvalid(folder.name, "packs", "no brand pack in this folder")
    return packs


def load_pack(folder: Path) -> BrandPack:
    """The pack in `folder`. Raises `BrandPackInvalid` naming the file and field of the first fault."""
    _check_names(folder, "", {"brand.toml", "catalog.toml", "policies", "pictures"})
    brand = _read_toml(folder, "brand.toml", Brand)
    _check_shipping(brand)
    products = {product.sku: product for product in _products(_read_toml(folder, "catalog.toml", Catalog))}
    _check_names(folder, "policies", {f"{name}.md" for name in POLICY_NAMES})
    _check_names(folder, "pictures", {product.picture for product in products.values()})
    return BrandPack(
        brand=brand,
        products=MappingProxyType(products),
        offers=MappingProxyType({offer.sku: offer for product in products.values() for offer in product.offers}),
        policies=MappingProxyType({name: _read_policy(folder, name) for name in POLICY_NAMES}),
        pictures=MappingProxyType(
            {product.picture: _read_picture(folder, product.picture) for product in products.values()}
        ),
    )


def _check_names(folder: Path, inner: str, expected: set[str]) -> None:
    """The folder holds exactly these names: nothing missing, nothing unused, no link out of the pack."""
    here = folder / inner
    found = {path.name: path for path in here.iterdir()} if here.is_dir() else {}
    for name in sorted(expected | set(found)):
        file = f"{inner}/{name}" if inner else name
        if name not in found:
            raise BrandPackInvalid(file, "file", "missing")
        if name not in expected:
            raise BrandPackInvalid(file, "file", "nothing in the pack uses it")
        if found[name].is_symlink():
            raise BrandPackInvalid(file, "file", "symbolic links are not followed")


def _read_text(folder: Path, file: str) -> str:
    try:
        return (folder / file).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise BrandPackInvalid(file, "text", "not UTF-8") from None


def _read_toml(folder: Path, file: str, shape: type[Shape]) -> Shape:
    try:
        values = tomllib.loads(_read_text(folder, file))
    except tomllib.TOMLDecodeError as error:
        raise BrandPackInvalid(file, "toml", str(error)) from None
    check_all_text(values, file=file)
    try:
        return msgspec.convert(values, shape)
    except msgspec.ValidationError as error:
        raise _named(file, str(error)) from None


def _named(file: str, message: str) -> BrandPackInvalid:
    """Take apart what msgspec writes: "<reason> - at `$.products[3].price_minor`"."""
    parts = _MSGSPEC_MESSAGE.match(message)
    field = parts["field"] if parts else None
    return BrandPackInvalid(file, field or "the top level", parts["reason"] if parts else message)


def _read_policy(folder: Path, name: str) -> Policy:
    file = f"policies/{name}.md"
    text = _read_text(folder, file).strip()
    check_text(text, file=file, field="text")
    title = _POLICY_TITLE.match(text)
    if title is None:
        raise BrandPackInvalid(file, "title", "a policy starts with `# Title`, an empty line, and text")
    if len(text) > POLICY_CHARACTERS_MAX:
        raise BrandPackInvalid(file, "text", f"{len(text)} characters, more than {POLICY_CHARACTERS_MAX}")
    if "<" in text or "](" in text:
        raise BrandPackInvalid(file, "text", "HTML, links and images are not allowed in a policy")
    return Policy(name=name, title=title[1], text=text)


def _read_picture(folder: Path, name: str) -> bytes:
    content = (folder / "pictures" / name).read_bytes()
    check_picture(content, file=f"pictures/{name}")
    return content


def _check_shipping(brand: Brand) -> None:
    codes = [method.code for method in brand.shipping]
    for position, method in enumerate(brand.shipping):
        field = f"shipping[{position}]"
        if codes.index(method.code) != position:
            raise BrandPackInvalid("brand.toml", f"{field}.code", f"{method.code} is used twice")
        if method.days_min > method.days_max:
            raise BrandPackInvalid("brand.toml", f"{field}.days_min", "is more than days_max")


def _products(catalog: Catalog) -> Iterator[Product]:
    taken: set[str] = set()
    for position, entry in enumerate(catalog.products):
        field = f"products[{position}]"
        for sku in (entry.sku, *(variant.sku for variant in entry.variants)):
            if sku in taken:
                raise BrandPackInvalid("catalog.toml", f"{field}.sku", f"{sku} is used twice")
            taken.add(sku)
        if len(set(entry.tags)) != len(entry.tags):
            raise BrandPackInvalid("catalog.toml", f"{field}.tags", "a tag is repeated")
        offers = tuple(_offers(entry, field))
        yield Product(
            sku=entry.sku,
            name=entry.name,
            kind=entry.kind,
            short=entry.short,
            long=entry.long,
            materials=entry.materials,
            care=entry.care,
            tags=entry.tags,
            picture=entry.picture,
            purpose=entry.purpose,
            options=_choices(offers),
            offers=offers,
        )


def _offers(entry: ProductEntry, field: str) -> Iterable[Offer]:
    if not entry.variants:
        if entry.price_minor is None or entry.stock is None:
            raise BrandPackInvalid(
                "catalog.toml", f"{field}.price_minor", "price_minor and stock, or variants, missing"
            )
        return [_offer(entry, entry.sku, {}, entry.price_minor, entry.stock)]
    if entry.price_minor is not None or entry.stock is not None:
        raise BrandPackInvalid("catalog.toml", f"{field}.price_minor", "price and stock belong to the variants here")
    seen: list[dict[str, str]] = []
    for position, variant in enumerate(entry.variants):
        inner = f"{field}.variants[{position}]"
        if not variant.sku.startswith(f"{entry.sku}-"):
            raise BrandPackInvalid("catalog.toml", f"{inner}.sku", f"does not start with {entry.sku}-")
        if list(variant.options) != list(entry.variants[0].options) or variant.options in seen:
            raise BrandPackInvalid("catalog.toml", f"{inner}.options", "one choice per option, each combination once")
        seen.append(variant.options)
    return [_offer(entry, each.sku, each.options, each.price_minor, each.stock) for each in entry.variants]


def _offer(entry: ProductEntry, sku: str, options: dict[str, str], price_minor: int, stock: int) -> Offer:
    return Offer(
        sku=sku,
        product_sku=entry.sku,
        title=", ".join((entry.name, *options.values())),
        options=MappingProxyType(options),
        price_minor=price_minor,
        stock=stock,
    )


def _choices(offers: tuple[Offer, ...]) -> Mapping[str, tuple[str, ...]]:
    """Each option with its choices, in the order the catalogue first names them."""
    names = offers[0].options
    return MappingProxyType({name: tuple(dict.fromkeys(offer.options[name] for offer in offers)) for name in names})
