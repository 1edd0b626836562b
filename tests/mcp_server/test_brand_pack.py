"""A brand pack loads whole or is refused with its reason; search finds what a person means."""

import re
import shutil
from pathlib import Path

import pytest

import mcp_server.brands
from infra.chassis.screen import find_card_number
from mcp_server.brands.invalid import BrandPackInvalid
from mcp_server.brands.pack import BrandPack, load_pack, load_packs
from mcp_server.brands.pictures import PICTURE_BYTES_MAX
from mcp_server.brands.search import CursorUnknown, search

BRANDS = Path(mcp_server.brands.__file__).parent
DUSK = "pictures/dusk-table-lamp.svg"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><title>A lamp</title>{}</svg>'


@pytest.fixture(scope="module")
def pack() -> BrandPack:
    return load_packs(BRANDS)["lumen-and-loom"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BRANDS / "lumen_and_loom", tmp_path / "lumen_and_loom"))


def found(pack: BrandPack, query: str) -> list[str]:
    return [product.sku for product in search(pack, query)]


def test_the_demo_pack_is_the_brand_of_its_tenant_and_sells_forty_products(pack: BrandPack):
    assert (pack.brand.brand_id, pack.brand.tenant_id, pack.brand.currency) == ("brd_lumenloom", "tnt_halden", "USD")
    assert len(pack.products) == 40
    assert set(pack.policies) == {"returns", "shipping", "privacy", "care"}
    assert pack.policies["returns"].title == "Returns"


def test_prices_lie_on_both_sides_of_a_cap_of_150_dollars(pack: BrandPack):
    prices = [offer.price_minor for offer in pack.offers.values()]

    assert (min(prices), max(prices)) == (600, 42000)
    assert sum(price > 15000 for price in prices) >= 10


def test_a_variant_is_an_offer_and_a_product_without_variants_offers_itself(pack: BrandPack):
    blanket, lamp = pack.products["LL-BLKT-FJORD"], pack.products["LL-LAMP-DUSK"]

    assert dict(blanket.options) == {"size": ("Throw", "Bed"), "colour": ("Oat", "Tide blue", "Moss")}
    assert blanket.price_minor_from == 13800
    assert pack.offers["LL-BLKT-FJORD-BD-TIDE"].title == "Fjord Wool Blanket, Bed, Tide blue"
    assert "LL-BLKT-FJORD" not in pack.offers
    assert [offer.sku for offer in lamp.offers] == [lamp.sku]


def test_no_sku_can_look_like_a_card_number(pack: BrandPack):
    assert not any(re.search(r"\d{3}", sku) for sku in (*pack.products, *pack.offers))


def test_no_text_of_the_pack_trips_the_card_screen(pack: BrandPack):
    texts = [(BRANDS / "lumen_and_loom" / name).read_text("utf-8") for name in ("brand.toml", "catalog.toml")]

    assert not [
        text for text in (*texts, *(policy.text for policy in pack.policies.values())) if find_card_number(text)
    ]


def test_every_picture_is_small_drawn_for_one_product_and_refers_to_nothing(pack: BrandPack):
    assert len(pack.pictures) == len(set(pack.pictures.values())) == 40
    for name, content in pack.pictures.items():
        assert len(content) <= 2000, name
        assert not re.search(rb"script|href|style|data:|\son\w+=|<image|<use|<!", content), name
        assert content.count(b"http") == 1, name  # the namespace


def test_pictures_can_share_a_page_because_no_two_use_the_same_id(pack: BrandPack):
    ids = [match for content in pack.pictures.values() for match in re.findall(rb' id="([^"]+)"', content)]

    assert len(ids) == len(set(ids))


def test_tax_follows_the_state_and_is_zero_where_no_rate_is_named(pack: BrandPack):
    tax = pack.brand.tax

    assert [tax.basis_points(state) for state in ("CA", "NY", "OR", None)] == [725, 400, 0, 0]


