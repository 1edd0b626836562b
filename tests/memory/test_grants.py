"""What the receiving side of a grant refuses; the same code stands in front of the vault."""

import asyncio
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.memory.conftest import ISSUER, Bench, Subject
from tests.support.grants import TestMint


@pytest.mark.control("UC-G.1")
async def test_a_grant_is_used_once(bench: Bench, ada: Subject):
    order = ada.memory("Likes tea")
    grant = bench.grant("remember", order)

    first, second = await bench.send("remember", order, grant), await bench.send("remember", order, grant)

    assert first.status_code == 201
    assert (second.status_code, second.json()["code"]) == (409, "grant_replayed")


@pytest.mark.control("UC-G.1")
async def test_ten_uses_at_once_of_one_grant_are_one_use(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Likes coffee"))
    order = ada.recall()
    grant = bench.grant("recall", order)

    answers = await asyncio.gather(*(bench.send("recall", order, grant) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9


@pytest.mark.control("UC-G.1")
async def test_a_grant_for_other_parameters_is_refused(bench: Bench, ada: Subject):
    order, other = ada.memory("Likes tea"), ada.memory("Likes coffee")

    answer = await bench.send("remember", other, bench.grant("remember", order))

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")
    assert await bench.texts(ada) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"audience": "vault"},
        {"tenant_id": "tnt_other"},
        {"brand_id": "brd_other"},
        {"subject_id": "sub_other"},
    ],
)
@pytest.mark.control("UC-G.1")
async def test_a_grant_for_somewhere_or_someone_else_is_refused(bench: Bench, ada: Subject, changes: dict[str, str]):
    order = ada.recall()

    answer = await bench.send("recall", order, bench.grant("recall", order, **changes))

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")


@pytest.mark.control("UC-G.1")
async def test_a_grant_for_another_act_is_refused(bench: Bench, ada: Subject):
    order = ada.recall()

    answer = await bench.send("recall", order, bench.grant("forget", order))

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")


@pytest.mark.control("UC-G.1")
async def test_an_expired_grant_is_refused(bench: Bench, ada: Subject):
    order = ada.recall()
    grant = bench.grant("recall", order)
    bench.clock.advance(timedelta(seconds=31))

    answer = await bench.send("recall", order, grant)

    assert answer.status_code == 403


@pytest.mark.control("UC-G.1")
async def test_a_grant_from_the_future_is_refused(bench: Bench, ada: Subject):
    order = ada.recall()
    bench.clock.advance(timedelta(minutes=1))
    grant = bench.grant("recall", order)
    bench.clock.advance(timedelta(minutes=-1))

    answer = await bench.send("recall", order, grant)

    assert answer.status_code == 403


@pytest.mark.parametrize("grant", ["", "x", "a.b.c", "é.b.c", "e" * 5000])
async def test_nonsense_is_refused(bench: Bench, ada: Subject, grant: str):
    answer = await bench.client.post(
        "/v1/recalls",
        content=b"{}",
        headers=[(b"content-type", b"application/json"), (b"undercroft-grant", grant.encode())],
    )

    assert answer.status_code in {403, 422}


async def test_no_grant_at_all_is_refused(bench: Bench, ada: Subject):
    answer = await bench.client.post(
        "/v1/recalls",
        json={"tenant_id": "tnt_a", "brand_id": "brd_a", "subject_id": "sub_a", "query": "", "tier_max": 4},
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "grant_refused")


@pytest.mark.control("UC-G.1")
async def test_a_grant_signed_by_another_key_is_refused(bench: Bench, ada: Subject):
    order = ada.recall()
    grant = TestMint(bench.clock, "memory", ISSUER, sender=bench.mint.sender).grant("recall", order)

    answer = await bench.send("recall", order, grant)

    assert answer.status_code == 403


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}, {"typ": "at+jwt"}])
@pytest.mark.control("UC-G.1")
async def test_another_algorithm_or_type_is_refused(bench: Bench, ada: Subject, header: dict[str, str]):
    order = ada.recall()
    good = bench.grant("recall", order)
    claims = jwt.decode(good, options={"verify_signature": False})
    kept = jwt.get_unverified_header(good) | header
    signing = "x" * 64 if kept["alg"] == "HS256" else ""
    if kept["alg"] == "EdDSA":
        forged = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=kept)
    else:
        forged = jwt.encode(claims, signing, algorithm=kept["alg"], headers=kept)

    answer = await bench.send("recall", order, forged)

    assert answer.status_code == 403
