"""First chapters: an assistant connects, shops, and pays with a card it never sees."""

from dataclasses import dataclass
from typing import Any

import aiohttp
from mcp import Client

from infra.dev.demo.assistant import Keeper, call, connect
from infra.dev.demo.person import CARD_NUMBER, Inbox, Person
from infra.dev.demo.story import Story, require
from infra.dev.house import House

ADDRESS = "ada@example.com"
SLUG = "lumen-and-loom"
LAMP = "LL-LAMP-DUSK"
DEAR_LAMP = "LL-LAMP-HERON"
SHIP_TO = {
    "name": "Ada Example",
    "line1": "1 Harbour Street",
    "city": "Portland",
    "state": "OR",
    "postal_code": "97201",
    "country": "US",
}
WISH = "Prefers large print"
TASTE = "Bought the Dusk lamp as a present for her sister who reads at night"


@dataclass(frozen=True, slots=True)
class Stage:
    """What every chapter needs."""

    house: House
    story: Story
    http: aiohttp.ClientSession
    inbox: Inbox
    person: Person

    @property
    def endpoint(self) -> str:
        return f"{self.house.urls['mcp_server']}/brands/{SLUG}/mcp"


@dataclass(frozen=True, slots=True)
class Bought:
    """What the first chapters leave behind for the later ones."""

    checkout_id: str
    amount_minor: int
    dear_checkout_id: str


async def tell_purchase(stage: Stage) -> Bought:
    story, keeper = stage.story, Keeper()
    story.chapter("An assistant connects")
    await _refused(stage)

    async def authorize(url: str) -> None:
        async with story.step("person → gateway", f"sign in by code, read, agree ({stage.person.way})") as step:
            limits = await stage.person.agree(url, ADDRESS)
            step.decided("person", f"agrees to at most {limits.payment} a payment and {limits.day} a day at this brand")
            step.decided("person", "has the card remembered, so its token will be good for no more than that")

    shown: list[str] = []

    async def show(url: str) -> None:
        shown.append(url)
        await _type_card(stage, url)

    async with connect(stage.endpoint, keeper, authorize, show) as client:
        async with story.step("assistant → mcp_server", "tools/list, now with a bearer for this brand only") as step:
            names = [tool.name for tool in (await client.list_tools()).tools]
            require({"search_catalog", "pay", "recall"} <= set(names), f"the tools were {names}")
            step.decided("mcp_server", f"bearer and audience checked; {len(names)} tools")
        story.chapter("It shops")
        checkout = await _choose(stage, client)
        story.chapter("It pays, and never sees the card")
        await _pay(stage, client, checkout, shown)
        await _remember(stage, client)
        dear = await _ask_too_much(stage, client)
    return Bought(checkout["checkout_id"], checkout["total_minor"], dear)


async def _refused(stage: Stage) -> None:
    async with stage.story.step("assistant → mcp_server", "connect without a bearer") as step:
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        headers = {"Accept": "application/json, text/event-stream"}
        async with stage.http.post(stage.endpoint, json=ask, headers=headers) as answer:
            where = answer.headers.get("WWW-Authenticate", "")
            require(answer.status == 401, f"a call without a bearer was answered {answer.status}")  # noqa: PLR2004 - HTTP
            require("resource_metadata=" in where, "the refusal did not say where a bearer comes from")
        step.decided("mcp_server", "401, and names the metadata that leads to the gateway's login")


async def _choose(stage: Stage, client: Client) -> dict[str, Any]:
    story = stage.story
    async with story.step("assistant → mcp_server", "search_catalog “bedside lamp under $100”") as step:
        found = await call(client, "search_catalog", query="bedside lamp", price_minor_max=10_000)
        require(found["products"], "the catalogue search found nothing")
        step.decided("mcp_server", ", ".join(f"{p['name']} {p['price_from']}" for p in found["products"][:3]))
    async with story.step("assistant → mcp_server", f"create_checkout {LAMP}, to Portland, Oregon") as step:
        checkout = await call(client, "create_checkout", items=[{"sku": LAMP, "quantity": 1}], ship_to=SHIP_TO)
        require(checkout["state"] == "ready", f"the checkout is {checkout['state']}")
        step.decided("mcp_server", f"computes {checkout['total']} from its own catalogue; the model named no price")
    return checkout


