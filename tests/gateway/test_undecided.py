"""What fails while a decision is made is a deny on record: one failure of each kind, through the front door."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from gateway.__main__ import main
from gateway.contract import Receipt
from gateway.record.entries import Record, origin_of, receipt_holds
from gateway.record.export import export
from gateway.record.notes import verifier_key
from gateway.record.sealer import Sealer
from infra.dev.house import House
from tests.gateway.shop import AUTHZEN_URL, CART, GOOD_CARD, NORTH, POINT, Shop, Talk, open_shop, prepare
from tests.gateway.test_record_no_allow import DIE, MEND, RAISE, broken
from tests.support.database import DatabaseMaker

Owner = Callable[[Shop, str], Awaitable[str]]
BEYOND_JSON = 2**53 + 2
"""RFC 8785 section 3.2.2.3 has no such number."""
KILLED_IN_COMMIT = """
CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER break_it AFTER INSERT ON reservations INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION break_it();
"""


@pytest.fixture(scope="module")
async def shop(house: House, database: DatabaseMaker) -> AsyncIterator[Shop]:
    async with open_shop(await prepare(house, database)) as opened:
        yield opened


def unreadable(talk: Talk) -> str:
    """Rows that PostgreSQL keeps and our program cannot read, as a bug in gathering facts would have it."""
    return f"UPDATE evidence SET expires_at = 'infinity' WHERE conversation_id = '{talk.conversation_id}';"  # noqa: S608 - an id of ours


def beyond_json(checkout: str) -> str:
    return f"UPDATE quotes SET amount_minor = {BEYOND_JSON} WHERE checkout_id = '{checkout}';"  # noqa: S608 - an id of ours


async def bought(talk: Talk) -> int:
    query = "SELECT count(*) AS bought FROM purchases WHERE subject_id = :s"
    (row,) = await talk.shop.rows(query, s=talk.subject_id)
    return int(row["bought"])


async def entries(shop: Shop) -> list[dict[str, Any]]:
    """Bodies of the record, oldest first."""
    rows = await shop.rows("SELECT canonical FROM record_entries ORDER BY entry_id")
    return [json.loads(bytes(row["canonical"]))["body"] for row in rows]


async def counted(shop: Shop, on_record: str) -> int:
    text = (await shop.client.get("/metrics")).text
    found = re.search(rf'gateway_errors_while_deciding_total{{on_record="{on_record}"}} (\d+)', text)
    return int(found.group(1)) if found else 0


def denied(answer: httpx2.Response, status: int = 500, code: str = "error_while_deciding") -> dict[str, Any]:
    """The deny that the problem carries."""
    document = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    decision: dict[str, Any] = document["decision"]
    assert (decision["outcome"], decision["reasons"]) == ("deny", ["evaluation_error"])
    return decision


async def failed_with(shop: Shop, decision: dict[str, Any]) -> dict[str, Any]:
    """The newest entry, which is the one that the answer's receipt is for."""
    entry = (await entries(shop))[-1]
    assert entry["decision_id"] == decision["receipt"]["decision_id"]
    assert (entry["event"], entry["outcome"]) == ("error_while_deciding", "deny")
    return entry


@pytest.mark.control("UC-D.1")
async def test_an_amount_that_canonical_json_cannot_say_is_a_deny_on_record(shop: Shop, as_owner: Owner):
    talk, checkout = await shop.buyer(), await shop.checkout()
    await as_owner(shop, beyond_json(checkout))
    before = await counted(shop, "yes")

    decision = denied(await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART))

    entry = await failed_with(shop, decision)
    assert (entry["error"], entry["action"]) == ("IntegerDomainError", "purchase")
    assert entry["named"] == {"checkout_id": checkout, "conversation_id": talk.conversation_id}
    assert receipt_holds(_receipt(decision), NORTH, shop.ground.keys.record.public_key())
    assert (await shop.taken(talk), await counted(shop, "yes")) == (0, before + 1)