@pytest.mark.parametrize(
    ("file", "before", "after", "field", "reason"),
    [
        ("brand.toml", 'slug = "', 'logo = "x"\nslug = "', "the top level", "unknown field `logo`"),
        ("brand.toml", 'tagline = "', 'tag_line = "', "the top level", "unknown field `tag_line`"),
        ("brand.toml", 'tenant_id = "tnt_halden"\n', "", "the top level", "missing required field `tenant_id`"),
        ("brand.toml", "price_minor = 690", "price_minor = -1", "shipping[0].price_minor", ">= 0"),
        ("brand.toml", "price_minor = 690", "price_minor = 6.9", "shipping[0].price_minor", "Expected `int`"),
        ("brand.toml", 'code = "express"', 'code = "standard"', "shipping[1].code", "standard is used twice"),
        ("brand.toml", "days_min = 3", "days_min = 9", "shipping[0].days_min", "more than days_max"),
        ("brand.toml", "CA = 725", "CA = 7250", "tax.basis_points_by_state[...]", "<= 3000"),
        ("brand.toml", "Soft light", r"Soft\u202elight", "tagline", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("brand.toml", "Soft light", r"Soft\u200blight", "tagline", "U+200B (ZERO WIDTH SPACE)"),
        ("brand.toml", "Soft light", r"Soft\u3164light", "tagline", "U+3164 (HANGUL FILLER)"),
        ("brand.toml", "Soft light", r"Soft\u00a0light", "tagline", "U+00A0 (NO-BREAK SPACE)"),
        ("brand.toml", "Soft light", r"Cafe\u0301 light", "tagline", "NFC"),
        ("brand.toml", "[voice]", "[voice", "toml", "Expected"),
        ("catalog.toml", "price_minor = 7800", "price_minor = 0", "products[0].price_minor", ">= 1"),
        ("catalog.toml", "price_minor = 7800", 'price_minor = "7800"', "products[0].price_minor", "Expected `int"),
        ("catalog.toml", "price_minor = 7800\n", "", "products[0].price_minor", "missing"),
        ("catalog.toml", "stock = 34", "stock = 34\ncolour = 1", "products[0]", "unknown field `colour`"),
        ("catalog.toml", "stock = 34", "stock = -1", "products[0].stock", ">= 0"),
        ("catalog.toml", "LL-LAMP-HERON", "LL-LAMP-DUSK", "products[1].sku", "LL-LAMP-DUSK is used twice"),
        ("catalog.toml", "LL-LAMP-DUSK", "LL-4242-4242-4242-4242", "products[0].sku", "matching regex"),
        ("catalog.toml", "LL-LAMP-HARBOUR-CLAY", "LL-LAMP-CLAY", "products[5].variants[1].sku", "LL-LAMP-HARBOUR-"),
        ("catalog.toml", 'colour = "Soot"', 'colour = "Clay"', "products[5].variants[2].options", "once"),
        ("catalog.toml", 'colour = "Soot"', 'size = "Soot"', "products[5].variants[2].options", "one choice"),
        (
            "catalog.toml",
            '"harbour-lantern.svg"',
            '"harbour-lantern.svg"\nstock = 1',
            "products[5].price_minor",
            "belong",
        ),
        ("catalog.toml", '"dimmable", "gift"]', '"dimmable", "lamp"]', "products[0].tags", "repeated"),
        ("catalog.toml", "dusk-table-lamp.svg", "../brand.svg", "products[0].picture", "matching regex"),
        ("catalog.toml", "A low mushroom", r"A low\nmushroom", "products[0].short", "matching regex"),
        ("policies/returns.md", "# Returns\n", "Returns\n", "title", "a policy starts with"),
        ("policies/returns.md", "You have", "<b>You</b> have", "text", "HTML"),
        ("policies/returns.md", "You have", "[You](https://example.com) have", "text", "links"),
        ("policies/returns.md", "You have", "You\u2066 have", "text", "U+2066"),
        ("policies/returns.md", "You have", "You have " * 500, "text", "more than 4000"),
    ],
)
def test_a_bad_line_is_refused_with_its_file_field_and_reason(
    copy: Path, file: str, before: str, after: str, field: str, reason: str
):
    text = (copy / file).read_text("utf-8")
    assert before in text
    (copy / file).write_text(text.replace(before, after, 1), "utf-8")

    with pytest.raises(BrandPackInvalid) as refused:
        load_pack(copy)

    assert (refused.value.file, refused.value.field) == (file, field)
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (SVG.format("<script>alert(1)</script>"), "script", "element is not allowed"),
        (SVG.format("<foreignObject/>"), "foreignObject", "element is not allowed"),
        (SVG.format("<style>*{}</style>"), "style", "element is not allowed"),
        (SVG.format('<image href="https://example.com/x.png"/>'), "image", "element is not allowed"),
        (SVG.format('<p xmlns="http://www.w3.org/1999/xhtml"/>'), "p", "element is not allowed"),
        (SVG.format('<path onclick="x()"/>'), "path.onclick", "event handlers"),
        (SVG.format('<path style="fill:red"/>'), "path.style", "attribute is not allowed"),
        (SVG.format('<g href="https://example.com"/>'), "g.href", "references"),
        (SVG.format('<g xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="#x"/>'), "g.href", "references"),
        (SVG.format('<path fill="url(https://example.com/a)"/>'), "path.fill", "not plain drawing data"),
        (SVG.format('<path fill="URL(#x) url(#y)"/>'), "path.fill", "not plain drawing data"),
        (SVG.format("words"), "svg", "only the title"),
        (SVG.format("<path/>").replace("A lamp", " "), "title", "missing"),
        (SVG.format("<path>"), "svg", "not well-formed"),
        ("<!DOCTYPE svg>" + SVG.format(""), "doctype", "not allowed"),
        ('<?xml-stylesheet href="x"?>' + SVG.format(""), "xml-stylesheet", "processing instructions"),
        (SVG.format("").replace("viewBox", "width"), "svg", "viewBox"),
        (SVG.format("").replace("A lamp", "A\u200b lamp"), "text", "U+200B"),
        (SVG.format(" " * PICTURE_BYTES_MAX), "size", "more than 2048"),
    ],
)
def test_an_unsafe_picture_is_refused_with_its_reason(copy: Path, content: str, field: str, reason: str):
    (copy / DUSK).write_text(content, "utf-8")

    with pytest.raises(BrandPackInvalid) as refused:
        load_pack(copy)

    assert (refused.value.file, refused.value.field) == (DUSK, field)
    assert reason in refused.value.reason