async def _pay(stage: Stage, client: Client, checkout: dict[str, Any], shown: list[str]) -> None:
    async with stage.story.step("assistant → mcp_server", "pay; asked to show a link; pay again") as step:
        paid = await call(client, "pay", checkout_id=checkout["checkout_id"])
        require(shown, "no URL elicitation arrived: the card was never asked for")
        require(paid["state"] == "paid", f"the payment is {paid['state']}: {paid.get('message')}")
        require(paid["order"]["checkout_id"] == checkout["checkout_id"], "there is no order for the checkout")
        step.decided("mcp_server", f"paid; order {paid['order']['order_id']}")
    async with stage.story.step("sandbox processor", "its own list of charges") as step:
        charges = await sandbox_charges(stage)
        require(len(charges) == 1, f"the processor has {len(charges)} charges, not one")
        require(charges[0]["amount_minor"] == checkout["total_minor"], "the amount at the processor is another one")
        step.decided(
            "processor",
            f"{charges[0]['amount_minor'] / 100:,.2f} {charges[0]['currency']}, card ending {charges[0]['last4']}",
        )


async def _type_card(stage: Stage, url: str) -> None:
    async with stage.story.step("a stranger → gateway", "open the same link in another browser") as step:
        require(stage.house.urls["gateway"] in url, "the link does not lead to the gateway's door")
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address too, as browsers keep them
        async with aiohttp.ClientSession(cookie_jar=jar) as stranger, stranger.get(url) as answer:
            page = await answer.text()
        require('name="email"' in page, "a stranger who has the link was not asked who he is")
        step.decided("gateway", "asks for a sign-in by code; shows no amount and no card page")
    async with stage.story.step(
        "person → vault", f"open the link, pass the door, type a card ({stage.person.way})"
    ) as step:
        last_page = await stage.person.type_card(url)
        require(CARD_NUMBER[-4:] in last_page, "the vault did not say that the card was saved")
        require(CARD_NUMBER not in last_page, "the vault's last page shows the card number")
        step.decided("vault", " ".join(last_page.split())[:150])


async def _remember(stage: Stage, client: Client) -> None:
    async with stage.story.step("assistant → mcp_server", "remember two things the person said") as step:
        for text in (WISH, TASTE):
            kept = await call(client, "remember", text=text, said_by_subject=True)
            require(kept["remembered"], "a memory was not kept")
        step.decided("memory", "kept, at the tiers its rules find in the words")


async def _ask_too_much(stage: Stage, client: Client) -> str:
    async with stage.story.step("assistant → mcp_server", f"create_checkout {DEAR_LAMP}, then pay") as step:
        checkout = await call(client, "create_checkout", items=[{"sku": DEAR_LAMP, "quantity": 1}], ship_to=SHIP_TO)
        answer = await call(client, "pay", checkout_id=checkout["checkout_id"])
        require(answer["state"] == "denied", f"{checkout['total']} was {answer['state']}, over the cap")
        require("over_payment_cap" in answer["reasons"], f"the reasons were {answer['reasons']}")
        step.decided("gateway", f"denies {checkout['total']}: {', '.join(answer['reasons'])}")
        step.decided("gateway", "; ".join(remedy["sentence"] for remedy in answer["remedies"]))
        return str(checkout["checkout_id"])


async def sandbox_charges(stage: Stage) -> list[dict[str, Any]]:
    async with stage.http.get(f"{stage.house.urls['processor']}/_sandbox/charges") as answer:
        charges: list[dict[str, Any]] = (await answer.json())["charges"]
        return charges