async def everything_asked(talk: Talk, checkout: str) -> dict[str, httpx2.Response]:
    conversation = {"conversation_id": talk.conversation_id}
    return {
        "purchase": await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART),
        "recall": await talk.post("/v1/recalls"),
        "remember": await talk.post("/v1/memories", text="Likes blue"),
        "forget": await talk.post("/v1/erasures"),
        "read_mandates": await talk.call("GET", "/v1/mandates", **conversation),
        "revoke_mandate": await talk.post("/v1/mandates/mnd_of_somebody/revocations"),
        "list_purchases": await talk.call("GET", "/v1/purchases", **conversation),
        "forward": await talk.post("/v1/forward", destination_id="dst_x", template="{}", request_key="once-and-only"),
        "prepare": await talk.post("/v1/recalls/preparations", query="lamps"),
        "enquiry": await talk.post("/v1/decisions", action="recall", tier=1),
        "refund": await talk.post("/v1/purchases/pur_of_somebody/refunds", amount_minor=1, request_key="once-and-only"),
    }


@pytest.mark.control("UC-D.1")
async def test_a_fact_that_cannot_be_read_is_a_deny_on_record_wherever_it_is_asked_for(shop: Shop, as_owner: Owner):
    talk, checkout = await shop.buyer(), await shop.checkout()
    await as_owner(shop, unreadable(talk))
    before = len(await entries(shop))

    answers = await everything_asked(talk, checkout)

    made = (await entries(shop))[before:]
    assert [denied(answer)["receipt"]["decision_id"] for answer in answers.values()] == [
        entry["decision_id"] for entry in made
    ]
    asked = ["recall" if name in {"prepare", "enquiry"} else name for name in answers]
    assert [entry["action"] for entry in made] == asked
    assert {entry["error"] for entry in made} == {"ValueError"}
    assert await shop.taken(talk) == 0


async def test_an_error_of_the_database_after_the_answer_takes_the_allow_back(shop: Shop, as_owner: Owner):
    talk, checkout = await shop.buyer(), await shop.checkout()
    before = len(await entries(shop))
    await as_owner(shop, broken(RAISE, "reservations"))

    entry = await failed_with(shop, denied(await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)))
    await as_owner(shop, MEND)

    assert entry["error"] not in {"", "Exception"}
    assert len(await entries(shop)) == before + 1, "the allow that was written first is gone with its transaction"
    assert await bought(talk) == 0
    assert (await talk.buy(checkout))["state"] == "needs_card"


@pytest.mark.parametrize("harm", [broken(DIE, "reservations"), KILLED_IN_COMMIT], ids=["statement", "commit"])
async def test_a_connection_that_is_killed_is_a_503_and_a_deny_on_record(shop: Shop, as_owner: Owner, harm: str):
    talk, checkout = await shop.buyer(), await shop.checkout()
    await as_owner(shop, harm.replace("SECURITY DEFINER", ""))

    answer = await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART)
    await as_owner(shop, MEND)

    entry = await failed_with(shop, denied(answer, 503, "database_unreachable"))
    assert (answer.headers["retry-after"], entry["error"]) == ("2", "DatabaseUnreachable")
    assert await bought(talk) == 0
    assert (await talk.buy(checkout))["state"] == "needs_card"


async def test_what_cannot_be_recorded_either_allows_nothing_and_is_counted(shop: Shop, as_owner: Owner):
    talk = await shop.verified_chat()
    before, yes, no = len(await entries(shop)), await counted(shop, "yes"), await counted(shop, "no")
    await as_owner(shop, unreadable(talk) + "REVOKE INSERT ON record_entries FROM gateway_app;")

    answer = await talk.post("/v1/recalls")
    await as_owner(shop, "GRANT INSERT ON record_entries TO gateway_app;")

    assert (answer.status_code, answer.json()["code"]) == (503, "record_unavailable")
    assert "decision" not in answer.json()
    assert (await counted(shop, "no"), await counted(shop, "yes")) == (no + 1, yes)
    assert len(await entries(shop)) == before


