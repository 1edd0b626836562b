"""A card is keyed in where a carrier vouches for the call, and nowhere because an agent says so."""

import json
from typing import Any

import httpx2
import pytest

from gateway.captures import VAULT
from gateway.grants import GrantMint
from infra.chassis.canonical import parameters_sha256
from infra.sandbox.carrier import Signer, read_signer
from tests.gateway.shop import (
    CART,
    DECLINED_CARD,
    GOOD_CARD,
    LARKSPUR,
    NORTH,
    OTHER_AGENT,
    TSUBAKI,
    TSUBAKI_NUMBER,
    Shop,
    Talk,
)
from tests.gateway.test_caller_ids import handed_in, signed
from tests.gateway.test_policies import NO_DEAR_PHONE_ORDERS, Desk, recorded
from tests.gateway.test_text_codes import answered, called, challenged, new_number, verified_by_text
from vault.cleartext.hpke import PagePublicKey, seal_form

MISTYPED = "4242424242424241"


@pytest.fixture
def carrier(shop: Shop) -> Signer:
    """The house's telephone company."""
    return read_signer(shop.house.keyring.path("sandbox/carrier.pem").read_text())


async def on_the_line(shop: Shop, carrier: Signer, **said: str) -> Talk:
    """Somebody calls from a number that is theirs, proves to be who they are, and has given the agents a mandate."""
    number = new_number()
    await verified_by_text(shop, number)
    talk = await verified_by_text(shop, number)
    assert (await handed_in(talk, signed(shop, carrier, number, **said))).status_code == 200
    await shop.mandate(talk, payment_cap=5_000, day_cap=9_000)
    return talk


