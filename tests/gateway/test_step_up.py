"""Step-up in the words of RFC 9470: on the answer, as a status for who prefers it, and at the end an allow."""

import re
import secrets
from typing import Any

import httpx2
import pytest

from gateway.contract import MAX_AGE_SECONDS, LevelName, step_up_challenge
from tests.gateway.evidence import level_in
from tests.gateway.shop import CART, Shop, Talk

VERIFIED = "urn:undercroft:acr:verified"
PREFERS = {"Prefer": "challenge=401"}


def challenge_in(answer: httpx2.Response) -> dict[str, str]:
    """Scheme and parameters (RFC 9110 section 11.2); empty when the answer carries none."""
    header = answer.headers.get("www-authenticate")
    if header is None:
        return {}
    scheme, _, parameters = header.partition(" ")
    return {"scheme": scheme, **dict(re.findall(r'([a-z_]+)="([^"\\]*)"', parameters))}


async def posted(talk: Talk, path: str, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    sent = {"Authorization": f"Bearer {await talk.bearer()}", **(headers or {})}
    return await talk.shop.client.post(path, json={"conversation_id": talk.conversation_id, **body}, headers=sent)


async def test_a_deny_that_a_proof_would_turn_carries_the_challenge_and_stays_an_answer(shop: Shop):
    talk, checkout = await shop.chat("steps-up@example.com"), await shop.checkout()

    answer = await posted(talk, "/v1/purchases", checkout_id=checkout, cart_sha256=CART)

    assert (answer.status_code, answer.json()["decision"]["remedies"][0]["level"]) == (200, "verified")
    assert challenge_in(answer) == {
        "scheme": "Bearer",
        "error": "insufficient_user_authentication",
        "error_description": "The person has to prove who they are, more strongly or more recently",
        "acr_values": VERIFIED,
        "max_age": "43200",
    }


@pytest.mark.parametrize("preference", ["challenge=401", "respond-async, challenge=401", "Challenge=401"])
async def test_who_prefers_it_gets_the_same_answer_as_a_401(shop: Shop, preference: str):
    talk = await shop.chat("prefers@example.com")
    plain = await posted(talk, "/v1/memories", text="Likes blue")

    answer = await posted(talk, "/v1/memories", {"Prefer": preference}, text="Likes blue")

    assert (plain.status_code, answer.status_code) == (200, 401)
    assert answer.headers["preference-applied"] == "challenge=401"
    assert challenge_in(answer) == challenge_in(plain)
    assert answer.json()["decision"]["remedies"] == plain.json()["decision"]["remedies"]
    assert answer.json()["decision"]["receipt"], "it is on record either way"


@pytest.mark.control("UC-8.9")
async def test_denied_challenged_answered_allowed(shop: Shop):
    """The whole way of a caller that follows what it is told, and nothing else."""
    email = f"{secrets.token_hex(6)}@example.com"
    await shop.verified_chat(email)
    talk = await shop.chat(email)
    denied = await posted(talk, "/v1/memories", PREFERS, text="Likes blue")
    (remedy,) = denied.json()["decision"]["remedies"]
    method = remedy["methods"][0]

    sent = await posted_challenge(talk, method)
    code = await shop.code_sent_to(email)
    answered = await talk.call("POST", f"/v1/challenges/{sent['challenge_id']}/answers", {"code": code})
    allowed = await posted(talk, "/v1/memories", PREFERS, text="Likes blue")

    assert denied.status_code == 401
    assert challenge_in(denied)["acr_values"] == f"urn:undercroft:acr:{answered.json()['assurance_level']}"
    assert (allowed.status_code, allowed.json()["decision"]["outcome"]) == (200, "allow")
    assert challenge_in(allowed) == {}
    assert await level_in(talk) == "verified"


async def posted_challenge(talk: Talk, method: str) -> dict[str, Any]:
    path = f"/v1/conversations/{talk.conversation_id}/challenges"
    answer = await talk.call("POST", path, {"method": method})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(("tier", "level", "max_age"), [(3, "strong", "900"), (4, "confirmed", "300")])
async def test_the_challenge_names_the_level_that_is_missing_and_how_old_its_proof_may_be(
    shop: Shop, tier: int, level: str, max_age: str
):
    talk = await shop.verified_chat()

    answer = await posted(talk, "/v1/decisions", action="recall", tier=tier)

    told = challenge_in(answer)
    assert (answer.json()["outcome"], told["acr_values"], told["max_age"]) == (
        "deny",
        f"urn:undercroft:acr:{level}",
        max_age,
    )


async def test_a_deny_that_no_proof_would_turn_is_no_challenge(shop: Shop):
    talk = await shop.buyer(payment_cap=100)
    checkout = await shop.checkout(amount_minor=4_000)

    answer = await posted(talk, "/v1/purchases", PREFERS, checkout_id=checkout, cart_sha256=CART)

    assert (answer.status_code, answer.json()["state"], challenge_in(answer)) == (200, "denied", {})


async def test_an_allowed_recall_is_no_challenge_although_more_could_be_seen(shop: Shop):
    answer = await posted(await shop.verified_chat(), "/v1/recalls", PREFERS)

    assert answer.json()["decision"]["remedies"], "higher tiers are offered"
    assert (answer.status_code, challenge_in(answer)) == (200, {})


@pytest.mark.parametrize("preference", ["challenge=402", "xchallenge=401", "challenge", ""])
async def test_other_preferences_change_nothing(shop: Shop, preference: str):
    answer = await posted(await shop.chat(), "/v1/memories", {"Prefer": preference}, text="Likes blue")

    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


async def test_errors_keep_their_status_and_a_bad_bearer_its_own_challenge(shop: Shop):
    talk = await shop.chat()
    missing = await posted(talk, "/v1/memories", {**PREFERS, "Authorization": "Bearer none"}, text="Likes blue")
    wrong = await posted(talk, "/v1/memories", PREFERS, text=7)

    assert (missing.status_code, wrong.status_code) == (401, 422)
    assert "insufficient_user_authentication" not in missing.headers.get("www-authenticate", "")
    assert "preference-applied" not in missing.headers


def test_a_challenge_names_the_least_level_first_and_nothing_is_no_challenge():
    both = step_up_challenge([LevelName.CONFIRMED, LevelName.STRONG])

    assert both is not None
    assert 'acr_values="urn:undercroft:acr:strong urn:undercroft:acr:confirmed", max_age="900"' in both
    assert step_up_challenge([]) is None


def test_the_ages_are_those_of_the_tiers():
    assert MAX_AGE_SECONDS == {"recognised": 14_400, "verified": 43_200, "strong": 900, "confirmed": 300}
