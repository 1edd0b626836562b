"""Limits set on the consent page, and a payment approved because of them, in a real Chromium: keys and clicks only."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from litestar import Litestar

from infra.chassis.ids import new_id
from infra.dev.browser import Browser, Look, Page, find_chromium, launch
from infra.dev.house import House
from tests.gateway.shop import CART, Shop, open_shop, prepare
from tests.gateway.test_consent_browser import READ_FIELDS_WITHOUT_LABEL, native, picture
from tests.support.database import DatabaseMaker
from tests.support.identity import Pair
from tests.support.serving import free_port, served

PHONE = Look(width=320, height=640, scale=2, mobile=True, javascript=False)
DARK = Look(width=1024, height=1100, dark=True, javascript=False)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.fail("no Chromium on PATH: install it (Debian: apt-get install chromium); .ci/run does")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with launch(chromium, profile=Path(profile)) as running:
            yield running


@pytest.fixture(scope="module")
async def callback() -> AsyncIterator[str]:
    port = free_port()
    async with served(Litestar([native], logging_config=None, openapi_config=None), port):
        yield f"http://127.0.0.1:{port}/native"


@pytest.fixture(scope="module")
async def open_to_browsers(house: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    port = free_port()
    async with (
        open_shop(await prepare(house, database), public_url=f"http://127.0.0.1:{port}") as made,
        served(made.gateway.api, port),
    ):
        yield made


async def looked_at(page: Page, name: str) -> None:
    await picture(page, name)
    assert not await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert await page.evaluate(READ_FIELDS_WITHOUT_LABEL) == []


async def heading(page: Page, text: str) -> None:
    await page.wait_until(f"document.querySelector('h1')?.textContent === '{text}'")


async def at_consent(shop: Shop, page: Page, email: str, callback: str) -> None:
    metadata = {"client_name": "Claude", "redirect_uris": [callback], "token_endpoint_auth_method": "none"}
    wanted = {
        "response_type": "code",
        "client_id": (await shop.client.post("/oauth/register", json=metadata)).json()["client_id"],
        "redirect_uri": callback,
        "scope": "catalog purchase",
        "state": "st-1",
        "code_challenge": Pair().challenge,
        "code_challenge_method": "S256",
        "resource": "https://mcp.test/larkspur/mcp",
    }
    await page.goto(str(httpx2.URL(f"{shop.issuer}/oauth/authorize", params=wanted)))
    await page.wait_until("document.activeElement?.id === 'email'")
    await page.keys(email)
    await page.press("Enter")
    await page.wait_until("document.activeElement?.id === 'code'")
    await page.keys(await shop.code_sent_to(email))
    await page.press("Enter")
    await heading(page, "Let an assistant act for you?")


async def written_over(page: Page, field: str, text: str) -> None:
    """Select what is there and type over it."""
    await page.click(field)
    await page.press("End")
    for _ in range(await page.evaluate(f"document.querySelector('{field}').value.length")):
        await page.press("Backspace")
    await page.keys(text)


@pytest.mark.parametrize("look", [DARK, PHONE])
@pytest.mark.control("UC-8.1")
async def test_a_person_sets_more_limits_by_keyboard_and_is_asked_because_of_them(
    browser: Browser, open_to_browsers: Shop, callback: str, look: Look
):
    shop, email = open_to_browsers, f"{new_id('per')}@example.com"
    page = await browser.open_page(look)
    await at_consent(shop, page, email, callback)
    assert not await page.evaluate("document.querySelector('#window_cap').checkVisibility()")
    await looked_at(page, f"limits-closed-{look.width}")

    await page.click("#day_cap")
    await page.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "remember_card"
    await page.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "More limits"
    await page.press("Enter")
    await page.wait_for("#window_cap")
    await looked_at(page, f"limits-open-{look.width}")
    for field, text in (("#window_cap", "100"), ("#window_days", "90"), ("#approval_above", "often")):
        await written_over(page, field, text)
    await page.click("button[value=agree]")
    await page.wait_for(".summary")
    await looked_at(page, f"limits-errors-{look.width}")
    assert await page.evaluate("[...document.querySelectorAll('[aria-invalid=true]')].map((i) => i.id)") == [
        "window_cap",
        "window_days",
        "approval_above",
    ]
    for field, text in (("#window_cap", "900"), ("#window_days", "14"), ("#approval_above", "20")):
        await written_over(page, field, text)
    await page.click("button[value=agree]")
    await heading(page, "Back in the app")

    talk = await shop.verified_chat(email)
    checkout = await shop.checkout(4_000, description="One lamp in dusk blue")
    (remedy,) = [each for each in (await talk.buy(checkout))["decision"]["remedies"] if each["kind"] == "approval"]
    await page.goto(remedy["url"])
    await heading(page, "Approve this payment?")
    await looked_at(page, f"approval-{look.width}")
    await page.click("button[value=approve]")
    await heading(page, "Approved")
    await looked_at(page, f"approved-{look.width}")
    asked_again = await talk.post("/v1/decisions", action="purchase", checkout_id=checkout, cart_sha256=CART)
    assert asked_again.json()["outcome"] == "allow"
    assert [("status of 422" in each, "/consent/" in each) for each in page.complaints] == [(True, True)]
