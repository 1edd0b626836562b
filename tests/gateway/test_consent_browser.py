"""Login, consent and the door in a real Chromium, over HTTP, with keys and clicks."""

import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from infra.chassis.clock import SystemClock
from infra.dev.browser import Browser, Look, Page, find_chromium, launch
from tests.support.database import DatabaseMaker
from tests.support.identity import EMAIL, IdentityHouse, Pair, claims_of, identity_house
from tests.support.serving import free_port, served

PHONE = Look(width=320, height=640, scale=2, mobile=True, javascript=False)
DARK = Look(width=1024, height=1100, dark=True, javascript=False)
NO_SCRIPTS = Look(javascript=False)
HEAD = '<!doctype html><link rel="icon" href="data:,">'
READ_FIELDS_WITHOUT_LABEL = (
    "[...document.querySelectorAll('input:not([type=hidden])')].filter((i) => i.labels.length !== 1).map((i) => i.name)"
)


@dataclass(slots=True)
class Outside:
    """The assistant's callback and the vault's page, which are other companies' and other services' here."""

    url: str
    entered: list[tuple[dict[str, Any], str]] = field(default_factory=list)


@get("/callback")
async def callback(outside: NamedDependency[Outside]) -> Response[bytes]:
    """As hosted assistants do: the callback goes on to another of its hosts."""
    elsewhere = outside.url.replace("127.0.0.1", "localhost")
    return Response(b"", status_code=302, headers={"Location": f"{elsewhere}/welcome"})


@get("/native", media_type="text/html")
async def native() -> str:
    return f"{HEAD}<h1>Back in the app</h1>"


@get("/welcome", media_type="text/html")
async def welcome() -> str:
    return f"{HEAD}<h1>Back at the assistant</h1>"


@post("/captures/{capture_id:str}/open", media_type="text/html", status_code=200)
async def vault_page(
    request: Request[Any, Any, Any], capture_id: FromPath[str], outside: NamedDependency[Outside]
) -> str:
    outside.entered.append((dict(await request.form()), request.headers.get("origin", "")))
    return f"{HEAD}<h1>The card page of {capture_id}</h1>"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.fail("no Chromium on PATH: install it (Debian: apt-get install chromium); .ci/run does")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with launch(chromium, profile=Path(profile)) as running:
            yield running


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    port = free_port()
    made = Outside(f"http://127.0.0.1:{port}")
    app = Litestar(
        [callback, native, welcome, vault_page],
        dependencies={"outside": Provide(lambda: made, sync_to_thread=False)},
        logging_config=None,
        openapi_config=None,
    )
    async with served(app, port):
        yield made


@pytest.fixture
async def house(database: DatabaseMaker, outside: Outside) -> AsyncIterator[IdentityHouse]:
    port = free_port()
    async with (
        identity_house(
            database, public_url=f"http://127.0.0.1:{port}", vault_page_url=outside.url, clock=SystemClock()
        ) as made,
        served(made.app, port),
    ):
        yield made


async def picture(page: Page, name: str) -> None:
    """Keep a screenshot where a person asked for them, and only then."""
    folder = os.environ.get("UNDERCROFT_TEST_SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(await page.screenshot())


async def log_in(house: IdentityHouse, page: Page, path: str, heading: str) -> None:
    """Keys only: the first field of each page has the focus."""
    await page.goto(house.issuer + path)
    await page.wait_until("document.activeElement?.id === 'email'")
    await page.keys(EMAIL)
    await page.press("Enter")
    await page.wait_until("document.activeElement?.id === 'code'")
    await page.keys(house.mailbox.codes[EMAIL][-1])
    await page.press("Enter")
    await page.wait_until(f"document.querySelector('h1')?.textContent === '{heading}'")


async def authorize(house: IdentityHouse, redirect_uri: str) -> str:
    return house.authorize_url(await house.client_id(redirect_uris=[redirect_uri]), Pair(), redirect_uri=redirect_uri)


@pytest.mark.parametrize("look", [NO_SCRIPTS, PHONE, DARK])
@pytest.mark.control("UC-8.1")
async def test_a_person_connects_an_assistant_without_any_script(
    browser: Browser, house: IdentityHouse, outside: Outside, look: Look
):
    page = await browser.open_page(look)
    await log_in(house, page, await authorize(house, f"{outside.url}/native"), "Let an assistant act for you?")
    await picture(page, f"consent-{look.width}")
    too_wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    unlabelled = await page.evaluate(READ_FIELDS_WITHOUT_LABEL)

    await page.click("button[value=agree]")
    await page.wait_until("document.querySelector('h1')?.textContent === 'Back in the app'")

    assert "code=" in await page.evaluate("location.search")
    assert not too_wide
    assert unlabelled == []
    assert page.complaints == []


async def test_the_way_back_may_lead_over_another_host_of_the_assistant(
    browser: Browser, house: IdentityHouse, outside: Outside
):
    page = await browser.open_page(NO_SCRIPTS)
    await log_in(house, page, await authorize(house, f"{outside.url}/callback"), "Let an assistant act for you?")

    await page.click("button[value=refuse]")

    await page.wait_until("document.querySelector('h1')?.textContent === 'Back at the assistant'")


async def test_with_scripts_one_click_leads_from_the_door_to_the_vault(
    browser: Browser, house: IdentityHouse, outside: Outside
):
    capture_id = await house.capture()
    page = await browser.open_page()
    await log_in(house, page, f"/captures/{capture_id}", "Add a card to pay")
    await picture(page, "door")

    await page.click("main button")
    await page.wait_until(f"document.querySelector('h1')?.textContent === 'The card page of {capture_id}'")

    ((form, origin),) = outside.entered
    assert (set(form), origin) == ({"grant"}, house.issuer)
    assert claims_of(form["grant"])["action"] == "open_capture"
    assert await page.evaluate("location.href") == f"{outside.url}/captures/{capture_id}/open"
    assert not [request for request in page.requests if form["grant"] in request.url]
    assert page.complaints == []


async def test_without_scripts_a_second_click_does_it(browser: Browser, house: IdentityHouse, outside: Outside):
    capture_id = await house.capture()
    page = await browser.open_page(NO_SCRIPTS)
    await log_in(house, page, f"/captures/{capture_id}", "Add a card to pay")

    await page.click("main button")
    await page.wait_until("document.querySelector('h1')?.textContent === 'Opening the card page'")
    await picture(page, "entry")
    await page.click("main button")
    await page.wait_until(f"document.querySelector('h1')?.textContent === 'The card page of {capture_id}'")

    assert [origin for _, origin in outside.entered] == [house.issuer]
