"""The tools, through the official client, in both eras, against the real process."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from mcp import Client

from infra.dev.house import House
from tests.support.assistants import Person

Connect = Callable[..., AbstractAsyncContextManager[Client]]
Mint = Callable[..., str]
ERAS = ("2026-07-28", "legacy", "auto")
PAN = "4242 4242 4242 4242"
ADDRESS = {
    "name": "Ada",
    "line1": "1 Main St",
    "city": "Austin",
    "state": "TX",
    "postal_code": "78701",
    "country": "US",
}
LAMP = {"sku": "LL-LAMP-DUSK", "quantity": 1}


def words(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("era", ERAS)
async def test_the_same_eight_tools_are_listed_in_the_same_order_with_all_hints(
    assistant: Connect, mint: Mint, era: str
):
    async with assistant(mint(), era) as client:
        tools = (await client.list_tools()).tools
        again = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [
        "search_catalog", "get_product", "create_checkout", "update_checkout", "pay", "get_order", "recall", "remember",
    ]  # fmt: skip
    assert tools == again
    for tool in tools:
        hints = tool.annotations
        assert hints is not None
        assert None not in {hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint}
        assert tool.title
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
    assert sum(len(tool.model_dump_json()) for tool in tools) < 48_000


@pytest.mark.parametrize("era", ERAS)
async def test_a_checkout_is_made_changed_and_computed_here(assistant: Connect, person: Person, era: str):
    async with assistant(person.bearer, era) as client:
        found = await client.call_tool("search_catalog", {"query": "dusk lamp", "limit": 1})
        product = await client.call_tool("get_product", {"sku": found.structured_content["products"][0]["sku"]})
        offer = product.structured_content["offers"][0]
        made = await client.call_tool("create_checkout", {"items": [{"sku": offer["sku"], "quantity": 2}]})
        checkout_id = made.structured_content["checkout_id"]
        changed = await client.call_tool("update_checkout", {"checkout_id": checkout_id, "ship_to": ADDRESS})
        express = await client.call_tool("update_checkout", {"checkout_id": checkout_id, "shipping_code": "express"})
    assert (made.structured_content["state"], made.structured_content["total_minor"]) == ("needs_address", 15_600)
    assert (changed.structured_content["state"], changed.structured_content["total_minor"]) == ("ready", 17_265)
    assert express.structured_content["total_minor"] == 18_475
    assert [choice["code"] for choice in express.structured_content["shipping_choices"]] == [
        "standard",
        "express",
        "slow-boat",
    ]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("search_catalog", {"query": "lamp", "colour": "red"}, "arguments_invalid"),
        ("search_catalog", {"limit": "7"}, "arguments_invalid"),
        ("search_catalog", {"limit": 1.5}, "arguments_invalid"),
        ("search_catalog", {"after_sku": "LL-NOWHERE"}, "page_unknown"),
        ("search_catalog", {"query": PAN}, "card_number_refused"),
        ("remember", {"text": f"my card is {PAN}"}, "card_number_refused"),
        ("remember", {"text": "likes\u202e linen"}, "hidden_characters"),
        ("remember", {"text": "likes linen", "tier": 0}, "arguments_invalid"),
        ("get_product", {"sku": "LL-NOWHERE"}, "product_unknown"),
        ("create_checkout", {"items": [LAMP], "amount_minor": 1}, "arguments_invalid"),
        ("create_checkout", {"items": [LAMP, LAMP]}, "arguments_invalid"),
        ("create_checkout", {"items": [{"sku": "LL-CURT-VEIL"}]}, "choice_needed"),
        (
            "create_checkout",
            {"items": [LAMP], "ship_to": {**ADDRESS, "country": "AQ", "state": ""}},
            "not_delivered_there",
        ),
        ("create_checkout", {"items": [LAMP], "ship_to": {**ADDRESS, "name": PAN}}, "card_number_refused"),
        ("pay", {"checkout_id": "chk_" + "b" * 26}, "checkout_not_found"),
        ("pay", {"checkout_id": "chk_1"}, "arguments_invalid"),
        ("pay", {"checkout_id": "chk_" + "b" * 26, "amount_minor": 1}, "arguments_invalid"),
        ("get_order", {"order_id": "ord_" + "b" * 26}, "checkout_not_found"),
        ("get_order", {"order_id": "ord_" + "b" * 26, "checkout_id": "chk_" + "b" * 26}, "arguments_invalid"),
        ("recall", {"limit": 0}, "arguments_invalid"),
    ],
)
async def test_a_bad_call_is_a_result_with_one_sentence_and_a_code(
    assistant: Connect, mint: Mint, era: str, tool: str, arguments: dict[str, Any], code: str
):
    async with assistant(mint(), era) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert words(result).endswith(f"({code})")
    assert "4242" not in words(result)
    assert result.structured_content is None


async def test_a_checkout_belongs_to_its_person(assistant: Connect, mint: Mint):
    async with assistant(mint(sub="sub_ada")) as client:
        made = await client.call_tool("create_checkout", {"items": [LAMP]})
    checkout_id = made.structured_content["checkout_id"]
    async with assistant(mint(sub="sub_bob")) as client:
        answers = [
            await client.call_tool(tool, {"checkout_id": checkout_id})
            for tool in ("update_checkout", "pay", "get_order")
        ]
        missing = await client.call_tool("get_order", {"checkout_id": "chk_" + "b" * 26})
    assert {words(answer) for answer in answers} == {words(missing)}


async def test_a_bearer_whose_consent_the_gateway_does_not_know_moves_nothing(assistant: Connect, mint: Mint):
    async with assistant(mint()) as client:
        quoted = await client.call_tool("create_checkout", {"items": [LAMP], "ship_to": ADDRESS})
        recalled = await client.call_tool("recall", {})
    assert words(quoted).endswith("(sign_in_ended)")
    assert words(recalled).endswith("(sign_in_ended)")


async def test_more_than_there_is_cannot_be_put_into_a_checkout(assistant: Connect, mint: Mint):
    async with assistant(mint()) as client:
        catalogue = (await client.call_tool("search_catalog", {"limit": 20})).structured_content["products"]
        offers = [
            offer
            for product in catalogue
            for offer in (await client.call_tool("get_product", {"sku": product["sku"]})).structured_content["offers"]
        ]
        scarce = min(offers, key=lambda offer: offer["available"])
        result = await client.call_tool("create_checkout", {"items": [{"sku": scarce["sku"], "quantity": 20}]})
    assert scarce["available"] < 20
    assert words(result).endswith("(not_enough_stock)")


async def test_pages_of_the_catalogue_join_without_gap_or_repeat(assistant: Connect, mint: Mint):
    seen: list[str] = []
    after = ""
    async with assistant(mint()) as client:
        while True:
            page = (await client.call_tool("search_catalog", {"limit": 7, "after_sku": after})).structured_content
            seen += [product["sku"] for product in page["products"]]
            after = page.get("next_after_sku", "")
            if not after:
                break
    assert len(seen) == len(set(seen)) == 40


async def test_nothing_that_was_sent_in_vain_is_in_the_log(house: House):
    text = "".join(path.read_text(errors="replace") for path in house.logs.glob("mcp_server*"))
    assert text
    assert "4242" not in text.replace(" ", "")
