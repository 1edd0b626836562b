"""Cards keyed in on the telephone: what the vault takes from the media guard, and what it refuses."""

import asyncio
import json
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.sandbox.running import APPROVES
from tests.vault.bench import FORM, JSON, Bench, Person, rows
from tests.vault.phone import Guard, card_of, envelope
from vault.captures import KEYED_ATTEMPTS_MAX
from vault.cleartext.hpke import PagePublicKey, SealedFor, SealSuite, seal_form
from vault.cleartext.pan import CardFlaw
from vault.contract import CaptureChannel
from vault.keyed.wire import KeyedFlaw

AMEX = "378282246310005"
MISTYPED = "4242424242424241"
WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"number": MISTYPED}, ["number_invalid"]),
    ({"number": ""}, ["number_missing"]),
    ({"number": "424242424242"}, ["number_incomplete"]),
    ({"number": AMEX[:-1], "code": "1234"}, ["number_incomplete"]),
    ({"number": "9999999999999995"}, ["number_unsupported"]),
    ({"expiry": "1340"}, ["expiry_invalid"]),
    ({"expiry": "0120"}, ["expiry_past"]),
    ({"expiry": "1299"}, ["expiry_too_far"]),
    ({"expiry": ""}, ["expiry_missing"]),
    ({"code": ""}, ["code_missing"]),
    ({"code": "1234"}, ["code_length"]),
    ({"number": AMEX, "code": "123"}, ["code_length"]),
    ({"number": MISTYPED, "expiry": "", "code": ""}, ["number_invalid", "expiry_missing", "code_missing"]),
    ({"number": "4242 4242 4242 4242"}, ["sealed_unreadable"]),
    ({"number": "４２４２４２４２４２４２４２４２"}, ["sealed_unreadable"]),  # noqa: RUF001 - digits no keypad has
    ({"code": "12#"}, ["sealed_unreadable"]),
    ({"holder": "Ada Byron"}, ["sealed_unreadable"]),
    ({"expiry": 1240}, ["sealed_unreadable"]),
]
"""What a caller keyed in, beside what is right, and what is said about it."""
NEVER_KEYED = {CardFlaw.HOLDER_MISSING, CardFlaw.HOLDER_INVALID}


@pytest.fixture
def guard(bench: Bench) -> Guard:
    return Guard(bench)


async def cards_of(bench: Bench, person: Person) -> list[dict[str, Any]]:
    return await rows(bench.databases.owner_dsn, "SELECT * FROM cards", person.tenant_id)


@pytest.mark.parametrize("suite", SealSuite)
@pytest.mark.parametrize(("number", "brand"), [(APPROVES, "visa"), (AMEX, "amex")])
async def test_a_keyed_card_becomes_a_token(
    bench: Bench, ada: Person, guard: Guard, suite: SealSuite, number: str, brand: str
):
    order = await guard.ordered(ada)

    view = await guard.key_in(order, number, suite)
    shown = (await bench.show_capture(order)).json()

    assert re.fullmatch(r"tok_[a-z]{26}", view["token_id"])
    assert (view["state"], view["flaws"], view["card_brand"], view["last4"]) == ("completed", [], brand, number[-4:])
    assert [shown[name] for name in ("state", "token_id", "last4")] == ["completed", view["token_id"], number[-4:]]
    assert 'vault_keyed_cards_total{answer="taken"} 1.0' in (await bench.api.get("/metrics")).text


@pytest.mark.control("UC-P.2")
async def test_what_is_wrong_is_said_by_its_field_and_never_by_its_value(bench: Bench, ada: Person, guard: Guard):
    for keyed, flaws in WRONG:
        order = await guard.ordered(ada)

        answer = await guard.hand_in(order, await guard.sealed(order, **keyed))
        view = answer.json()

        assert (view["state"], view["flaws"], view["tries_left"]) == ("open", flaws, KEYED_ATTEMPTS_MAX - 1), keyed
        assert not re.search(r"\d{3}", answer.text)
    assert await cards_of(bench, ada) == []


def test_whatever_can_be_wrong_with_a_keyed_card_has_a_word():
    assert {flaw.value for flaw in CardFlaw} - {flaw.value for flaw in NEVER_KEYED} == {
        flaw.value for flaw in KeyedFlaw if flaw is not KeyedFlaw.SEALED_REPLAYED
    }


