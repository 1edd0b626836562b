"""The page for everyone: axe-core finds nothing in any state and language; narrow, enlarged, still, by keyboard.

axe-core is a test's tool (MPL-2.0): installed by its lock into tests/support/axe, injected by the browser's own
protocol, served by nobody.
"""

from pathlib import Path
from typing import Any

import pytest

from infra.dev.browser import Browser, Look, Page
from tests.support.card_site import STATES, CardSite
from vault.contract import PageLanguage

AXE = Path(__file__).parents[1] / "support/axe/node_modules/axe-core/axe.min.js"
NARROW = Look(width=320, height=640, scale=2, mobile=True)
RUN_AXE = """axe.run(document, { rules: { "target-size": { enabled: true } } }).then(({ violations, passes }) => ({
    passed: passes.length,
    found: violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 120)}`)),
}))"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RULES_AT_LEAST = 15
"""Rules that apply to the smallest of the pages; fewer means that axe did not look."""


async def open_with_axe(browser: Browser, look: Look) -> Page:
    if not AXE.is_file():
        pytest.fail("axe-core is not installed: `npm ci --prefix tests/support/axe`; .ci/run does it")
    page = await browser.open_page(look)
    await page.connection.send(
        "Page.addScriptToEvaluateOnNewDocument", {"source": AXE.read_text(encoding="utf-8")}, page.session_id
    )
    return page


async def found_by_axe(page: Page) -> list[str]:
    result: dict[str, Any] = await page.evaluate(RUN_AXE)
    assert result["passed"] >= RULES_AT_LEAST
    return list(result["found"])


async def emulate(page: Page, **features: str) -> None:
    named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    await page.connection.send("Emulation.setEmulatedMedia", {"features": named}, page.session_id)


async def text_at_200_percent(page: Page) -> None:
    """As a person sets it in the browser, the window as it is."""
    await page.evaluate("document.documentElement.style.fontSize = '200%'")


@pytest.mark.parametrize("language", PageLanguage)
async def test_axe_finds_nothing_in_any_state_and_nothing_scrolls_sideways(
    browser: Browser, site: CardSite, language: str
):
    page = await open_with_axe(browser, NARROW)

    found = {}
    for state in STATES:
        await page.goto(site.example_url(state, language))
        found[state] = (await found_by_axe(page), await page.evaluate(SIDEWAYS))

    assert found == dict.fromkeys(STATES, ([], 0))
    assert page.complaints == []


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_on_a_desk_with_errors_of_the_script_and_the_switch_open(
    browser: Browser, site: CardSite, language: str, *, dark: bool
):
    page = await open_with_axe(browser, Look(dark=dark))
    await page.goto(f"{site.url}?language={language}")

    await page.click("#send")
    await page.wait_for("#summary")
    await page.click("#language")
    await page.wait_for(".languages a")

    assert await found_by_axe(page) == []


async def test_axe_does_find_what_is_wrong(browser: Browser, site: CardSite):
    page = await open_with_axe(browser, NARROW)
    await page.goto(site.example_url("empty", "en"))

    await page.evaluate("document.querySelector('label[for=number]').remove()")
    await page.evaluate("document.querySelector('h1').style.color = '#eee'")

    assert {line.partition(":")[0] for line in await found_by_axe(page)} >= {"label", "color-contrast"}


@pytest.mark.parametrize("language", ["de", "ja", "ar"])
async def test_text_at_twice_its_size_fits_and_stays_in_its_fields(browser: Browser, site: CardSite, language: str):
    page = await browser.open_page(Look(width=640, height=900))
    await page.goto(site.example_url("refused", language))

    await text_at_200_percent(page)

    assert await page.evaluate("parseFloat(getComputedStyle(document.querySelector('#number')).fontSize)") > 30
    assert await page.evaluate(SIDEWAYS) == 0
    texts = "[...document.querySelectorAll('label, .hint, .error, button, h1')]"
    assert await page.evaluate(f"{texts}.filter((e) => e.scrollWidth > e.clientWidth + 1).length") == 0


async def test_whoever_wants_no_motion_sees_none_and_forced_colours_keep_the_edges(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.example_url("refused", "en"))
    moves = "[...document.querySelectorAll('*')].some((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0)"
    edges = (
        "[...document.querySelectorAll('button, input[type=text], .summary')].map((e) => getComputedStyle(e))"
        ".every((style) => style.borderTopStyle === 'solid' && parseFloat(style.borderTopWidth) > 0)"
    )
    moved = await page.evaluate(moves)

    await emulate(page, prefers_reduced_motion="reduce", forced_colors="active")

    assert (moved, await page.evaluate(moves)) == (True, False)
    assert await page.evaluate(edges)
    clear = "getComputedStyle(document.querySelector('button')).borderTopColor"
    assert await page.evaluate(clear) != "rgba(0, 0, 0, 0)"


async def test_fields_ask_for_digits_and_take_what_is_pasted(browser: Browser, site: CardSite):
    page = await browser.open_page()
    await page.goto(site.url)

    await page.click("#number")
    await page.connection.send("Input.insertText", {"text": " 4242-4242 4242\u00a04242\n"}, page.session_id)

    assert await page.evaluate("document.querySelector('#number').value") == "4242 4242 4242 4242"
    keyboards = "['number', 'expiry', 'code', 'holder'].map((id) => document.getElementById(id).inputMode)"
    assert await page.evaluate(keyboards) == ["numeric", "numeric", "numeric", "text"]


async def test_a_card_is_added_in_arabic_with_the_keyboard_alone(browser: Browser, site: CardSite):
    """From the switch to the receipt: open it, choose, fill in the form, send."""
    page = await browser.open_page()
    await page.goto(f"{site.url}?language=en")
    await page.press("Tab")
    await page.press("Enter")
    await page.wait_for(".languages a")
    for _ in range(8):
        await page.press("Tab")
    assert await page.evaluate("document.activeElement.lang") == "ar"
    await page.press("Enter")
    await page.wait_until("document.dir === 'rtl' && document.readyState === 'complete'")

    await page.press("Tab")
    for text in ("4242424242424242", "1240", "123", "Ada Byron"):
        await page.press("Tab")
        await page.keys(text)
    await page.press("Enter")
    await page.wait_for(".saved")

    assert "4242" in await page.text(".saved")
    assert await page.evaluate("document.dir") == "rtl"
    assert [bytes(intake.details.number.reveal()) for intake in site.taken] == [b"4242424242424242"]
    assert page.complaints == []
