"""From the door to the card form in a real Chromium: what browsers do with a cookie is seen, not read."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from infra.dev.browser import Look, find_chromium, launch
from tests.sandbox.running import APPROVES, Sandbox, free_port
from tests.support.database import DatabaseMaker
from tests.vault.bench import Person
from tests.vault.process import VaultProcess, vault_process
from vault.contract import CaptureOrder
from vault.page_check import check_page


@asynccontextmanager
async def door(vault: VaultProcess, order: CaptureOrder, port: int) -> AsyncIterator[None]:
    """A page with the gateway's button on it, as the gateway's door serves it."""

    async def show(_request: web.Request) -> web.Response:
        action = f"{vault.page_url}/captures/{order.capture_id}/open"
        field = f'<input type="hidden" name="grant" value="{vault.entry_grant(order)}">'
        form = f'<form method="post" action="{action}">{field}<button id="go">Go</button></form>'
        return web.Response(
            text=f"<!doctype html><title>Door</title>{form}",
            content_type="text/html",
            headers={"Referrer-Policy": "strict-origin"},
        )

    app = web.Application()
    app.router.add_get("/door", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site", "another site"])
async def test_a_browser_comes_from_the_door_to_the_form_and_pays(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, host: str, *, javascript: bool
):
    """`localhost` is another site than `127.0.0.1`, as a gateway's own domain would be."""
    chromium = find_chromium()
    if chromium is None:
        pytest.fail("no Chromium on PATH: install it (Debian: apt-get install chromium); .ci/run does")
    port, order = free_port(), Person().capture()
    environment = {"UNDERCROFT_VAULT_DOOR_ORIGIN": f"http://{host}:{port}"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with (
            vault_process(tmp_path, database("vault"), processor, timeout_seconds=2, environment=environment) as vault,
            door(vault, order, port),
            launch(chromium, profile=Path(profile)) as browser,
        ):
            await vault.order_capture(order)
            page = await browser.open_page(Look(javascript=javascript))

            await page.goto(f"http://{host}:{port}/door")
            await page.click("#go")
            await page.wait_until("document.readyState === 'complete' && document.querySelector('#number') !== null")
            came_again = [sent.url for sent in page.requests].count(f"{vault.page_url}/captures/{order.capture_id}") - 1
            for field, text in (("number", APPROVES), ("expiry", "12/40"), ("code", "123"), ("holder", "Ada Byron")):
                await page.type(f"#{field}", text)
            await page.click("#send")
            await page.wait_for(".saved")

            assert (await vault.show_capture(order)).json()["state"] == "completed"
            assert ('"suite": "x-wing"' in vault.log.read_text()) is javascript
            assert await check_page(vault.page_url) == []
            assert came_again == (1 if host == "localhost" else 0), "the redirect from another site has no cookie yet"