@pytest.mark.control("UC-P.2")
async def test_after_three_tries_a_right_card_is_too_late(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    right = await guard.sealed(order)
    wrong = [await guard.key_in(order, MISTYPED) for _ in range(KEYED_ATTEMPTS_MAX)]

    late = (await guard.hand_in(order, right)).json()
    keys = await guard.keys(order)

    assert [(view["state"], view["tries_left"]) for view in wrong] == [("open", 2), ("open", 1), ("expired", 0)]
    assert wrong[-1]["flaws"] == ["number_invalid"]
    assert (late["state"], late["flaws"], late["token_id"]) == ("expired", [], None)
    assert (keys.status_code, keys.json()["code"]) == (409, "capture_closed")
    assert (await bench.show_capture(order)).json()["state"] == "expired"
    assert await cards_of(bench, ada) == []


async def test_of_nine_wrong_cards_at_once_three_are_told_what_is_wrong(ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    sealed = [await guard.sealed(order, MISTYPED) for _ in range(9)]

    views = [answer.json() for answer in await asyncio.gather(*(guard.hand_in(order, one) for one in sealed))]

    assert sorted(len(view["flaws"]) for view in views) == [0] * 6 + [1] * 3


async def test_of_four_right_cards_at_once_one_is_stored_and_all_are_told_its_token(
    bench: Bench, ada: Person, guard: Guard
):
    order = await guard.ordered(ada)
    sealed = [await guard.sealed(order) for _ in range(4)]

    views = [answer.json() for answer in await asyncio.gather(*(guard.hand_in(order, one) for one in sealed))]

    (card,) = await cards_of(bench, ada)
    assert {(view["state"], view["token_id"]) for view in views} == {("completed", card["token_id"])}


async def test_a_capture_that_has_its_card_answers_with_that_one_and_takes_no_other(
    bench: Bench, ada: Person, guard: Guard
):
    order = await guard.ordered(ada)
    other = await guard.sealed(order, AMEX)
    first = await guard.key_in(order)

    again = (await guard.hand_in(order, other)).json()

    assert (again["token_id"], again["last4"]) == (first["token_id"], "4242")
    assert len(await cards_of(bench, ada)) == 1


async def test_a_capture_whose_time_is_over_takes_no_card(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    sealed = await guard.sealed(order)
    bench.clock.advance(timedelta(minutes=15))

    view = (await guard.hand_in(order, sealed)).json()

    assert (view["state"], view["tries_left"]) == ("expired", 0)
    assert await cards_of(bench, ada) == []


@pytest.mark.control("UC-P.2", "UC-4.2")
async def test_an_envelope_recorded_on_its_way_is_good_for_nothing_later(bench: Bench, ada: Person, guard: Guard):
    """Handed in again to its own capture, and to another of the same person; with grants of their own."""
    order, other = await guard.ordered(ada), await guard.ordered(ada)
    recorded = await guard.sealed(order, MISTYPED)
    first = (await guard.hand_in(order, recorded)).json()

    replayed = (await guard.hand_in(order, recorded)).json()
    moved = (await guard.hand_in(other, await guard.sealed(order))).json()

    assert first["flaws"] == ["number_invalid"]
    assert (replayed["flaws"], replayed["tries_left"]) == (["sealed_replayed"], 1)
    assert moved["flaws"] == ["sealed_unreadable"]
    assert await cards_of(bench, ada) == []


@pytest.mark.control("UC-P.2", "UC-4.2")
async def test_a_form_of_the_page_is_no_keyed_card_and_a_keyed_card_no_form(bench: Bench, ada: Person, guard: Guard):
    """Both are sealed under the same keys; what they are is part of what they are bound to."""
    by_phone, on_page = await guard.ordered(ada), ada.capture()
    await bench.order_capture(on_page)
    await bench.enter(on_page)
    page = (await bench.page(on_page)).text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf is not None
    key = await guard.key(by_phone)
    form_place = SealedFor(by_phone.tenant_id, by_phone.capture_id)
    as_form = PagePublicKey(key.suite, key.key_id, key.public_key, key.info.replace("keyed-card-1", "card-form-2"))
    keyed = seal_form(json.dumps(card_of(APPROVES)).encode(), key)
    fields = {"csrf": csrf[1], "sealed_kid": keyed.key_id, "sealed_enc": keyed.enc, "sealed_ct": keyed.ct}

    refused = (await guard.hand_in(by_phone, envelope(as_form, card_of(APPROVES)))).json()
    posted = await bench.browser.post(
        f"/captures/{on_page.capture_id}", data=fields, headers={"origin": bench.page_url}
    )

    assert as_form.info.startswith(form_place.schema)
    assert refused["flaws"] == ["sealed_unreadable"]
    assert posted.status_code == 422
    assert await cards_of(bench, ada) == []


@pytest.mark.control("UC-P.2")
async def test_an_envelope_that_was_touched_does_not_open(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    card, other = await guard.sealed(order), await guard.sealed(order, suite=SealSuite.X25519)
    touches = [{"enc": other.enc}, {"ct": other.ct}, {"key_id": other.key_id}]
    touches += [{"key_id": "pgk_never"}, {"enc": "AAAA"}, {"ct": "not base64!"}, {"ct": f"AAAA{card.ct[4:]}"}]

    for touch in touches:
        order = await guard.ordered(ada)
        view = (await guard.hand_in(order, msgspec.structs.replace(await guard.sealed(order), **touch))).json()

        assert view["flaws"] == ["sealed_unreadable"], touch
    assert await cards_of(bench, ada) == []


@pytest.mark.control("UC-P.2", "UC-8.4")
async def test_a_grant_takes_one_envelope_for_one_capture_once(bench: Bench, ada: Person, guard: Guard):
    order, other = await guard.ordered(ada), await guard.ordered(ada)
    card, second = await guard.sealed(order), await guard.sealed(order)
    used = guard.granted(order, card)

    answers = [
        await guard.hand_in(order, second, guard.granted(order, card)),
        await guard.hand_in(other, card, guard.granted(order, card)),
        await guard.hand_in(order, card, bench.mint.grant("take_keyed", order, {"capture_id": order.capture_id})),
        await guard.hand_in(order, card, bench.mint.grant("capture_card", order, guard.named(order, card))),
        await guard.hand_in(order, card, guard.granted(order, card, audience="memory")),
        await guard.hand_in(order, card, ""),
        await guard.hand_in(order, card, used),
        await guard.hand_in(order, card, used),
        await guard.keys(order, bench.mint.grant("offer_keys", other, {"capture_id": other.capture_id})),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403, 403, 403, 200, 409, 403]
    assert len(await cards_of(bench, ada)) == 1


@pytest.mark.control("UC-7.3")
async def test_another_persons_capture_is_not_there(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    card = await guard.sealed(order)
    whose: dict[str, Any] = {"tenant_id": ada.tenant_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    strangers = [Person(**(whose | {name: f"{name[:3]}_other"})) for name in whose]
    theirs = [stranger.capture(capture_id=order.capture_id) for stranger in strangers]

    answers = [await guard.hand_in(stranger, card) for stranger in theirs]
    answers += [await guard.keys(stranger) for stranger in theirs]
    answers.append(await guard.hand_in(ada.capture(), card))

    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps({**answer.json(), "request_id": ""}) for answer in answers}) == 1
    assert (await bench.show_capture(order)).json()["state"] == "open"


async def test_a_card_is_keyed_in_for_a_capture_by_phone_and_for_none_on_the_page(
    bench: Bench, ada: Person, guard: Guard
):
    on_page, by_phone = await guard.ordered(ada, channel=CaptureChannel.PAGE), await guard.ordered(ada)
    card = await guard.sealed(by_phone)

    answers = [await guard.hand_in(on_page, card), await guard.keys(on_page)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(409, "capture_not_by_phone")}
    assert await cards_of(bench, ada) == []


@pytest.mark.control("UC-8.4")
async def test_no_browser_gets_into_a_capture_by_phone(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)

    entered = await bench.enter(order)
    shown = await bench.page(order)
    posted = await bench.browser.post(
        f"/captures/{order.capture_id}",
        data={"number": APPROVES},
        headers={"origin": bench.page_url, "cookie": f"capture={ada.tenant_id}.x"},
    )

    assert [answer.status_code for answer in (entered, shown, posted)] == [410, 410, 410]
    assert "set-cookie" not in entered.headers
    (row,) = await rows(bench.databases.owner_dsn, "SELECT browser_hash, attempts FROM captures", ada.tenant_id)
    assert row == {"browser_hash": None, "attempts": 0}


async def test_how_the_card_comes_in_is_part_of_the_order_and_of_its_grant(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    on_page = msgspec.structs.replace(order, channel=CaptureChannel.PAGE)

    other = await bench.order_capture(on_page)
    signed_for_the_page = await bench.order_capture(order, bench.mint.grant("capture_card", on_page))
    by_fax = {**msgspec.to_builtins(order), "channel": "fax"}
    sent = {**JSON, **bench.mint.headers(bench.mint.grant("capture_card", order, by_fax), "POST", "/v1/captures")}
    unknown = await bench.api.post("/v1/captures", content=msgspec.json.encode(by_fax), headers=sent)

    assert (other.status_code, other.json()["code"]) == (409, "capture_id_reused")
    assert (signed_for_the_page.status_code, unknown.status_code) == (403, 422)


async def test_what_is_no_envelope_is_refused_without_being_repeated(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    card = msgspec.to_builtins(await guard.sealed(order))
    bodies = [
        {**card, "number": APPROVES},
        {**card, "ct": APPROVES},
        {**card, "ct": "A" * 2_801},
        {"key_id": card["key_id"], "enc": card["enc"]},
        {**card, "enc": 4242424242424242},
    ]

    answers = [await guard.hand_in(order, body) for body in bodies]
    path = f"/v1/captures/{order.capture_id}/keyed"
    too_large = await bench.api.post(path, content=b'{"ct": "' + b"A" * 200_000, headers={**FORM})

    assert [answer.status_code for answer in answers] == [422] * 5
    assert all(APPROVES not in answer.text for answer in answers)
    assert too_large.status_code in {400, 403, 413, 415}
    assert (await bench.show_capture(order)).json()["state"] == "open"


async def test_the_other_listeners_have_no_such_route(bench: Bench, ada: Person, guard: Guard):
    order = await guard.ordered(ada)
    paths = (f"/v1/captures/{order.capture_id}/keyed", f"/v1/captures/{order.capture_id}/keys")

    answers = [await client.post(path) for client in (bench.browser, bench.webhooks) for path in paths]

    assert {answer.status_code for answer in answers} == {404}
