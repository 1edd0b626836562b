"""The pages of links and passkeys in a real Chromium, with its own authenticator and the sandbox's provider."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.dev.browser import Browser, Look, Page, find_chromium, launch
from infra.dev.house import House
from tests.gateway.connecting import Assistant
from tests.gateway.openid_world import World, new_email, open_world
from tests.gateway.shop import CART, LARKSPUR, Talk
from tests.support.database import DatabaseMaker
from tests.support.serving import free_port, served

PHONE = Look(width=320, height=640, scale=2, mobile=True)
DARK = Look(width=1024, height=1100, dark=True)
UNLABELLED = (
    "[...document.querySelectorAll('input:not([type=hidden])')].filter((i) => i.labels.length !== 1).map((i) => i.name)"
)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.fail("no Chromium on PATH: install it (Debian: apt-get install chromium); .ci/run does")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with launch(chromium, profile=Path(profile)) as running:
            yield running


@pytest.fixture(scope="module")
async def world(
    house: House, database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    port = free_port()
    keys = Path(tmp_path_factory.mktemp("keys"))
    async with (
        open_world(house, database, keys, public_url=f"http://localhost:{port}") as made,
        served(made.shop.gateway.api, port),
    ):
        yield made


async def looked_at(page: Page, name: str) -> None:
    """Wide enough for its screen, every field labelled, no complaint of the browser; a picture where one is wanted."""
    folder = os.environ.get("UNDERCROFT_TEST_SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(await page.screenshot())
    assert not await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert await page.evaluate(UNLABELLED) == []
    assert page.complaints == []


async def heading(page: Page, text: str) -> None:
    await page.wait_until(f"document.querySelector('h1')?.textContent === '{text}'")


async def with_passkey(world: World, page: Page, look: str) -> Talk:
    """A person who added a passkey on our page, with mouse and keys."""
    talk = await world.shop.verified_chat(email := new_email())
    await page.plug_in_authenticator()
    await page.goto(f"{world.shop.issuer}/passkeys/{LARKSPUR}")
    await page.wait_until("document.activeElement?.id === 'email'")
    await page.keys(email)
    await page.press("Enter")
    await page.wait_until("document.activeElement?.id === 'code'")
    await page.keys(await world.shop.code_sent_to(email))
    await page.press("Enter")
    await heading(page, "Your passkeys")
    await looked_at(page, f"passkeys-none-{look}")
    await page.type("#name", "My laptop")
    await page.press("Enter")
    await page.wait_until("document.body.innerText.includes('My laptop')")
    await looked_at(page, f"passkeys-{look}")
    return talk


@pytest.mark.control("UC-8.6")
@pytest.mark.parametrize("look", [PHONE, DARK], ids=["phone", "dark"])
async def test_a_passkey_added_in_a_browser_confirms_what_the_page_shows(browser: Browser, world: World, look: Look):
    page = await browser.open_page(look)
    name = "dark" if look.dark else "phone"
    talk = await with_passkey(world, page, name)
    checkout = await world.shop.checkout(4_000)
    confirm = {"type": "purchase", "checkout_id": checkout, "cart_sha256": CART}
    challenge = await world.challenge(talk, "passkey", confirm=confirm)

    await page.goto(challenge["url"])
    await heading(page, "Confirm this")
    shown = await page.text("main")
    await looked_at(page, f"passkey-confirm-{name}")
    await page.click("button[data-ask]")
    await heading(page, "That worked")

    assert all(text in shown for text in ("40.00 USD", "One lamp", challenge["match_code"]))
    assert await world.level(talk) == "strong"
    rows = await world.shop.rows("SELECT kind FROM evidence WHERE conversation_id = :c", c=talk.conversation_id)
    assert {row["kind"] for row in rows} == {"email_code", "passkey", "request_confirmation"}


async def test_with_keys_alone_a_second_passkey_is_added_after_the_first_was_shown(browser: Browser, world: World):
    page = await browser.open_page()
    await with_passkey(world, page, "wide")

    await page.evaluate("document.querySelector('button[data-ask]').focus()")
    await page.press("Enter")
    await heading(page, "Add another passkey")
    await looked_at(page, "passkey-next")
    await page.click("button[data-ask]")

    await page.wait_until(
        "document.getElementById('passkey-error').innerText.includes('has a passkey for you already')"
    )


async def test_an_authenticator_that_does_not_verify_its_person_is_of_no_use(browser: Browser, world: World):
    page = await browser.open_page()
    talk = await with_passkey(world, page, "unverified")
    challenge = await world.challenge(talk, "passkey")
    await page.verify_person(is_verified=False)

    await page.goto(challenge["url"])
    await heading(page, "Show that it is you")
    await looked_at(page, "passkey")
    await page.click("button[data-ask]")
    await page.wait_until("document.getElementById('passkey-error').innerText.includes('did not work')")

    assert await world.state(talk, challenge) == "pending"
    assert await page.evaluate("document.activeElement === document.querySelector('button[data-ask]')")


async def test_without_scripts_the_page_says_so_and_can_be_refused(browser: Browser, world: World):
    page = await browser.open_page(Look(javascript=False))
    talk = await world.shop.verified_chat()
    challenge = await world.challenge(talk, "passkey")

    await page.goto(challenge["url"])
    said = await page.text("main")
    await page.click("button[type=submit]")
    await heading(page, "Refused")

    assert "Passkeys need JavaScript" in said
    assert await world.state(talk, challenge) == "refused"


@pytest.mark.control("UC-8.5")
@pytest.mark.parametrize("look", [PHONE, DARK], ids=["phone", "dark"])
async def test_a_person_signs_in_at_the_provider_and_comes_back(browser: Browser, world: World, look: Look):
    page = await browser.open_page(look)
    challenge = await world.challenge(talk := await world.shop.chat())
    await page.goto(challenge["url"])
    await heading(page, "Show that it is you")
    await looked_at(page, f"openid-{'dark' if look.dark else 'phone'}")

    await page.click("button[value=go]")
    await heading(page, "Sign in at people")
    await page.type("input[name=email]", new_email())
    await page.click("button[value=sign_in]")
    await heading(page, "That worked")

    assert await world.state(talk, challenge) == "passed"
    assert page.complaints == []


@pytest.mark.control("UC-8.6")
@pytest.mark.parametrize("look", [PHONE, DARK], ids=["phone", "dark"])
async def test_an_assistants_person_steps_up_with_a_passkey_on_the_way_to_consent(
    browser: Browser, world: World, look: Look
):
    page = await browser.open_page(look)
    name = "dark" if look.dark else "phone"
    await page.plug_in_authenticator()
    assistant = await Assistant.registered(world.shop)

    await page.goto(world.shop.issuer + assistant.url(acr_values="urn:undercroft:acr:strong"))
    await page.wait_until("document.activeElement?.id === 'email'")
    await page.keys(email := new_email())
    await page.press("Enter")
    await page.wait_until("document.activeElement?.id === 'code'")
    await page.keys(await world.shop.code_sent_to(email))
    await page.press("Enter")
    await heading(page, "One more step")
    step = await page.evaluate("location.href")
    await looked_at(page, f"step-up-nothing-{name}")
    await page.goto(f"{world.shop.issuer}/passkeys/{LARKSPUR}")
    await heading(page, "Your passkeys")
    await page.click("button[data-ask]")
    await page.wait_until("document.querySelector('ul.keys') !== null")
    await page.goto(step)
    await heading(page, "One more step")
    await looked_at(page, f"step-up-passkey-{name}")
    await page.click("button[data-ask]")

    await page.wait_until("document.querySelector('button[value=agree]') !== null")
    assert page.complaints == []