async def test_an_answer_about_the_request_is_no_error_and_leaves_no_entry(shop: Shop):
    talk = await shop.verified_chat()
    before = len(await entries(shop))

    answers = [
        await talk.post("/v1/purchases", checkout_id="cko_nobody_knows", cart_sha256=CART),
        await talk.call("POST", "/v1/recalls", {"conversation_id": "cnv_nobody_knows"}),
        await talk.call("POST", "/v1/recalls", {}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 422]
    assert len(await entries(shop)) == before


async def test_an_id_that_looks_like_a_card_is_not_written_down(shop: Shop, as_owner: Owner):
    talk = await shop.verified_chat()
    await as_owner(shop, unreadable(talk))

    written = (GOOD_CARD, "__".join(re.findall("....", GOOD_CARD)))
    refused = [
        await talk.post("/v1/decisions", action="revoke_mandate", mandate_id=f"mnd_{digits}") for digits in written
    ]
    in_words = f"{GOOD_CARD[:12]}_four_two_four_two"
    asked = {"action": "revoke_mandate", "mandate_id": f"mnd_{in_words}"}
    entry = await failed_with(shop, denied(await talk.post("/v1/decisions", **asked)))

    assert [answer.status_code for answer in refused] == [422, 422], "written in digits alone it is no id at all"
    assert entry["named"] == {"conversation_id": talk.conversation_id}
    assert in_words not in json.dumps(entry)


async def test_an_enforcement_point_gets_no_decision_and_the_deny_is_on_record(shop: Shop, as_owner: Owner):
    talk = await shop.verified_chat()
    await as_owner(shop, unreadable(talk))
    transport = httpx2.ASGITransport(app=shop.gateway.authzen)  # type: ignore[arg-type]  # two spellings of ASGI

    async with httpx2.AsyncClient(transport=transport, base_url=AUTHZEN_URL) as point:
        answer = await point.post(
            "/access/v1/evaluation",
            headers={"Authorization": f"Bearer {await shop.bearer(POINT)}"},
            json={
                "subject": {"type": "conversation", "id": talk.conversation_id},
                "action": {"name": "recall"},
                "resource": {"type": "memories", "id": f"{talk.conversation_id}:1"},
            },
        )

    assert (await failed_with(shop, denied(answer)))["action"] == "recall"


@pytest.mark.control("UC-D.14")
async def test_replay_and_the_offline_check_take_such_entries(
    shop: Shop, as_owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    talk = await shop.buyer()
    await talk.buy(await shop.checkout())
    checkout = await shop.checkout()
    await as_owner(shop, beyond_json(checkout))
    decision = denied(await talk.post("/v1/purchases", checkout_id=checkout, cart_sha256=CART))
    record = Record(shop.ground.keys.record, shop.ground.clock)
    await Sealer(shop.gateway.engine, record).seal(NORTH)
    file, receipt, url = tmp_path / "record.ndjson", tmp_path / "receipt.json", tmp_path / "url"
    file.write_bytes(b"".join([part async for part in export(shop.gateway.engine, record, NORTH)]))
    receipt.write_text(json.dumps(decision["receipt"]), encoding="utf-8")
    url.write_text(shop.ground.app_dsn, encoding="utf-8")
    monkeypatch.setenv("UNDERCROFT_GATEWAY_DATABASE_URL_FILE", str(url))

    key = verifier_key(origin_of(NORTH), record.public_key)
    checked = main(["record", "verify", str(file), "--key", key, "--receipt", str(receipt)])
    replayed = await asyncio.to_thread(main, ["record", "replay", "--tenant", NORTH])

    assert (checked, replayed) == (0, 0), capsys.readouterr()


def _receipt(decision: dict[str, Any]) -> Receipt:
    return msgspec.convert(decision["receipt"], Receipt)