@pytest.mark.parametrize("file", ["brand.toml", "catalog.toml", "policies/care.md", DUSK])
def test_a_file_that_is_missing_or_not_utf_8_is_named(copy: Path, file: str):
    (copy / file).write_bytes(b"\xff\xfe")
    with pytest.raises(BrandPackInvalid, match="not UTF-8") as broken:
        load_pack(copy)
    (copy / file).unlink()
    with pytest.raises(BrandPackInvalid, match="missing") as missing:
        load_pack(copy)

    assert broken.value.file == missing.value.file == file


@pytest.mark.parametrize("file", ["notes.txt", "policies/terms.md", "pictures/spare.svg"])
def test_a_file_nothing_uses_is_refused(copy: Path, file: str):
    (copy / file).write_text("x", "utf-8")

    with pytest.raises(BrandPackInvalid, match="nothing in the pack uses it") as refused:
        load_pack(copy)

    assert refused.value.file == file


def test_a_symbolic_link_out_of_the_pack_is_not_followed(copy: Path, tmp_path: Path):
    (copy / DUSK).rename(tmp_path / "outside.svg")
    (copy / DUSK).symlink_to(tmp_path / "outside.svg")

    with pytest.raises(BrandPackInvalid, match="symbolic links are not followed"):
        load_pack(copy)


