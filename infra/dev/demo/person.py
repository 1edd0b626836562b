"""The person: reads the mail, signs in, agrees, types a card. In a real Chromium, or by sending what the pages send.

The second way is for machines without a browser: it fetches the same pages, reads their forms and posts exactly the
fields a browser would without JavaScript, cookies and origins included.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp

from infra.dev.browser import Page, find_chromium, launch
from infra.dev.demo.story import DidNotHappen

CARD_NUMBER = "4242424242424242"
"""Published by Stripe for testing: approves."""
CARD_EXPIRY = "12/34"
CARD_CODE = "123"
HOLDER = "Ada Example"
CODE = re.compile(r"\b(\d{6})\b")
TO_THE_BANK = re.compile(r'<a class="go" href="([^"]+)"')
BACK = re.compile(r'<a href="([^"]+)">Go back</a>')
MAIL_SECONDS_MAX = 10.0


class Inbox:
    """Where the sandbox shows what would have been mailed."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http
        self._seen: set[str] = set()

    async def code_for(self, address: str) -> str:
        """The newest one-time code not handed out before; waits for it."""
        deadline = asyncio.get_running_loop().time() + MAIL_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            async with self._http.get(f"{self._url}/messages", params={"to": address}) as answer:
                messages = (await answer.json())["messages"]
            for message in messages:
                found = CODE.search(message["text"])
                if found and message["id"] not in self._seen:
                    self._seen.add(message["id"])
                    return found.group(1)
            await asyncio.sleep(0.05)
        raise DidNotHappen(f"no code reached the inbox of {address}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the consent page proposed and the person left as it was."""

    payment: str
    day: str


class Person(Protocol):
    """Two ways to be a person at a screen."""

    way: str

    async def agree(self, authorize_url: str, address: str) -> "Limits":
        """Sign in by code, have the card remembered, agree; the browser then follows the redirect to the assistant."""
        ...

    async def type_card(self, card_url: str) -> str:
        """From the door to the card page, type the card, send it. The text of the last page."""
        ...


@asynccontextmanager
async def arrive(inbox: Inbox, profile: Path) -> AsyncIterator[Person]:
    """A person with a browser if this machine has one."""
    chromium = find_chromium()
    if chromium is None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            yield FormSender(http, inbox)
    else:
        async with launch(chromium, profile=profile) as browser:
            yield BrowserUser(await browser.open_page(), inbox)


class BrowserUser:
    way = "headless Chromium"

    def __init__(self, page: Page, inbox: Inbox) -> None:
        self._page = page
        self._inbox = inbox

    async def agree(self, authorize_url: str, address: str) -> Limits:
        page = self._page
        await page.goto(authorize_url)
        await page.wait_for("#email")
        await page.type("#email", address)
        await page.click("button.main")
        await page.wait_for("#code")
        await page.type("#code", await self._inbox.code_for(address))
        await page.click("button.main")
        await page.wait_for("button[value=agree]")
        payment, day = [await page.evaluate(f"document.getElementById('{name}').value") for name in LIMIT_FIELDS]
        await page.click("#remember_card")
        await page.click("button[value=agree]")
        return Limits(payment, day)

    async def type_card(self, card_url: str) -> str:
        page = self._page
        await page.goto(card_url)
        await page.wait_for("button.main")
        await page.click("button.main")
        await page.wait_for("[name=number]")
        for field, text in CARD_FIELDS.items():
            await page.type(f"[name={field}]", text)
        await page.click("#send")
        await page.wait_for(".saved")
        return await page.text("body")


LIMIT_FIELDS = ("payment_cap", "day_cap")
CARD_FIELDS = {"number": CARD_NUMBER, "expiry": CARD_EXPIRY, "code": CARD_CODE, "holder": HOLDER}


class FormSender:
    way = "a client that sends what the pages send (no Chromium here)"

    def __init__(self, http: aiohttp.ClientSession, inbox: Inbox) -> None:
        self._http = http
        self._inbox = inbox
        self._url = ""
        self._html = ""

    async def agree(self, authorize_url: str, address: str, **limits: str) -> Limits:
        """`limits` are fields of the consent page that are filled in otherwise than it proposes.

        The person has their card remembered, which it does not propose; `remember_card=""` leaves that.
        """
        await self._get(authorize_url)
        await self._submit({"email": address})
        await self._submit({"code": await self._inbox.code_for(address)})
        payment, day = (_Form(self._html).fields[name] for name in LIMIT_FIELDS)
        await self._submit({"remember_card": "on", **limits, "answer": "agree"})
        return Limits(payment, day)

    async def type_card(self, card_url: str, **typed: str) -> str:
        """`typed` are fields filled in otherwise than with the card that approves."""
        await self._get(card_url)
        await self._submit({})
        await self._submit({})
        await self._submit({**CARD_FIELDS, **typed})
        return re.sub(r"<[^>]+>", " ", self._html)

    async def answer_approval(self, approval_url: str, answer: str) -> str:
        """In the browser that signed in to consent: `approve` or `refuse`. The text of the page that follows."""
        await self._get(approval_url)
        await self._submit({"answer": answer})
        return re.sub(r"<[^>]+>", " ", self._html)

    async def confirm_with_bank(self, authentication_url: str, outcome: str = "pass") -> str:
        """From the door over the vault's page to the bank's, `pass` or `fail` there, and back. The last page's text."""
        await self._get(authentication_url)
        await self._submit({})
        await self._submit({})
        await self._follow(TO_THE_BANK)
        await self._submit({"outcome": outcome})
        await self._follow(BACK)
        return re.sub(r"<[^>]+>", " ", self._html)

    async def _follow(self, link: re.Pattern[str]) -> None:
        found = link.search(self._html)
        if found is None:
            raise DidNotHappen("the page has no such link")
        await self._get(unescape(found[1]))

    async def _get(self, url: str) -> None:
        async with self._http.get(url) as answer:
            self._url, self._html = str(answer.url), await answer.text()

    async def _submit(self, filled: dict[str, str]) -> None:
        form = _Form(self._html)
        target = urljoin(self._url, form.action)
        parts = urlsplit(self._url)
        headers = {"Origin": f"{parts.scheme}://{parts.netloc}"}
        async with self._http.post(target, data=form.fields | filled, headers=headers) as answer:
            self._url, self._html = str(answer.url), await answer.text()


class _Form(HTMLParser):
    """The page's first form: where it goes, and what it sends untouched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action: str = ""
        self.fields: dict[str, str] = {}
        self._inside = self._done = False
        self.feed(html)
        if not self._done:
            raise DidNotHappen("the page has no form to send")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and not self._done:
            self._inside, self.action = True, given.get("action", "")
        elif tag == "input" and self._inside and "name" in given:
            if given.get("type") == "checkbox" and "checked" not in given:
                return
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._inside:
            self._inside, self._done = False, True
