"""Nine languages: who gets which, nothing missing in any, amounts and names as its readers write them."""

import re
import string
import tomllib
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.vault.bench import Bench, Person
from tests.vault.test_card_page_html import KEYS
from vault.cleartext.intake import CardFormRefused, KeptFields
from vault.cleartext.issuers import CardBrand
from vault.cleartext.page.authentication import (
    AuthenticationView,
    render_authentication_page,
    render_bank_away_page,
    render_confirmed_page,
    render_over_page,
    render_unconfirmed_page,
)
from vault.cleartext.page.language import ACCEPT_LENGTH_MAX, Reader
from vault.cleartext.page.money import amount_text
from vault.cleartext.page.render import (
    CardPageView,
    DonePageView,
    render_card_page,
    render_done_page,
    render_gone_page,
    render_moment_page,
    render_overtaken_page,
    render_unavailable_page,
)
from vault.cleartext.page.texts import TEXTS, PageTexts, TextsIncomplete, read_texts
from vault.cleartext.pan import CardFlaw
from vault.contract import PageLanguage

FOLDER = Path(__file__).parents[2] / "vault/cleartext/page/languages"
GERMAN = "Karte hinzufügen"


def pages(language: PageLanguage) -> dict[str, str]:
    reader = Reader(language)
    asked = {"brand_name": "Larkspur & Vale", "amount_minor": 7998, "currency": "USD"}
    card = {"capture_id": "cap_abc", "csrf": "made-up", "keys": KEYS}
    refused = CardFormRefused(tuple(CardFlaw), KeptFields())
    done = DonePageView(**asked, card_brand=CardBrand.AMEX, last4="0005")  # type: ignore[arg-type]  # by name, of one dict
    return {
        "card": render_card_page(CardPageView(**asked, **card), reader),  # type: ignore[arg-type]  # as above
        "refused": render_card_page(CardPageView(**asked, **card, refused=refused), reader),  # type: ignore[arg-type]  # as above
        "replacing": render_card_page(CardPageView(**asked, **card, replaces=(CardBrand.AMEX, "0005")), reader),  # type: ignore[arg-type]  # as above
        "done": render_done_page(done, reader),
        "gone": render_gone_page(reader),
        "overtaken": render_overtaken_page(reader),
        "unavailable": render_unavailable_page(reader),
        "moment": render_moment_page(reader),
        "bank": render_authentication_page(AuthenticationView(7998, "USD", "https://hooks.stripe.com/x"), reader),
        "confirmed": render_confirmed_page(AuthenticationView(7998, "USD"), reader),
        "unconfirmed": render_unconfirmed_page(AuthenticationView(7998, "USD"), reader),
        "over": render_over_page(reader),
        "away": render_bank_away_page(reader),
    }


def plain_texts(texts: PageTexts) -> dict[str, str]:
    by_name: dict[str, Any] = msgspec.to_builtins(texts)
    nested: dict[str, str] = {
        f"{group}.{name}": text for group in ("flaws", "card_brands") for name, text in by_name.pop(group).items()
    }
    return {**by_name, **nested}