class Guard:
    """The media guard of this call: it has a grant for each envelope, and seals what the caller keys in."""

    def __init__(self, shop: Shop, talk: Talk, capture_id: str) -> None:
        keys = shop.ground.keys
        self._mint = GrantMint(keys.grant, shop.issuer, shop.ground.clock, keys.sender)
        self._talk, self._capture_id, self._url = talk, capture_id, shop.house.urls["vault"]

    async def key_in(self, number: str) -> dict[str, Any]:
        named = {"capture_id": self._capture_id}
        offered = await self._call("GET", "keys", "offer_keys", named)
        key = PagePublicKey(**offered["keys"][0])
        sealed = seal_form(json.dumps({"number": number, "expiry": "1234", "code": "123"}).encode(), key)
        envelope = {"key_id": sealed.key_id, "enc": sealed.enc, "ct": sealed.ct}
        named["envelope_sha256"] = parameters_sha256(envelope)
        return await self._call("POST", "keyed", "take_keyed", named, envelope)

    async def _call(
        self, method: str, last: str, action: str, named: dict[str, str], body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        path = f"/v1/captures/{self._capture_id}/{last}"
        grant = self._mint.mint(
            audience=VAULT,
            action=action,
            actor="media_guard",
            tenant_id=NORTH,
            brand_id=LARKSPUR,
            subject_id=str(self._talk.subject_id),
            decision_id="dec_guard",
            parameters=named,
        )
        headers = self._mint.headers(grant, method=method, path=path)
        async with httpx2.AsyncClient(base_url=self._url) as vault:
            answer = await vault.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view


async def told_the_processor(shop: Shop, purchase_id: str) -> list[bool]:
    """Of each charge for this purchase, whether it was told as a telephone order."""
    (row,) = await shop.rows("SELECT charge_id FROM purchases WHERE purchase_id = :p", p=purchase_id)
    async with httpx2.AsyncClient() as processor:
        answer = await processor.get(f"{shop.house.urls['processor']}/_sandbox/charges")
    charges = answer.json()["charges"]
    return [one["moto"] for one in charges if one["metadata"].get("charge_id") == row["charge_id"]]


@pytest.mark.control("UC-P.1")
async def test_who_calls_keys_the_card_in_and_the_order_is_told_as_one_by_telephone(shop: Shop, carrier: Signer):
    talk, checkout = await on_the_line(shop, carrier), await shop.checkout(4_000)

    first, again = await talk.buy(checkout), await talk.buy(checkout)
    view = await Guard(shop, talk, first["capture_id"]).key_in(GOOD_CARD)
    paid = await talk.buy(checkout)
    later = await talk.buy(await shop.checkout(1_000))

    assert (first["state"], first["by_keypad"], "card_url" in first) == ("needs_card", True, False)
    assert again["capture_id"] == first["capture_id"]
    assert (view["state"], view["last4"]) == ("completed", "4242")
    assert (paid["state"], paid["card"]["last4"], later["state"]) == ("paid", "4242", "paid")
    assert await told_the_processor(shop, paid["purchase_id"]) == [True]
    assert await told_the_processor(shop, later["purchase_id"]) == [False]


async def test_the_record_says_by_which_evidence_a_card_was_keyed_in(shop: Shop, carrier: Signer):
    talk = await on_the_line(shop, carrier)

    first = await talk.buy(await shop.checkout())
    await talk.buy(first["checkout_id"])

    query = "SELECT evidence_id FROM evidence WHERE conversation_id = :c AND kind = 'caller_id'"
    (evidence,) = await shop.rows(query, c=talk.conversation_id)
    noted = await events_of(shop, first["purchase_id"])
    assert [(event["event"], event["reason"]) for event in noted] == [("card_by_phone", evidence["evidence_id"])]


async def events_of(shop: Shop, purchase_id: str) -> list[dict[str, Any]]:
    found = await shop.rows("SELECT canonical FROM record_entries ORDER BY entry_id")
    bodies = [json.loads(row["canonical"])["body"] for row in found]
    return [body for body in bodies if "event" in body and body.get("purchase_id") == purchase_id]


@pytest.mark.control("UC-P.1")
async def test_no_agent_talks_itself_into_a_telephone_order(shop: Shop, carrier: Signer):
    """It opened the conversation as one by voice, and says so again wherever there is room for it."""
    number = new_number()
    await verified_by_text(shop, number)
    talk = await verified_by_text(shop, number)
    await shop.mandate(talk, payment_cap=5_000, day_cap=9_000)
    checkout = await shop.checkout(description="By phone. payment_method_options[card][moto]=true")

    plain = await talk.buy(checkout)
    said = [
        await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART, **{name: value})
        for name, value in (("by_keypad", True), ("channel", "phone"), ("capture_channel", "phone"))
    ]
    await handed_in(talk, signed(shop, carrier, number, "B"))
    attested_in_part = await talk.buy(checkout)

    assert [answer.status_code for answer in said] == [422] * 3
    for view in (plain, attested_in_part):
        assert (view["state"], view.get("by_keypad"), "card_url" in view) == ("needs_card", None, True)


@pytest.mark.control("UC-P.1")
async def test_a_call_from_somebody_elses_number_is_not_this_persons(shop: Shop, carrier: Signer):
    """The caller proves to be one person by a code, and calls from the telephone of another."""
    number, own = new_number(), new_number()
    await verified_by_text(shop, number)
    await verified_by_text(shop, own)
    talk = await called(shop, number)
    sent = await challenged(talk, contact_point={"kind": "phone", "value": own})
    await answered(talk, sent.json()["challenge_id"], await shop.code_sent_to(own))
    (row,) = await shop.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=talk.conversation_id)
    talk.subject_id = row["subject_id"]
    await handed_in(talk, signed(shop, carrier, number))
    await shop.mandate(talk, payment_cap=5_000, day_cap=9_000)

    view = await talk.buy(await shop.checkout())

    assert (view["state"], view.get("by_keypad"), "card_url" in view) == ("needs_card", None, True)


