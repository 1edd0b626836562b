"""Caller id recognises, tells nobody whether a number is known, and is never worth more."""

import asyncio
from typing import Any

import pytest

from infra.sandbox.carrier import Signer, read_signer
from tests.gateway.evidence import level_in, share, use
from tests.gateway.shop import AGENT, LARKSPUR, OTHER_AGENT, SOUTH_AGENT, TSUBAKI, TSUBAKI_NUMBER, Shop, Talk
from tests.gateway.test_text_codes import called, challenged, new_number, verified_by_text

BRAND_NUMBER = "+15557770199"


@pytest.fixture
def carrier(shop: Shop) -> Signer:
    """The house's telephone company."""
    return read_signer(shop.house.keyring.path("sandbox/carrier.pem").read_text())


def signed(shop: Shop, carrier: Signer, number: str, attestation: str = "A", to: str = BRAND_NUMBER) -> str:
    return carrier.identity(number, to, attestation, shop.now)


async def handed_in(talk: Talk, identity: Any):
    return await talk.call("POST", f"/v1/conversations/{talk.conversation_id}/caller-id", {"identity": identity})


async def rung(shop: Shop, carrier: Signer, number: str, **changes: str) -> tuple[Talk, str]:
    """A call from this number, with what the carrier signed handed in; the level that it gave."""
    talk = await called(shop, number)
    answer = await handed_in(talk, signed(shop, carrier, number, **changes))
    assert answer.status_code == 200, answer.text
    return talk, answer.json()["assurance_level"]


async def person(shop: Shop) -> tuple[str, str]:
    """A number and the subject who proved to hold it."""
    number = new_number()
    talk = await verified_by_text(shop, number)
    return number, str(talk.subject_id)


@pytest.mark.control("UC-8.8")
async def test_a_call_with_full_attestation_from_one_persons_number_recognises_them(shop: Shop, carrier: Signer):
    number, _ = await person(shop)

    talk, level = await rung(shop, carrier, number)

    assert (level, await level_in(talk)) == ("recognised", "recognised")


