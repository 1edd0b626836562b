"""One-time codes by SMS: who they verify, whom they never verify, and where they are never seen."""

import asyncio
import logging
import re
import secrets

import pytest

from gateway.challenges import CODES_PER_CONTACT
from infra.chassis import logs
from infra.chassis.ids import new_id
from infra.chassis.secret import Secret
from tests.gateway.evidence import level_in, share, use
from tests.gateway.shop import AGENT, LARKSPUR, Shop, Talk, open_shop


def new_number() -> str:
    """One that no other test uses; the block 555-01xx is kept free for stories, the rest is made up."""
    return f"+1555{secrets.randbelow(10**7):07d}"


async def called(shop: Shop, number: str | None, *, kind: str = "phone") -> Talk:
    claim = {"contact_point": {"kind": kind, "value": number}} if number else {}
    opening = {"brand_id": LARKSPUR, "channel": "voice", **claim}
    answer = await shop.call("POST", "/v1/conversations", await shop.bearer(AGENT), opening)
    assert answer.status_code == 201, answer.text
    return Talk(shop, AGENT, answer.json()["conversation_id"])


async def challenged(talk: Talk, method: str = "sms_code", **body: object):
    path = f"/v1/conversations/{talk.conversation_id}/challenges"
    return await talk.call("POST", path, {"method": method, **body})


async def answered(talk: Talk, challenge_id: str, code: str):
    return await talk.call("POST", f"/v1/challenges/{challenge_id}/answers", {"code": code})


async def verified_by_text(shop: Shop, number: str) -> Talk:
    talk = await called(shop, number)
    sent = await challenged(talk)
    assert sent.status_code == 201, sent.text
    answer = await answered(talk, sent.json()["challenge_id"], await shop.code_sent_to(number))
    assert answer.status_code == 200, answer.text
    (row,) = await shop.rows("SELECT subject_id FROM conversations WHERE conversation_id = :c", c=talk.conversation_id)
    talk.subject_id = row["subject_id"]
    return talk


@pytest.mark.control("UC-8.3")
async def test_a_code_by_text_verifies_and_is_never_worth_more(shop: Shop):
    talk = await verified_by_text(shop, new_number())

    assert (await level_in(talk), await use(talk)) == ("verified", True)


async def test_a_text_goes_to_the_number_as_named_and_is_answered_masked(shop: Shop):
    talk = await called(shop, "+1 (555) 867-5309")

    sent = (await challenged(talk)).json()

    assert (sent["method"], sent["sent_to"], sent["tries_left"]) == ("sms_code", "+1•••09", 5)
    assert re.fullmatch(r"\d{6}", await shop.code_sent_to("+15558675309"))


async def test_the_same_number_is_the_same_person_in_the_next_call(shop: Shop):
    number = new_number()

    first, second = [await verified_by_text(shop, number) for _ in range(2)]

    assert first.subject_id == second.subject_id


@pytest.mark.control("UC-8.3")
async def test_a_shared_number_verifies_nobody_and_names_nobody(shop: Shop):
    number = new_number()
    mother, daughter = await verified_by_text(shop, number), await shop.verified_chat()
    await share(shop, "phone", number, daughter)
    talk = await called(shop, number)
    sent = (await challenged(talk)).json()

    refused = await answered(talk, sent["challenge_id"], await shop.code_sent_to(number))

    assert (refused.status_code, refused.json()["code"]) == (409, "contact_point_shared")
    assert not {mother.subject_id, daughter.subject_id, number} & set(re.split(r"[^\w+]", refused.text))
    assert await level_in(talk) == "anonymous"
    assert await level_in(mother) == "anonymous", "what her code showed before is no longer about her alone"
    assert await use(mother) is False


async def test_where_the_line_is_shared_the_person_names_another_contact_point(shop: Shop):
    number, email = new_number(), f"{secrets.token_hex(6)}@example.com"
    mine = await shop.verified_chat(email)
    await verified_by_text(shop, number)
    await share(shop, "phone", number, mine)
    talk = await called(shop, number)

    sent = await challenged(talk, "email_code", contact_point={"kind": "email", "value": email})
    answer = await answered(talk, sent.json()["challenge_id"], await shop.code_sent_to(email))

    assert answer.json()["assurance_level"] == "verified"


async def test_a_code_to_somebody_elses_phone_does_not_make_them_this_conversations_person(shop: Shop):
    number, mine = new_number(), await shop.verified_chat()
    theirs = await verified_by_text(shop, number)
    sent = await challenged(mine, contact_point={"kind": "phone", "value": number})

    refused = await answered(mine, sent.json()["challenge_id"], await shop.code_sent_to(number))

    stored = await shop.rows("SELECT subject_id FROM evidence WHERE conversation_id = :c", c=mine.conversation_id)
    assert (refused.status_code, refused.json()["code"]) == (422, "code_refused")
    assert {row["subject_id"] for row in stored} == {mine.subject_id} != {theirs.subject_id}


@pytest.mark.control("UC-8.3")
async def test_an_agent_cannot_tie_a_phone_of_its_own_to_a_person(shop: Shop):
    """An injected agent names its attacker's phone in a verified conversation and hands in the code sent there."""
    attackers = new_number()
    victim = await shop.verified_chat()
    sent = await challenged(victim, contact_point={"kind": "phone", "value": attackers})

    refused = await answered(victim, sent.json()["challenge_id"], await shop.code_sent_to(attackers))
    later = await verified_by_text(shop, attackers)

    assert refused.status_code == 422
    assert later.subject_id != victim.subject_id