def slots(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", PageLanguage)
def test_each_language_has_every_text_and_the_same_places_for_values(language: PageLanguage):
    english, own = plain_texts(TEXTS[PageLanguage.ENGLISH]), plain_texts(TEXTS[language])

    assert own.keys() == english.keys()
    assert {name: slots(text) for name, text in own.items()} == {name: slots(text) for name, text in english.items()}
    assert [name for name, text in own.items() if text != text.strip() or not text] == []


@pytest.mark.parametrize("language", [one for one in PageLanguage if one is not PageLanguage.ENGLISH])
def test_no_sentence_was_left_in_english(language: PageLanguage):
    english, own = plain_texts(TEXTS[PageLanguage.ENGLISH]), plain_texts(TEXTS[language])

    same = {name for name, text in own.items() if text == english[name] and not name.startswith("card_brands.")}

    assert same <= {"error_title"}, "an error is an Error in Spanish too"


def test_there_is_a_file_for_each_language_and_no_other():
    assert {path.name for path in FOLDER.iterdir()} == {f"{language}.toml" for language in PageLanguage}


@pytest.mark.parametrize("language", PageLanguage)
def test_every_text_of_a_language_stands_on_some_page(language: PageLanguage):
    everything = unescape(re.sub(r"</?bdi>", "", "\n".join(pages(language).values())))

    for name, text in plain_texts(TEXTS[language]).items():
        fixed = [part for part in re.split(r"\{\w+\}", text) if part.strip()]
        if not name.startswith("card_brands.") or name.endswith("amex"):
            assert all(part in everything for part in fixed), name


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ('save = "Save card"', "", "save"),
        ('save = "Save card"', 'save = "Save card"\nsaved = "leftover"', "saved"),
        ('visa = "Visa"', "", "visa"),
        ('code_missing = "Enter the security code."', "", "code_missing"),
        ('save = "Save card"', "save = 7", "save"),
    ],
)
def test_a_file_with_a_hole_or_a_leftover_stops_the_process(tmp_path: Path, line: str, instead: str, says: str):
    whole = (FOLDER / "en.toml").read_text()
    assert whole.count(line) == 1
    broken = tmp_path / "en.toml"
    broken.write_text(whole.replace(line, instead))

    with pytest.raises(TextsIncomplete, match=says):
        read_texts(broken)


def test_the_files_are_plain_toml():
    assert all(tomllib.loads(path.read_text())["own_name"] for path in FOLDER.iterdir())


