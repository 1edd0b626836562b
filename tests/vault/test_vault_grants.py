"""Every call needs a grant: for this service, this act, these parameters, now, once."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.ids import new_id
from tests.support.grants import TestMint, body_of
from tests.vault.bench import JSON, Bench, Person, rows
from vault.contract import is_identifier


@pytest.mark.control("UC-G.1")
async def test_a_call_without_a_grant_is_refused(bench: Bench, ada: Person):
    order = ada.capture()

    answer = await bench.api.post("/v1/captures", content=body_of(order), headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.control("UC-G.1")
async def test_a_grant_is_good_for_one_call(bench: Bench, ada: Person):
    order = ada.capture()
    grant = bench.mint.grant("capture_card", order)

    first = await bench.order_capture(order, grant)
    second = await bench.order_capture(order, grant)

    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (409, "grant_replayed")


@pytest.mark.control("UC-G.1")
async def test_a_grant_is_used_up_by_an_order_that_is_refused(bench: Bench, ada: Person):
    order = ada.charge("tok_missing")
    grant = bench.mint.grant("charge", order)

    first = await bench.charge(order, grant)
    second = await bench.charge(order, grant)

    assert (first.status_code, second.status_code) == (404, 409)


@pytest.mark.control("UC-G.1")
async def test_a_grant_encoded_in_another_way_is_still_the_same_grant(bench: Bench, ada: Person):
    """Base64 has spare bits, so two texts can carry one signature; what counts is the grant's id."""
    order = ada.capture()
    grant = bench.mint.grant("capture_card", order)
    head, _, signature = grant.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = next(
        f"{head}.{signature[:-1]}{letter}"
        for letter in alphabet
        if letter != signature[-1]
        and base64.urlsafe_b64decode(signature[:-1] + letter + "==") == base64.urlsafe_b64decode(signature + "==")
    )

    first = await bench.order_capture(order, grant)
    second = await bench.order_capture(order, twin)

    assert first.status_code == 200
    assert second.status_code in {403, 409}, "refused for its spelling, or as the same grant"


@pytest.mark.control("UC-G.1")
async def test_an_expired_grant_is_refused(bench: Bench, ada: Person):
    order = ada.capture()
    grant = bench.mint.grant("capture_card", order)
    bench.clock.advance(timedelta(seconds=20))

    assert (await bench.order_capture(order, grant)).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "memory"},
        {"aud": ["vault", "memory"]},
        {"iss": "http://127.0.0.1:9999"},
        {"action": "refund"},
        {"tenant": "tnt_other"},
        {"brand": "brd_other"},
        {"sub": "sub_other"},
        {"params_sha256": "0" * 64},
        {"exp": 4_000_000_000},
        {"iat": 4_000_000_000},
        {"jti": None},
        {"act": "agt_test"},
    ],
    ids=lambda claims: next(iter(claims)),
)
@pytest.mark.control("UC-G.1")
async def test_a_grant_for_something_else_is_refused(bench: Bench, ada: Person, claims: dict[str, Any]):
    order = ada.capture()
    grant = bench.mint.forge(bench.mint.grant("capture_card", order), **claims)

    answer = await bench.order_capture(order, grant)

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")
    assert await rows(bench.databases.app_dsn, "SELECT * FROM captures", ada.tenant_id) == []


@pytest.mark.control("UC-G.1")
async def test_a_grant_signed_by_somebody_else_is_refused(bench: Bench, ada: Person):
    order = ada.capture()
    genuine = bench.mint.grant("capture_card", order)
    stranger = TestMint(bench.clock, "vault").grant("capture_card", order)
    under_our_name = bench.mint.forge(genuine, key=Ed25519PrivateKey.generate())
    unsigned = ".".join((*genuine.split(".")[:2], ""))

    answers = [await bench.order_capture(order, grant) for grant in (stranger, under_our_name, unsigned, "x", "a.b.c")]

    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"brand_name": "Larkspur & Vale "}, {"currency": "EUR"}])
