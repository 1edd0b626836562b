"""A person who signed in at a brand through an assistant, in the running house."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from infra.dev.demo.assistant import Keeper, connect
from infra.dev.demo.person import FormSender, Inbox
from infra.dev.house import House


@dataclass(slots=True)
class Person:
    """Signed in at the brand through an assistant; `bearer` is the assistant's."""

    hands: FormSender
    bearer: str
    links: list[str]

    async def type_card(self, url: str) -> str:
        self.links.append(url)
        await self.hands.type_card(url)
        return "accept"

    async def approve(self, url: str) -> str:
        self.links.append(url)
        await self.hands.answer_approval(url, "approve")
        return "accept"


@asynccontextmanager
async def new_person(house: House, endpoint: str, **limits: str) -> AsyncIterator[Person]:
    """`limits` are typed on the consent page; without them the person agrees to what it proposes."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        hands, keeper = FormSender(http, Inbox(house.urls["inbox"], http)), Keeper()
        address = f"ada.{secrets.token_hex(6)}@example.com"

        async def authorize(url: str) -> None:
            await hands.agree(url, address, **limits)

        async def show(_url: str) -> None:
            return

        async with connect(endpoint, keeper, authorize, show) as client:
            await client.list_tools()
        assert keeper.tokens is not None
        yield Person(hands, keeper.tokens.access_token, [])