async def test_a_brand_that_takes_no_telephone_orders_sends_callers_to_the_page(shop: Shop, carrier: Signer):
    number = new_number()
    await verified_by_text(shop, number)
    opening = {
        "brand_id": TSUBAKI,
        "channel": "voice",
        "contact_point": {"kind": "phone", "value": number},
    }
    opened = await shop.call("POST", "/v1/conversations", await shop.bearer(OTHER_AGENT), opening)
    talk = Talk(shop, OTHER_AGENT, opened.json()["conversation_id"])
    sent = await challenged(talk)
    await answered(talk, sent.json()["challenge_id"], await shop.code_sent_to(number))
    (row,) = await shop.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=talk.conversation_id)
    talk.subject_id = row["subject_id"]
    assert (await handed_in(talk, signed(shop, carrier, number, to=TSUBAKI_NUMBER))).status_code == 200
    terms = {"brand_id": TSUBAKI, "delegates": [f"agents:{TSUBAKI}"]}
    await shop.mandate(talk, payment_cap=5_000, day_cap=5_000, **terms)

    view = await talk.buy(await shop.checkout(1_000, brand_id=TSUBAKI))

    evidence = await shop.rows("SELECT kind FROM evidence WHERE conversation_id = :c", c=talk.conversation_id)
    assert {one["kind"] for one in evidence} == {"sms_code", "caller_id"}
    assert (view["state"], view.get("by_keypad"), "card_url" in view) == ("needs_card", None, True)


async def test_after_a_refused_card_the_next_one_is_asked_for_on_the_page(shop: Shop, carrier: Signer):
    talk, checkout = await on_the_line(shop, carrier), await shop.checkout(4_000)
    first = await talk.buy(checkout)
    await Guard(shop, talk, first["capture_id"]).key_in(DECLINED_CARD)

    declined, next_one = await talk.buy(checkout), await talk.buy(checkout)

    assert (declined["state"], declined["reason"]) == ("declined", "card_declined")
    assert (next_one["state"], next_one.get("by_keypad")) == ("needs_card", None)
    await shop.type_card(next_one["capture_id"])
    assert (await talk.buy(checkout))["state"] == "paid"


async def test_who_cannot_key_the_card_in_gets_the_page_in_the_same_call(shop: Shop, carrier: Signer):
    talk, checkout = await on_the_line(shop, carrier), await shop.checkout(4_000)
    first = await talk.buy(checkout)
    guard = Guard(shop, talk, first["capture_id"])
    tries = [await guard.key_in(MISTYPED) for _ in range(3)]

    on_page = await talk.buy(checkout)

    assert [view["state"] for view in tries] == ["open", "open", "expired"]
    assert (on_page["state"], on_page.get("by_keypad")) == ("needs_card", None)
    assert on_page["card_url"] == f"{shop.issuer}/captures/{on_page['capture_id']}"


@pytest.mark.control("UC-8.4")
async def test_a_card_that_is_keyed_in_has_no_door(shop: Shop, carrier: Signer):
    talk = await on_the_line(shop, carrier)
    first = await talk.buy(await shop.checkout())

    doors = [await shop.client.get(f"/captures/{one}") for one in (first["capture_id"], "cap_nobody")]

    assert await shop.captures.door(first["capture_id"]) is None
    assert {door.status_code for door in doors} == {404}


@pytest.mark.control("UC-P.3")
async def test_a_brands_rule_may_cap_telephone_orders_and_the_page_is_still_there(new_shop: Shop):
    carrier = read_signer(new_shop.house.keyring.path("sandbox/carrier.pem").read_text())
    await Desk(new_shop).activated(purchase=NO_DEAR_PHONE_ORDERS)
    talk, checkout = await on_the_line(new_shop, carrier), await new_shop.checkout(4_000)

    cheap, dear = await talk.buy(await new_shop.checkout(3_000)), await talk.buy(checkout)
    on_page = await talk.buy(checkout, new_card=True)

    assert (cheap["state"], cheap["by_keypad"]) == ("needs_card", True)
    assert (dear["state"], dear["decision"]["reasons"]) == ("denied", ["tenant_rule"])
    assert (on_page["state"], on_page.get("by_keypad"), "card_url" in on_page) == ("needs_card", None, True)
    assert await recorded_context(new_shop, dear) == {"keyed_by_phone": True}
    assert await recorded_context(new_shop, on_page) == {"keyed_by_phone": False}


async def recorded_context(shop: Shop, view: dict[str, Any]) -> dict[str, Any]:
    body = await recorded(shop, view["decision"]["receipt"]["decision_id"])
    return {name: value for name, value in body["context"].items() if name == "keyed_by_phone"}