@pytest.mark.control("UC-G.1")
async def test_a_grant_holds_for_exactly_the_order_it_was_minted_for(bench: Bench, ada: Person, change: dict[str, Any]):
    capture_id, purchase_id = new_id("cap"), new_id("pur")
    granted = ada.capture(capture_id=capture_id, purchase_id=purchase_id)
    sent = ada.capture(**{"capture_id": capture_id, "purchase_id": purchase_id, **change})

    answer = await bench.order_capture(sent, bench.mint.grant("capture_card", granted))

    assert answer.status_code == 403


@pytest.mark.control("UC-G.1")
async def test_each_route_takes_only_grants_for_its_own_act(bench: Bench, ada: Person):
    paid = await bench.paid_charge(ada)
    charge, refund = ada.charge(paid.token_id), ada.refund(paid.charge_id, 1)

    answers = [
        await bench.charge(charge, bench.mint.grant("refund", charge)),
        await bench.refund(refund, bench.mint.grant("charge", refund)),
        await bench.show_capture(ada.capture(), bench.mint.grant("capture_card", ada.capture())),
    ]

    assert {answer.status_code for answer in answers} == {403}


async def test_redeemed_grants_are_forgotten_only_long_after_they_expired(alone: Bench, ada: Person):
    await alone.order_capture(ada.capture())
    counted = "SELECT count(tenant_id) AS n FROM redeemed_grants"
    alone.clock.advance(timedelta(days=2))

    await alone.vault.reconciler.run_once()
    hasty = await rows(alone.databases.app_dsn, counted, ada.tenant_id)

    assert hasty == [{"n": 1}], "the database itself keeps what expired less than an hour ago"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"capture_id": "cap_a", "capture_id": "cap_b"}', "body_invalid"),
        (b'{"amount_minor": NaN}', "body_invalid"),
        (b"not json", "body_invalid"),
        (b"{}", "fields_invalid"),
        (b"[" * 100_000, "body_too_large"),
    ],
    ids=["duplicate key", "nan", "not json", "missing fields", "too large"],
)
@pytest.mark.control("UC-E.1")
async def test_a_body_that_is_not_an_order_is_refused_with_a_problem(bench: Bench, body: bytes, code: str):
    answer = await bench.api.post("/v1/charges", content=body, headers={**JSON, "Undercroft-Grant": "x"})

    assert answer.json()["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.control("UC-3.3", "UC-L.1")
async def test_a_card_number_in_an_order_is_refused_and_not_repeated(bench: Bench, ada: Person):
    order = ada.charge("tok_missing")
    body = body_of(order).replace(b'"tok_missing"', b'"tok_missing","number":"4242424242424242"')
    other = body_of(order).replace(b'"USD"', b'"4242424242424242"')

    answers = [
        await bench.api.post("/v1/charges", content=content, headers={**JSON, "Undercroft-Grant": "x"})
        for content in (body, other)
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert not any("4242" in answer.text for answer in answers)


@pytest.mark.parametrize("between", ["", "_", "__", "_" * 3])
@pytest.mark.control("UC-3.3")
async def test_an_id_holds_no_card_number_whatever_parts_its_digits(bench: Bench, ada: Person, between: str):
    """Thirteen digits are the shortest number there is. What of sixteen is parted by three is too long for an id."""
    whole, short = (between.join("4222222222222"[:length]) for length in (13, 12))
    order = body_of(ada.charge("tok_missing"))
    headers = {**JSON, "Undercroft-Grant": "x"}

    answers = [
        await bench.api.post(
            "/v1/charges", content=order.replace(b"tok_missing", b"tok_" + digits.encode()), headers=headers
        )
        for digits in (whole, short)
    ]

    assert [answer.status_code for answer in answers] == [422, 403]
    assert whole not in answers[0].text
    assert not is_identifier(f"tok_{whole}")
    assert is_identifier(f"tok_{short}")
    with pytest.raises(ValueError, match="as many digits as a card number"):
        ada.charge(f"tok_{whole}")
