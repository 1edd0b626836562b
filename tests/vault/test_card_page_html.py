"""The pages as text: nothing foreign, nothing inline, nothing echoed, a word for every flaw."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from vault.cleartext.hpke import PageKeys, SealedFor
from vault.cleartext.intake import CardFormRefused, KeptFields
from vault.cleartext.issuers import CardBrand
from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.language import Reader
from vault.cleartext.page.render import (
    PAGE_HEADERS,
    CardPageView,
    DonePageView,
    render_card_page,
    render_done_page,
    render_gone_page,
    render_unavailable_page,
)
from vault.cleartext.pan import CardFlaw

PAGE = Path(__file__).parents[2] / "vault/cleartext/page"
KEYS = PageKeys().offered(SealedFor("tnt_abc", "cap_abc"), datetime(2026, 11, 20, tzinfo=UTC))
ENGLISH = Reader("en")
HOSTILE = "<script>alert(1)</script>\" onload='x'"


def card_page(brand_name: str = "Larkspur & Vale", refused: CardFormRefused | None = None) -> str:
    return render_card_page(
        CardPageView(
            capture_id="cap_abc",
            brand_name=brand_name,
            amount_minor=7998,
            currency="USD",
            csrf="made-up",
            keys=KEYS,
            refused=refused,
        ),
        ENGLISH,
    )


def done_page(brand_name: str = "Larkspur & Vale") -> str:
    return render_done_page(
        DonePageView(brand_name=brand_name, amount_minor=7998, currency="USD", card_brand=CardBrand.VISA, last4="4242"),
        ENGLISH,
    )


ALL_PAGES = {
    "card": card_page(),
    "refused": card_page(refused=CardFormRefused(tuple(CardFlaw), KeptFields("12/29", HOSTILE))),
    "done": done_page(),
    "gone": render_gone_page(ENGLISH),
    "unavailable": render_unavailable_page(ENGLISH),
}


@pytest.mark.parametrize("name", ALL_PAGES)
@pytest.mark.control("UC-6.4.3")
def test_no_page_has_anything_inline_or_foreign(name: str):
    html = ALL_PAGES[name]

    assert not re.search(r"<style|\sstyle=|\son\w+=[\"']|javascript:|https?://(?!www\.w3\.org)|[\"'\s=]//[a-z]", html)
    assert not re.search(r"<script(?![^>]+integrity=)", html)
    assert html.count("<h1>") == 1
    assert '<html lang="en" dir="ltr">' in html


@pytest.mark.parametrize("html", [card_page(HOSTILE), done_page(HOSTILE), ALL_PAGES["refused"]])
def test_a_hostile_name_stays_text(html: str):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "onload='x'" not in html


@pytest.mark.parametrize("flaw", list(CardFlaw))
def test_every_flaw_has_words_beside_its_field_and_in_the_summary(flaw: CardFlaw):
    html = unescape(card_page(refused=CardFormRefused((flaw,), KeptFields())))

    said = re.search(rf'<li data-flaw="{flaw}">(.+)</li>', html)

    assert said is not None
    beside = 0 if flaw is CardFlaw.SEALED_UNREADABLE else 1
    assert html.count(said.group(1)) == 2 + beside
    assert html.count('aria-invalid="true"') == beside
    assert "<title>Error: " in html


@pytest.mark.control("UC-3.4")
def test_the_card_page_never_fills_in_a_number_or_a_code():
    html = card_page(refused=CardFormRefused((CardFlaw.EXPIRY_PAST,), KeptFields("12/29", "Ada Okafor")))

    values = dict(re.findall(r'<input id="(\w+)"[^>]* value="([^"]*)"', html))

    assert values == {"number": "", "expiry": "12/29", "code": "", "holder": "Ada Okafor"}


def test_the_gone_page_has_one_text():
    assert render_gone_page(ENGLISH) == ALL_PAGES["gone"]
    assert "Nothing was charged" in ALL_PAGES["gone"]


@pytest.mark.control("UC-3.4")
def test_the_done_page_names_the_card_by_brand_and_last_four_only():
    text = re.sub(r"<[^>]+>", "", done_page())

    assert "Visa ending in 4242" in text
    assert "Go back to your assistant" in text


@pytest.mark.control("UC-6.4.3")
def test_the_headers_let_nothing_in():
    policy = dict(part.split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split("; "))

    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
        "report-uri": "/reports",
    }
    assert PAGE_HEADERS["Cache-Control"] == "no-store"
    assert PAGE_HEADERS["Referrer-Policy"] == "no-referrer"
    assert PAGE_HEADERS["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", STATIC)
def test_each_file_is_what_its_integrity_and_its_path_say(name: str):
    asset = STATIC[name]

    assert asset.integrity == "sha384-" + base64.b64encode(hashlib.sha384(asset.content).digest()).decode()
    assert hashlib.sha256(asset.content).hexdigest()[:12] in asset.path
    assert asset.path in ALL_PAGES["card"]
    assert "immutable" in asset.headers["Cache-Control"]


@pytest.mark.control("UC-6.4.3")
def test_the_script_is_the_one_the_manifest_describes_and_was_built_from_this_source():
    manifest = json.loads((PAGE / "static/manifest.json").read_text())["card.js"]

    assert manifest["sha256"] == hashlib.sha256(STATIC["card.js"].content).hexdigest()
    assert manifest["integrity"] == STATIC["card.js"].integrity
    assert manifest["bytes"] == len(STATIC["card.js"].content)
    source = (PAGE / "build/card.src.js").read_bytes()
    assert manifest["source_sha256"] == hashlib.sha256(source).hexdigest(), manifest["rebuild"]


@pytest.mark.control("UC-6.4.3")
def test_everything_in_the_script_is_locked_by_hash_and_carries_its_licence():
    manifest = json.loads((PAGE / "static/manifest.json").read_text())["card.js"]
    lock = json.loads((PAGE / "build/package-lock.json").read_text())["packages"]
    licences = (PAGE / "build/LICENSES.txt").read_text()

    for part in manifest["contains"]:
        locked = lock[f"node_modules/{part['name']}"]
        assert locked["version"] == part["version"]
        assert locked["integrity"].startswith("sha512-")
        assert "resolved" not in locked
        assert f"{part['name']} {part['version']}" in licences