@pytest.mark.parametrize(
    ("number", "method", "body", "status", "code"),
    [
        (None, "sms_code", {}, 409, "challenge_impossible"),
        ("+15558675310", "email_code", {}, 409, "challenge_impossible"),
        ("+15558675310", "sms_code", {"contact_point": {"kind": "email", "value": "a@b.example"}}, 422, None),
        ("+15558675310", "email_code", {"contact_point": {"kind": "phone", "value": "+15558675310"}}, 422, None),
        (
            "+15558675310",
            "sms_code",
            {"contact_point": {"kind": "phone", "value": "+0123456789"}},
            422,
            "contact_point_invalid",
        ),
        ("+15558675310", "carrier_pigeon", {}, 422, "fields_invalid"),
        ("+15558675310", "sms_code", {"level": "strong"}, 422, "fields_invalid"),
        ("+15005550001", "sms_code", {}, 409, "challenge_impossible"),
        ("+15005550009", "sms_code", {}, 409, "challenge_impossible"),
    ],
)
async def test_challenges_that_cannot_be(
    shop: Shop, number: str | None, method: str, body: dict[str, object], status: int, code: str | None
):
    talk = await called(shop, number)

    answer = await challenged(talk, method, **body)

    assert (answer.status_code, answer.json()["code"]) == (status, code or "fields_invalid")


async def test_an_assistant_cannot_name_whom_to_text(shop: Shop):
    talk = await shop.assistant("texted@example.com")

    answer = await challenged(talk, contact_point={"kind": "phone", "value": new_number()})

    assert (answer.status_code, answer.json()["fields"]) == (422, ["contact_point"])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "a@b.example\nx@y.example"),
        ("phone", "+15558675311\n."),  # `$` would match before the line end that the dot leaves behind
        ("phone", "+1555867\n5311"),
    ],
)
async def test_a_contact_point_with_a_line_end_is_none(shop: Shop, kind: str, value: str):
    opening = {"brand_id": LARKSPUR, "channel": "chat", "contact_point": {"kind": kind, "value": value}}

    answer = await shop.call("POST", "/v1/conversations", await shop.bearer(AGENT), opening)

    assert (answer.status_code, answer.json()["code"]) == (422, "contact_point_invalid")


@pytest.mark.control("UC-8.3")
async def test_texts_are_not_sent_to_one_number_without_end_even_all_at_once(shop: Shop):
    number = new_number()
    talks = [await called(shop, number) for _ in range(CODES_PER_CONTACT + 2)]

    answers = await asyncio.gather(*(challenged(talk) for talk in talks))

    assert sorted(answer.status_code for answer in answers) == [201] * CODES_PER_CONTACT + [429] * 2


async def test_an_sms_company_that_does_not_answer_is_a_503_and_the_code_counts_as_sent(shop: Shop):
    number = new_number()
    async with open_shop(shop.ground, texting_url="http://127.0.0.1:9") as cut_off:
        talk = await called(cut_off, number)
        answer = await challenged(talk)

    stored = await shop.rows("SELECT method FROM challenges WHERE conversation_id = :c", c=talk.conversation_id)
    assert (answer.status_code, answer.json()["code"]) == (503, "texting_unreachable")
    assert [row["method"] for row in stored] == ["sms_code"]


async def test_an_sms_company_that_does_not_know_us_is_a_503_that_names_no_account(shop: Shop):
    account = f"AC{'0d' * 16}"
    async with open_shop(shop.ground, texting_account=Secret(f"{account}:wrong")) as stranger:
        answer = await challenged(await called(stranger, new_number()))

    assert (answer.status_code, answer.json()["code"]) == (503, "texting_unreachable")
    assert account not in answer.text


@pytest.mark.control("UC-8.3")
async def test_a_code_is_in_no_log_record_metric_or_error_however_talkative_they_are(
    shop: Shop, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    logs.configure("gateway", "DEBUG")
    caplog.set_level(logging.DEBUG)
    logging.getLogger().addHandler(caplog.handler)
    number, said = new_number(), []
    talk = await called(shop, number)
    sent = (await challenged(talk)).json()
    code = await shop.code_sent_to(number)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    for challenge_id, given in ((sent["challenge_id"], wrong), (new_id("chl"), code), (sent["challenge_id"], code)):
        said.append((await answered(talk, challenge_id, given)).text)
    said.append((await talk.call("POST", f"/v1/challenges/{code}/answers", {"code": code})).text)
    said.append((await talk.call("POST", f"/v1/challenges/{sent['challenge_id']}/answers", {"code": [code]})).text)
    await use(talk)

    said.append((await shop.client.get("/metrics")).text)
    entries = await shop.rows(
        "SELECT convert_from(canonical, 'UTF8') AS entry FROM record_entries"
        " WHERE position(:c IN convert_from(canonical, 'UTF8')) > 0",
        c=talk.conversation_id,
    )
    said += [row["entry"] for row in entries]
    said += [record.getMessage() for record in caplog.records if record.name != "httpx2"]  # this test's own client
    said.append(capsys.readouterr().out)
    assert entries
    assert any(record.levelno == logging.DEBUG for record in caplog.records), "the loggers did talk"
    for told in said:
        assert not re.search(rf"(?<![\d.])({code}|{wrong})(?!\d)", told)