@pytest.mark.parametrize(
    ("asked", "named", "accepted", "read"),
    [
        ("", None, "", "en"),
        ("", None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", None, "en;q=0.5, fr;q=0.7", "fr"),
        ("", None, "zh-CN, zh;q=0.9, ja;q=0.4, en;q=0.3", "ja"),
        ("", None, "PT-br", "pt"),
        ("", None, "ar;q=0, it", "it"),
        ("", None, "sv, *", "en"),
        ("", None, "de;q=2, nl;q=0.1", "nl"),
        ("", None, ";;q=,,=,de", "de"),
        ("", None, "de," + "x" * ACCEPT_LENGTH_MAX, "en"),
        ("", "es", "de", "es"),
        ("ja", "es", "de", "ja"),
        ("JA", None, "de", "de"),
        ("../../etc", "xx", "nl", "nl"),
    ],
)
def test_the_switch_goes_before_the_capture_and_that_before_the_browser(
    asked: str, named: str | None, accepted: str, read: str
):
    assert Reader(asked, accepted).language(named) == read


@pytest.mark.parametrize("language", PageLanguage)
def test_each_page_says_its_language_and_direction_and_offers_the_other_eight(language: PageLanguage):
    for html in pages(language).values():
        assert html.startswith(
            f'<!doctype html>\n<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">'
        )
        offered = re.findall(r'<a href="\?language=(\w\w)" lang="(\w\w)" hreflang="(\w\w)"><bdi>', html)
        assert {one for three in offered for one in three} == set(PageLanguage) - {language}


@pytest.mark.parametrize(
    ("amount_minor", "currency", "language", "text"),
    [
        (7998, "USD", "en", "$79.98 USD"),
        (7998, "USD", "de", "79,98 $ USD"),
        (7998, "USD", "es", "79,98 US$"),
        (7998, "USD", "fr", "79,98 $US"),
        (7998, "USD", "nl", "US$ 79,98"),
        (7998, "USD", "ar", "\u200f79.98 \u2068US$\u2069"),
        (5, "EUR", "en", "€0.05 EUR"),
        (123456789, "EUR", "fr", "1\u202f234\u202f567,89 € EUR"),
        (123456789, "EUR", "pt", "€ 1.234.567,89 EUR"),
        (5000, "JPY", "ja", "￥5,000 JPY"),
        (1500, "KWD", "en", "KWD 1.500"),
        (1500, "IQD", "it", "1,500 IQD"),
        (100, "CHF", "en", "CHF 1.00"),
        (12345, "ISK", "de", "12.345 ISK"),
    ],
)
def test_an_amount_reads_as_people_of_the_language_write_it(amount_minor: int, currency: str, language: str, text: str):
    shown = amount_text(amount_minor, currency, PageLanguage(language))

    assert shown.replace("\N{NO-BREAK SPACE}", " ") == text


def test_a_name_of_a_brand_cannot_turn_a_sentence_around_or_add_markup():
    reader, name = Reader("ar"), "\u202e<b>Larkspur {amount}"
    view = CardPageView("cap_abc", name, 7998, "USD", "made-up", KEYS)

    html = render_card_page(view, reader)

    assert html.count("<bdi>\u202e&lt;b&gt;Larkspur {amount}</bdi>") == 3
    assert "<b>" not in html


async def test_the_browser_or_the_capture_says_the_language_and_the_switch_changes_it(bench: Bench, ada: Person):
    order, named = ada.capture(), ada.capture(language=PageLanguage.ITALIAN)
    for capture in (order, named):
        assert (await bench.order_capture(capture)).status_code == 200
        assert (await bench.enter(capture)).status_code == 303
    bench.browser.headers["accept-language"] = "de-CH, de;q=0.9"

    by_browser, by_capture = await bench.page(order), await bench.page(named)
    switched = await bench.browser.get(f"/captures/{order.capture_id}?language=ja")
    missing = await bench.browser.get("/captures/cap_missing?language=nl")

    assert GERMAN in by_browser.text
    assert TEXTS[PageLanguage.ITALIAN].card_title in by_capture.text
    assert TEXTS[PageLanguage.JAPANESE].card_title in switched.text
    assert f'action="/captures/{order.capture_id}?language=ja"' in switched.text
    assert TEXTS[PageLanguage.DUTCH].gone_title in missing.text


async def test_a_chosen_language_outlives_an_error_and_the_card(bench: Bench, ada: Person):
    order = ada.capture()
    await bench.order_capture(order)
    await bench.enter(order)
    path = f"/captures/{order.capture_id}?language=fr"
    found = re.search(r'name="csrf" value="([^"]+)"', (await bench.browser.get(path)).text)
    assert found is not None
    card = {"csrf": found[1], "number": "4242424242424242", "expiry": "12/40", "code": "", "holder": "Ada Byron"}
    origin = {"origin": bench.page_url}

    refused = await bench.browser.post(path, data=card, headers=origin)
    taken = await bench.browser.post(path, data=card | {"code": "123"}, headers=origin)
    done = await bench.browser.get(taken.headers["location"])

    assert TEXTS[PageLanguage.FRENCH].flaws[CardFlaw.CODE_MISSING] in refused.text
    assert (taken.status_code, taken.headers["location"]) == (303, path)
    assert TEXTS[PageLanguage.FRENCH].done_heading in done.text


@pytest.mark.parametrize("language", ["xx", "english", "", 7])
async def test_a_capture_in_a_language_we_do_not_have_is_refused(bench: Bench, ada: Person, language: object):
    answer = await bench.order_capture(ada.capture(language=language))

    assert answer.status_code == 422
    assert answer.json()["code"] == "fields_invalid"


async def test_who_follows_a_link_to_the_way_in_is_told_that_it_is_none(bench: Bench, ada: Person):
    order = ada.capture()
    await bench.order_capture(order)

    answer = await bench.browser.get(f"/captures/{order.capture_id}/open?language=de")

    assert (answer.status_code, "set-cookie" in answer.headers) == (410, False)
    assert TEXTS[PageLanguage.GERMAN].gone_title in answer.text
