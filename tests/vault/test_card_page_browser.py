"""The card page in a real Chromium, over HTTP, with keys and clicks."""

import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

import pytest

from infra.dev.browser import Browser, Look, Page
from tests.support.card_site import CardSite
from vault.cleartext.hpke import SealSuite

EXPIRY_YEAR = datetime.now(UTC).year + 3
EXPIRY = f"12/{EXPIRY_YEAR % 100}"
PHONE = Look(width=320, height=640, scale=2, mobile=True)
NO_SCRIPTS = Look(javascript=False)


async def picture(page: Page, name: str) -> None:
    """Keep a screenshot where a person asked for them, and only then."""
    folder = os.environ.get("UNDERCROFT_TEST_SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(await page.screenshot())


async def type_card(page: Page, number: str, *, code: str = "123", expiry: str = EXPIRY) -> None:
    await page.type("#number", number)
    await page.type("#expiry", expiry)
    await page.type("#code", code)
    await page.type("#holder", "Ada Okafor")


async def errors(page: Page) -> list[str]:
    shown = await page.evaluate("[...document.querySelectorAll('p.error')].map((e) => e.textContent).filter(Boolean)")
    assert isinstance(shown, list)
    return shown


@pytest.mark.control("UC-4.2")
async def test_a_card_typed_with_scripts_leaves_the_browser_sealed_only(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    await picture(page, "desktop")

    await type_card(page, "4242424242424242")
    await picture(page, "desktop-typed")
    await page.click("#send")
    await page.wait_for(".saved")

    await picture(page, "done")
    assert "Visa ending in 4242" in await page.text("main")
    [body] = site.bodies
    assert set(parse_qs(body.decode())) == {"csrf", "sealed_kid", "sealed_enc", "sealed_ct"}
    sent = "\n".join(f"{request.url} {request.body}" for request in page.requests)
    for wire in (unquote_plus(body.decode()), unquote_plus(sent)):
        assert "4242" not in wire
        assert "Okafor" not in wire
    [intake] = site.taken
    assert intake.suite is SealSuite.X_WING
    assert bytes(intake.details.number.reveal()) == b"4242424242424242"
    assert bytes(intake.code.reveal()) == b"123"
    assert (intake.details.exp_month, intake.details.exp_year) == (12, EXPIRY_YEAR)
    assert intake.details.holder == "Ada Okafor"
    assert page.complaints == []


@pytest.mark.control("UC-6.4.3")
async def test_the_page_asks_nobody_else_for_anything(browser: Browser, site: CardSite):
    page = await browser.open_page()

    await page.goto(site.url)

    origin = site.url.partition("/captures")[0]
    assert len(page.requests) >= 3
    assert {request.url.startswith(origin) for request in page.requests} == {True}
    unbound = "document.querySelectorAll('script:not([integrity]), link[rel=stylesheet]:not([integrity])').length"
    assert await page.evaluate(unbound) == 0
    assert page.complaints == []


async def test_a_card_typed_without_scripts_is_posted_plain_and_taken(browser: Browser, site: CardSite):
    page = await browser.open_page(NO_SCRIPTS)
    await page.goto(site.url)

    await type_card(page, "3782 822463 10005", code="1234")
    await page.click("#send")
    await page.wait_for(".saved")

    assert "American Express ending in 0005" in await page.text("main")
    [intake] = site.taken
    assert intake.suite is None
    assert bytes(intake.details.number.reveal()) == b"378282246310005"
    assert page.complaints == []


@pytest.mark.control("UC-3.4")
async def test_without_scripts_the_server_names_every_error_and_echoes_no_digit(browser: Browser, site: CardSite):
    page = await browser.open_page(NO_SCRIPTS)
    await page.goto(site.url)

    await page.type("#number", "4242 4242 4242 4241")
    await page.type("#expiry", EXPIRY)
    await page.type("#code", "12")
    await page.press("Enter")
    await page.wait_for("#summary")

    await picture(page, "errors-no-script")
    assert page.status == 422
    assert len(await errors(page)) == 3
    assert await page.evaluate("document.activeElement.id") == "number"
    assert "4242" not in str(await page.evaluate("document.documentElement.outerHTML"))
    assert await page.evaluate("document.querySelector('#expiry').value") == EXPIRY
    assert site.taken == []


async def test_with_scripts_errors_show_at_once_and_nothing_is_sent(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)

    await page.click("#send")
    await page.wait_for("#summary")
    all_missing = await errors(page)
    focused = await page.evaluate("document.activeElement.id")
    await picture(page, "errors-missing")
    await type_card(page, "4242424242424241", expiry="01/20", code="1")
    await page.press("Enter")
    wrong = await errors(page)
    await picture(page, "errors-wrong")

    assert len(all_missing) == 4
    assert focused == "number"
    assert wrong == [
        "The card number does not check out. Compare it with your card.",
        "This card has expired. Use another card.",
        "Check the security code: 3 digits on the back, or 4 on the front of American Express.",
    ]
    assert site.bodies == []
    assert page.complaints == []


async def test_correcting_an_error_clears_it_and_the_card_goes_through(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    await type_card(page, "4242424242424241")
    await page.press("Enter")
    await page.wait_for("#summary")

    await page.click("#number")
    await page.press("End")
    await page.press("Backspace")
    await page.keys("2")
    remaining = await errors(page)
    await page.click("#send")
    await page.wait_for(".saved")

    assert remaining == []
    assert len(site.taken) == 1


async def test_the_number_is_grouped_and_its_brand_named_while_it_is_typed(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)

    await page.type("#number", "378282246310005")
    amex = await page.evaluate("document.querySelector('#number').value")
    amex_name = await page.text("#number-brand")
    await page.press("Home")
    await page.type("#expiry", "0429")

    assert amex == "3782 822463 10005"
    assert amex_name == "American Express"
    assert await page.evaluate("document.querySelector('#expiry').value") == "04/29"


async def test_editing_in_the_middle_of_the_number_keeps_the_caret(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    await page.type("#number", "424242424242424")

    await page.press("Home")
    await page.evaluate("document.querySelector('#number').setSelectionRange(6, 6)")
    await page.press("Backspace")
    caret = await page.evaluate("document.querySelector('#number').selectionStart")

    assert await page.evaluate("document.querySelector('#number').value") == "4242 2424 2424 24"
    assert caret == 4


async def test_a_page_whose_key_is_gone_asks_again_with_a_new_key(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    site.keys.__init__()  # type: ignore[misc]  # the process was restarted: its keys are gone

    await type_card(page, "4242424242424242")
    await page.click("#send")
    await page.wait_until("document.querySelector('#summary')?.textContent.includes('open for too long') === true")
    await type_card(page, "5555555555554444")
    await page.click("#send")
    await page.wait_for(".saved")

    assert "Mastercard ending in 4444" in await page.text("main")


async def test_going_back_finds_an_empty_form(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    await type_card(page, "4242424242424242")
    await page.click("#send")
    await page.wait_for(".saved")
    site.taken.clear()

    await page.evaluate("history.back()")
    await page.wait_for("#card-form")

    assert await page.evaluate("['number', 'code'].map((id) => document.getElementById(id).value)") == ["", ""]


@pytest.mark.parametrize("look", [PHONE, Look(width=320, height=640, scale=2, mobile=True, dark=True), Look(dark=True)])
async def test_the_page_fits_its_screen(browser: Browser, site: CardSite, look: Look):
    page = await browser.open_page(look)
    await page.goto(site.url)

    await picture(page, f"{'dark' if look.dark else 'light'}-{look.width}")
    await page.click("#send")
    await page.wait_for("#summary")
    await picture(page, f"{'dark' if look.dark else 'light'}-{look.width}-errors")

    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    heights = await page.evaluate(
        "[...document.querySelectorAll('input[type=text], button')].map((e) => e.offsetHeight)"
    )
    assert min(heights) >= 44


async def test_the_page_is_used_by_keyboard_alone(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)
    visited = []

    for _ in range(6):
        await page.press("Tab")
        visited.append(await page.evaluate("document.activeElement.id"))
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    assert visited == ["language", "number", "expiry", "code", "holder", "send"]


async def test_every_field_is_named_described_and_filled_by_the_browser(browser: Browser, site: CardSite):
    page = await browser.open_page()

    await page.goto(site.url)

    fields = await page.evaluate(
        "[...document.querySelectorAll('input[type=text]')].map((e) => [e.labels[0].textContent, e.autocomplete,"
        " e.getAttribute('aria-describedby').split(' ').every((id) => document.getElementById(id) !== null)])"
    )
    assert fields == [
        ["Card number", "cc-number", True],
        ["Expiry date", "cc-exp", True],
        ["Security code", "cc-csc", True],
        ["Name on card", "cc-name", True],
    ]


async def test_digits_of_another_script_are_read_as_digits(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)

    await type_card(page, "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", code="१२३", expiry=f"१२/{EXPIRY_YEAR % 100}")
    await page.click("#send")
    await page.wait_for(".saved")

    [intake] = site.taken
    assert bytes(intake.details.number.reveal()) == b"4242424242424242"
    assert bytes(intake.code.reveal()) == b"123"
    assert intake.details.exp_month == 12


@pytest.mark.control("UC-4.2")
async def test_a_browser_that_cannot_do_x_wing_seals_with_x25519(browser: Browser, site: CardSite):
    """ML-KEM's arithmetic is done in an Int16Array; without it the script's first choice fails."""
    page = await browser.open_page()
    old_browser = "delete globalThis.Int16Array"
    await page.connection.send("Page.addScriptToEvaluateOnNewDocument", {"source": old_browser}, page.session_id)
    await page.goto(site.url)

    await type_card(page, "4242424242424242")
    await page.click("#send")
    await page.wait_for(".saved")

    [intake] = site.taken
    assert intake.suite is SealSuite.X25519
    assert set(parse_qs(site.bodies[0].decode())) == {"csrf", "sealed_kid", "sealed_enc", "sealed_ct"}
    assert page.complaints == []


async def test_a_browser_that_cannot_seal_posts_the_plain_form(browser: Browser, site: CardSite):
    page = await browser.open_page()
    old_browser = "Object.defineProperty(SubtleCrypto.prototype, 'importKey', { value: () => Promise.reject(Error()) })"
    await page.connection.send("Page.addScriptToEvaluateOnNewDocument", {"source": old_browser}, page.session_id)
    await page.goto(site.url)

    await type_card(page, "4242424242424242")
    await page.click("#send")
    await page.wait_for(".saved")

    [intake] = site.taken
    assert intake.suite is None


@pytest.mark.control("UC-6.4.3")
async def test_an_inline_script_or_style_is_blocked_and_reported(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)

    await page.evaluate(
        "(() => { const script = document.createElement('script'); script.append('window.ran = true');"
        " document.head.append(script); document.body.setAttribute('style', 'color: red'); })()"
    )
    ran = await page.evaluate("window.ran === true")
    refused_markup = await page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; } })()"
    )

    assert ran is False
    assert refused_markup is True
    for broken in ("TrustedScript", "TrustedHTML", "style-src"):
        assert any(broken in complaint for complaint in page.complaints)
