"""People with a mailbox, a browser and a passkey in software, in a shop whose gateway has a host name."""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.gateway.authenticator import Authenticator, options_of
from tests.gateway.shop import LARKSPUR, Shop, Talk
from tests.support.identity import form_of

ORIGIN = "http://localhost:7100"
HOME = f"/passkeys/{LARKSPUR}"


@dataclass(slots=True)
class Person:
    """Somebody with a mailbox, a browser and a device."""

    shop: Shop
    client: httpx2.AsyncClient
    email: str
    device: Authenticator

    async def get(self, path: str) -> httpx2.Response:
        page = await self.client.get(path)
        while page.status_code == 303:
            page = await self.client.get(page.headers["location"])
        return page

    async def post(self, page: httpx2.Response, /, *, form: int = 0, **fields: str) -> httpx2.Response:
        """The form of this number on the page."""
        action, hidden = form_of("<form" + page.text.split("<form")[form + 1])
        return await self.client.post(action, data={**hidden, **fields})

    async def log_in(self, path: str = HOME) -> httpx2.Response:
        code_page = await self.get((await self.post(await self.get(path), email=self.email)).headers["location"])
        done = await self.post(code_page, code=await self.shop.code_sent_to(self.email))
        assert done.status_code == 303, done.text
        return await self.get(done.headers["location"])

    async def add_passkey(self, **changes: Any) -> httpx2.Response:
        page = await self.log_in()
        return await self.post(page, credential=self.device.make(options_of(page.text), **changes), name="My phone")

    async def use(self, url: str, device: Authenticator | None = None, **changes: Any) -> httpx2.Response:
        page = await self.get(url)
        credential = (device or self.device).use(options_of(page.text), **changes)
        return await self.post(page, credential=credential, answer="go")


def device() -> Authenticator:
    return Authenticator(ORIGIN, "localhost")


def browser(shop: Shop) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=shop.gateway.api)  # type: ignore[arg-type]  # two spellings of ASGI
    return httpx2.AsyncClient(transport=transport, base_url=ORIGIN)


async def known_person(shop: Shop) -> tuple[Person, Talk]:
    """Verified by e-mail in a conversation; no passkey yet."""
    email = f"{secrets.token_hex(6)}@example.com"
    talk = await shop.verified_chat(email)
    return Person(shop, browser(shop), email, device()), talk


async def person_with_passkey(shop: Shop) -> tuple[Person, Talk]:
    person, talk = await known_person(shop)
    added = await person.add_passkey()
    assert added.status_code == 303, added.text
    return person, talk


async def ask(talk: Talk, **more: Any) -> dict[str, Any]:
    answer = await talk.call(
        "POST", f"/v1/conversations/{talk.conversation_id}/challenges", {"method": "passkey", **more}
    )
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def level(talk: Talk) -> str:
    answer = await talk.call("GET", f"/v1/conversations/{talk.conversation_id}")
    return str(answer.json()["assurance_level"])


async def state(talk: Talk, challenge: dict[str, Any]) -> str:
    return str((await talk.call("GET", f"/v1/challenges/{challenge['challenge_id']}")).json()["state"])
