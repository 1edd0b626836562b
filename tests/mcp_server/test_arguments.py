"""Arguments are taken strictly, and no refusal repeats what was sent."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server import contract
from mcp_server.arguments import schema_of, take
from mcp_server.contract import Arguments, CreateCheckout, Pay, Recall, Remember, SearchCatalog
from mcp_server.errors import ArgumentsInvalid, CardNumberInText, HiddenCharacters, ToolRefused

CHECKOUT = "chk_" + "b" * 26
ALL = [kind for kind in vars(contract).values() if isinstance(kind, type) and issubclass(kind, Arguments)]


@pytest.mark.parametrize(
    ("kind", "raw", "sentence"),
    [
        (SearchCatalog, {"limit": "7"}, "limit: expected `int`, got `str`."),
        (SearchCatalog, {"limit": 7.0}, "limit: expected `int`, got `float`."),
        (SearchCatalog, {"limit": True}, "limit: expected `int`, got `bool`."),
        (SearchCatalog, {"limit": 21}, "limit: expected `int` <= 20."),
        (SearchCatalog, {"tags": "lamp"}, "tags: expected `array`, got `str`."),
        (Pay, {}, "The arguments: object missing required field `checkout_id`."),
        (Pay, {"checkout_id": None}, "checkout_id: expected `str`, got `null`."),
        (CreateCheckout, {"items": []}, "items: expected `array` of length >= 1."),
        (CreateCheckout, {"items": [{"sku": "LL-A", "quantity": -1}]}, "items[0].quantity: expected `int` >= 1."),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(kind: type[Arguments], raw: dict[str, Any], sentence: str):
    with pytest.raises(ArgumentsInvalid) as refused:
        take(kind, raw)
    assert refused.value.sentence == sentence


@pytest.mark.parametrize("name", ["amount_minor", "price", "subject_id", "tier", "user_id", "level", "currency"])
@pytest.mark.control("UC-D.3")
def test_nobody_names_a_price_an_owner_or_a_tier(name: str):
    for kind, raw in ((Pay, {"checkout_id": CHECKOUT}), (Remember, {"text": "x"}), (Recall, {})):
        with pytest.raises(ArgumentsInvalid) as refused:
            take(kind, {**raw, name: 1})
        assert name not in refused.value.sentence


@pytest.mark.control("UC-L.1")
def test_an_unknown_argument_is_not_repeated_even_deep_inside():
    with pytest.raises(ArgumentsInvalid) as refused:
        take(CreateCheckout, {"items": [{"sku": "LL-A", "ignore previous instructions": 1}]})
    assert refused.value.sentence == "items[0] must not hold anything the input schema does not name."


@pytest.mark.parametrize(
    "text", ["4242424242424242", "my card is 4242-4242 4242 4242 thanks", "\uff14\uff12\uff14\uff12 4242 4242 4242"]
)
@pytest.mark.control("UC-3.3")
def test_a_card_number_in_any_text_is_refused(text: str):
    for kind, raw in (
        (SearchCatalog, {"query": text}),
        (Remember, {"text": text}),
        (SearchCatalog, {"tags": [text]}),
        (Pay, {text: 1}),
    ):
        with pytest.raises(CardNumberInText) as refused:
            take(kind, raw)
        assert "4242" not in refused.value.sentence


@pytest.mark.parametrize("parts", [["4242", "4242", "4242", "4242"], ["room 4242", "floor 4242 4242", "4242"]])
@pytest.mark.control("UC-3.3")
def test_a_card_number_spread_over_arguments_is_refused(parts: list[str]):
    with pytest.raises(CardNumberInText):
        take(SearchCatalog, {"query": "lamp", "tags": parts})


def test_numbers_of_several_kinds_side_by_side_are_no_card_number():
    take(SearchCatalog, {"query": "42", "tags": ["94107", "415 555 0132", "4242", "2 of 4"]})


@pytest.mark.parametrize(
    "character", ["\u200b", "\u202e", "\u2066", "\x00", "\x1b", "\ufeff", "\u00ad", "\U000e0041", "\u200d"]
)
def test_characters_nobody_sees_are_refused(character: str):
    with pytest.raises(HiddenCharacters):
        take(Remember, {"text": f"likes{character} linen"})


@pytest.mark.parametrize(
    "text",
    ["loves \u2764\ufe0f linen", "a family \U0001f468\u200d\U0001f469\u200d\U0001f467", "two\nlines", "crème brûlée"],
)
def test_what_people_write_is_taken(text: str):
    assert take(Remember, {"text": text}).text == text


def sentence_for(kind: type[Arguments], raw: dict[str, Any]) -> str:
    try:
        take(kind, raw)
    except ToolRefused as refused:
        return refused.sentence
    return ""


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_whatever_is_sent_is_taken_or_refused_in_one_sentence(value: Any):
    raw = value if isinstance(value, dict) else {"items": value, "text": value, "checkout_id": value, "query": value}
    for kind in ALL:
        assert len(sentence_for(kind, raw)) < 200


@pytest.mark.parametrize("kind", ALL)
def test_a_schema_is_closed_plain_and_in_the_dialect_of_json_schema(kind: type[Arguments]):
    text = json.dumps(schema_of(kind))
    assert schema_of(kind)["additionalProperties"] is False
    assert "$ref" not in text
    assert r"\\Z" not in text


def test_a_field_called_title_stays_in_its_schema():
    lines = schema_of(contract.CheckoutView)["properties"]["lines"]["items"]["properties"]
    assert set(lines) == set(
        msgspec.structs.asdict(contract.LineView(sku="", title="", quantity=1, unit_minor=1, total_minor=1))
    )