def test_two_packs_cannot_share_a_slug_or_a_brand_id_and_a_folder_without_packs_is_refused(copy: Path, tmp_path: Path):
    twin = shutil.copytree(copy, tmp_path / "twin")
    with pytest.raises(BrandPackInvalid, match=r"twin/brand\.toml: slug"):
        load_packs(tmp_path)
    brand = (twin / "brand.toml").read_text("utf-8")
    (twin / "brand.toml").write_text(brand.replace('"lumen-and-loom"', '"twin"'), "utf-8")
    with pytest.raises(BrandPackInvalid, match=r"twin/brand\.toml: brand_id"):
        load_packs(tmp_path)
    with pytest.raises(BrandPackInvalid, match="no brand pack"):
        load_packs(copy / "policies")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Heron Reading Lamp", ["LL-LAMP-HERON"]),
        ("reading lamp", ["LL-LAMP-HERON"]),
        ("night light", ["LL-LAMP-PEBBLE"]),
        ("WOOL BLANKETS", ["LL-BLKT-FJORD", "LL-BLKT-NEST", "LL-BLKT-DROVER"]),
        ("weighted blanket", ["LL-BLKT-HUSH"]),
        ("blue cushion", ["LL-CUSH-STONE"]),
        ("drapes", ["LL-CURT-NIGHT", "LL-CURT-VEIL"]),
        ("a gift for a baby", ["LL-BLKT-NEST"]),
        ("a clock that does not tick", ["LL-CLCK-SILENT"]),
        ("matches", ["LL-CNDL-MATCH"]),
        ("hanging light for the kitchen", ["LL-PEND-BELL"]),
        ("curt", ["LL-CURT-NIGHT", "LL-CURT-VEIL"]),
        ("blannket wieghted", ["LL-BLKT-HUSH"]),
        ("curtians blackuot", ["LL-CURT-NIGHT"]),
        ("pendent trio", ["LL-PEND-TRIO"]),
        ("chiar pad", ["LL-PAD-FELT"]),
        ("beeswacks candel", ["LL-CNDL-TAPER"]),
    ],
)
def test_search_finds_first_what_a_person_expects(pack: BrandPack, query: str, first: list[str]):
    assert found(pack, query)[: len(first)] == first


@pytest.mark.parametrize("query", ["zeppelin", "xy", "!!!zz", "\u202e\u200b xq"])
def test_search_finds_nothing_rather_than_anything(pack: BrandPack, query: str):
    assert found(pack, query) == []


def test_every_product_is_found_first_by_its_own_name(pack: BrandPack):
    assert [found(pack, product.name)[0] for product in pack.products.values()] == list(pack.products)


def test_an_empty_query_and_one_of_filler_words_list_the_catalogue_in_its_order(pack: BrandPack):
    catalogue = list(pack.products)

    assert found(pack, "") == found(pack, "show me something please") == catalogue[:10]


def test_equal_matches_come_in_the_order_of_their_skus(pack: BrandPack):
    rugs = found(pack, "rugs")

    assert rugs == sorted(rugs) == ["LL-RUG-FIELD", "LL-RUG-RIPPLE", "LL-RUG-RUNNER"]


def test_tags_and_a_highest_price_narrow_the_search(pack: BrandPack):
    lamps = search(pack, "lamp", tags=("reading", "dimmable"), price_minor_max=15000)

    assert [product.sku for product in lamps] == ["LL-LAMP-BANK"]


def test_pages_joined_by_the_cursor_are_the_whole_list_once(pack: BrandPack):
    pages: list[str] = []
    while page := search(pack, "", limit=7, cursor=pages[-1] if pages else None):
        pages += [product.sku for product in page]

    assert pages == list(pack.products)


def test_a_cursor_from_another_search_is_refused(pack: BrandPack):
    with pytest.raises(CursorUnknown):
        search(pack, "rug", cursor="LL-LAMP-DUSK")
