"""A person whose bank asks them: the page of ours, the bank's page at the sandbox, and the way back."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.sandbox.running import Sandbox
from tests.vault.bench import DOOR_ORIGIN, Doors, Person
from vault.contract import ChargeOrder

ALWAYS, UNLESS_SET_UP, THEN_DECLINES = "4000002760003184", "4000002500003155", "4000008400001629"
"""docs.stripe.com/testing: 3-D Secure is asked for; the third declines after it."""
LINK = re.compile(r'<a class="go" href="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody present, with a card whose bank wants to ask."""

    vault: Doors
    processor: Sandbox
    person: Person

    async def order(self, number: str = ALWAYS, **changes: Any) -> ChargeOrder:
        token = await self.vault.new_token(self.person, number)
        return self.person.charge(token, **({"person_present": True} | changes))

    async def asked(self, number: str = ALWAYS, *, hold: bool = False) -> ChargeOrder:
        """An order given, that waits for them."""
        order = await self.order(number)
        if hold:
            order = self.person.hold(order.token_id, person_present=True)
        answer = await self.repeat(order)
        assert (answer["state"], answer["reason"]) == ("needs_action", None), answer
        return order

    async def repeat(self, order: ChargeOrder) -> dict[str, Any]:
        hold = type(order) is not ChargeOrder
        answer = await self.vault.hold(order) if hold else await self.vault.charge(order)  # type: ignore[arg-type]  # a hold's order is a charge's
        body: dict[str, Any] = answer.json()
        return body

    def entry(self, order: ChargeOrder, **changes: Any) -> str:
        parameters = {"charge_id": order.charge_id, "subject_id": order.subject_id}
        return self.vault.mint.grant("open_authentication", order, parameters, **changes)

    async def enter(self, order: ChargeOrder, grant: str | None = None, origin: str = DOOR_ORIGIN) -> httpx2.Response:
        """What the gateway's door makes the browser do."""
        compact = self.entry(order) if grant is None else grant
        path = f"/authentications/{order.charge_id}/open"
        return await self.vault.browser.post(path, data={"grant": compact}, headers={"origin": origin})

    async def page(self, order: ChargeOrder, **headers: str) -> httpx2.Response:
        return await self.vault.browser.get(f"/authentications/{order.charge_id}", headers=headers)

    async def link(self, order: ChargeOrder) -> str:
        """In by the door, to the address of the bank's page."""
        assert (await self.enter(order)).status_code == 303
        found = LINK.search((await self.page(order)).text)
        assert found is not None
        return unescape(found[1])

    def answer(self, link: str, outcome: str = "pass") -> httpx2.Response:
        """What the person presses on the bank's page."""
        return self.processor.plain.post(link, data={"outcome": outcome})

    async def see_through(self, order: ChargeOrder, outcome: str = "pass") -> httpx2.Response:
        """To the bank, an answer there, back, and the page they end on."""
        answered = self.answer(await self.link(order), outcome)
        back = urlsplit(answered.headers["refresh"].partition("url=")[2])
        assert f"{back.scheme}://{back.netloc}" == self.vault.page_url
        assert back.path == f"/authentications/{order.charge_id}/return"
        returned = await self.vault.browser.get(f"{back.path}?{back.query}")
        assert (returned.status_code, returned.headers["location"]) == (303, f"/authentications/{order.charge_id}")
        return await self.page(order)