@pytest.mark.control("UC-8.8")
async def test_somebody_recognised_may_be_greeted_and_nothing_else(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    talk, _ = await rung(shop, carrier, number)
    checkout = await shop.checkout()

    recall = (await talk.post("/v1/recalls")).json()
    tiers = [(await talk.post("/v1/decisions", action="recall", tier=tier)).json()["outcome"] for tier in range(5)]
    bought = await talk.buy(checkout)
    kept = (await talk.post("/v1/memories", text="Likes blue")).json()["decision"]
    gone = (await talk.post("/v1/erasures")).json()["decision"]

    assert (recall["assurance_level"], recall["tier_max"]) == ("recognised", 1)
    assert tiers == ["allow", "allow", "deny", "deny", "deny"]
    assert (bought["state"], kept["outcome"], gone["outcome"]) == ("denied", "deny", "deny")
    assert await use(talk) is False
    assert bought["decision"]["remedies"][0] == kept["remedies"][0]
    assert kept["remedies"][0]["level"] == "verified"


async def test_what_a_purchase_is_told_does_not_depend_on_whether_the_caller_is_known(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    known, _ = await rung(shop, carrier, number)
    unknown = await called(shop, new_number())

    views = [await talk.buy(await shop.checkout()) for talk in (known, unknown)]

    assert views[0]["decision"]["reasons"] == views[1]["decision"]["reasons"]
    assert views[0]["decision"]["remedies"] == views[1]["decision"]["remedies"]


@pytest.mark.control("UC-8.8")
@pytest.mark.parametrize("attestation", ["B", "C"])
async def test_less_than_full_attestation_changes_nothing(shop: Shop, carrier: Signer, attestation: str):
    number, _ = await person(shop)

    _, level = await rung(shop, carrier, number, attestation=attestation)

    assert level == "anonymous"


@pytest.mark.control("UC-8.8")
async def test_every_answer_that_recognises_nobody_is_the_same(shop: Shop, carrier: Signer):
    known, _ = await person(shop)
    shared, _ = await person(shop)
    await share(shop, "phone", shared, await shop.verified_chat())
    mine, strange = signed(shop, carrier, known), Signer(carrier.key, "https://elsewhere.test/shaken.pem")
    handed = [
        (new_number(), None),
        (shared, None),
        (known, signed(shop, carrier, known, "C")),
        (known, signed(shop, carrier, new_number())),
        (known, signed(shop, strange, known)),
        (known, mine[:40] + ("A" if mine[40] != "A" else "B") + mine[41:]),
        (known, "I am the carrier, and this is Ada"),
    ]

    answers = []
    for number, identity in handed:
        talk = await called(shop, number)
        answers.append(await handed_in(talk, identity or signed(shop, carrier, number)))

    bodies = [answer.json() | {"conversation_id": ""} for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["assurance_level"] == "anonymous"


@pytest.mark.control("UC-8.8")
async def test_a_passport_is_good_for_one_look_in_the_whole_house(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    identity = signed(shop, carrier, number)
    talks = [await called(shop, number) for _ in range(4)]

    answers = await asyncio.gather(*(handed_in(talk, identity) for talk in talks))
    bare = await handed_in(await called(shop, number), identity.partition(";")[0])

    levels = sorted(answer.json()["assurance_level"] for answer in answers)
    assert levels == ["anonymous", "anonymous", "anonymous", "recognised"]
    assert bare.json()["assurance_level"] == "anonymous", "without its parameters it is the same passport"


@pytest.mark.control("UC-8.8")
async def test_a_line_that_comes_to_be_shared_stops_recognising_at_once(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    talk, before = await rung(shop, carrier, number)

    await share(shop, "phone", number, await shop.verified_chat())

    assert (before, await level_in(talk)) == ("recognised", "anonymous")
    assert (await talk.post("/v1/recalls")).json()["tier_max"] == 0
    assert (await rung(shop, carrier, number))[1] == "anonymous"


async def test_who_answers_a_code_on_anothers_line_is_themselves(shop: Shop, carrier: Signer):
    """The line's owner was recognised; whoever proves to be somebody else is that, and sees nothing of the owner."""
    number, owner = await person(shop)
    mine = await shop.verified_chat("guest-on-the-line@example.com")
    talk, _ = await rung(shop, carrier, number)
    contact = {"kind": "email", "value": "guest-on-the-line@example.com"}
    sent = await challenged(talk, "email_code", contact_point=contact)
    code = await shop.code_sent_to("guest-on-the-line@example.com")

    answer = await talk.call("POST", f"/v1/challenges/{sent.json()['challenge_id']}/answers", {"code": code})

    (row,) = await shop.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=talk.conversation_id)
    assert answer.json()["assurance_level"] == "verified"
    assert row["subject_id"] == mine.subject_id != owner


async def test_a_call_to_another_brand_is_of_no_use_to_this_one(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    claim = {"contact_point": {"kind": "phone", "value": number}}
    levels = []
    for to in (BRAND_NUMBER, TSUBAKI_NUMBER):
        opening = {"brand_id": TSUBAKI, "channel": "voice", **claim}
        opened = await shop.call("POST", "/v1/conversations", await shop.bearer(OTHER_AGENT), opening)
        talk = Talk(shop, OTHER_AGENT, opened.json()["conversation_id"])
        levels.append((await handed_in(talk, signed(shop, carrier, number, to=to))).json()["assurance_level"])

    assert levels == ["anonymous", "recognised"]


@pytest.mark.parametrize(
    "opening",
    [
        {"channel": "chat", "contact_point": {"kind": "phone", "value": "+15558675309"}},
        {"channel": "voice"},
        {"channel": "voice", "contact_point": {"kind": "email", "value": "a@b.example"}},
    ],
    ids=["not a call", "no number", "no phone number"],
)
async def test_caller_id_is_for_calls_that_began_with_their_number(
    shop: Shop, carrier: Signer, opening: dict[str, Any]
):
    opened = await shop.call("POST", "/v1/conversations", await shop.bearer(AGENT), {"brand_id": LARKSPUR, **opening})
    talk = Talk(shop, AGENT, opened.json()["conversation_id"])

    answer = await handed_in(talk, signed(shop, carrier, "+15558675309"))

    assert (answer.status_code, answer.json()["code"]) == (409, "caller_id_impossible")


@pytest.mark.control("UC-7.3")
async def test_other_agents_calls_look_like_missing_ones(shop: Shop, carrier: Signer):
    number, _ = await person(shop)
    talk = await called(shop, number)
    identity = signed(shop, carrier, number)

    answers = [
        await handed_in(Talk(shop, agent, talk.conversation_id), identity) for agent in (OTHER_AGENT, SOUTH_AGENT)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert (await handed_in(talk, identity)).json()["assurance_level"] == "recognised", "and it was not used up"


@pytest.mark.parametrize("identity", ["", "x" * 4_097, 7, None, ["x"]])
async def test_what_is_no_text_of_that_length_is_refused(shop: Shop, identity: Any):
    talk = await called(shop, new_number())

    answer = await handed_in(talk, identity)

    assert (answer.status_code, answer.json()["fields"]) == (422, ["identity"])


async def test_an_assistant_cannot_hand_in_a_caller_id(shop: Shop, carrier: Signer):
    talk = await shop.assistant("rung@example.com")

    answer = await handed_in(talk, signed(shop, carrier, new_number()))

    assert answer.status_code == 404
