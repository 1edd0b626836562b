"""Lists through the front door, and over random databases the same as deciding row by row."""

import asyncio
import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.callers import CallerKind
from gateway.cedar import Cedar, Question
from gateway.contract import AssuranceLevel
from gateway.facts import PersonFacts, seconds
from gateway.listing import (
    CONVERSATION_TABLE,
    MANDATE_TABLE,
    PURCHASE_TABLE,
    Page,
    Table,
    question_in,
    question_of,
    seen,
)
from gateway.rows import columns_of, entity_of
from tests.gateway.given import agent, conversation
from tests.gateway.shop import LARKSPUR, NORTH, OTHER_AGENT, SOUTH_AGENT, SOUTHERN, TSUBAKI, Shop, Talk
from tests.support.cases import always
from tests.support.waiting import BUSY_SECONDS_MAX

CEDAR = Cedar.load()


async def listed(talk: Talk, path: str = "/v1/purchases", **query: str) -> dict[str, Any]:
    named = {"conversation_id": talk.conversation_id} if path != "/v1/conversations" else {}
    answer = await talk.call("GET", path, **{**named, **query})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_agent_sees_what_the_person_in_its_conversation_bought_newest_first(shop: Shop):
    ada = await shop.buyer("ada-list@example.com", payment_cap=9_000, day_cap=50_000)
    eve = await shop.buyer("eve-list@example.com")
    bought = [(await shop.paid(ada, await shop.checkout(1_000 + place)))["purchase_id"] for place in range(3)]
    waiting = (await eve.buy(await shop.checkout()))["purchase_id"]

    hers, others = await listed(ada), await listed(eve)

    assert hers["decision"]["outcome"] == "allow"
    assert [one["purchase_id"] for one in hers["purchases"]] == bought[::-1]
    assert hers["next_after"] is None
    assert hers["purchases"][0] | {"created_at": "", "paid_at": "", "checkout_id": ""} == {
        "purchase_id": bought[2],
        "checkout_id": "",
        "brand_id": LARKSPUR,
        "state": "paid",
        "amount_minor": 1_002,
        "currency": "USD",
        "created_at": "",
        "paid_at": "",
        "card": {"card_brand": "visa", "last4": "4242"},
    }
    assert [one["purchase_id"] for one in others["purchases"]] == [waiting]


@pytest.mark.control("UC-7.5")
async def test_a_list_that_goes_on_says_so_and_nothing_is_left_out(shop: Shop):
    ada = await shop.buyer(payment_cap=9_000, day_cap=50_000)
    bought = {(await ada.buy(await shop.checkout(1_000)))["purchase_id"] for _ in range(5)}

    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        page = await listed(ada, limit="2", **after)
        pages.append([one["purchase_id"] for one in page["purchases"]])
        if page["next_after"] is None:
            break
        after = {"after": page["next_after"]}

    assert [len(page) for page in pages] == [2, 2, 1]
    assert {one for page in pages for one in page} == bought


async def test_an_assistant_sees_its_own_persons_purchases_only(shop: Shop):
    ada = await shop.assistant("ada-asks@example.com")
    await shop.mandate(ada, payment_cap=9_000, day_cap=9_000)
    purchase_id = (await ada.buy(await shop.checkout()))["purchase_id"]
    eve = await shop.assistant("eve-asks@example.com")

    assert [one["purchase_id"] for one in (await listed(ada))["purchases"]] == [purchase_id]
    assert (await listed(eve))["purchases"] == []
    assert (await eve.call("GET", "/v1/purchases", conversation_id=ada.conversation_id)).status_code == 404


async def test_somebody_not_verified_sees_nothing_and_is_told_what_would_help(shop: Shop):
    talk = await shop.chat("stranger@example.com")

    page = await listed(talk)

    assert (page["purchases"], page["next_after"]) == ([], None)
    assert page["decision"]["reasons"] == ["assurance_too_low", "subject_unknown"]
    assert page["decision"]["remedies"][0]["kind"] == "step_up"


async def test_an_agent_sees_the_open_conversations_that_it_holds(shop: Shop):
    mine, closed = await shop.chat(), await shop.chat()
    theirs = await shop.chat(agent=OTHER_AGENT, brand_id=TSUBAKI)
    south = await shop.chat(agent=SOUTH_AGENT, brand_id=SOUTHERN)
    await closed.call("DELETE", f"/v1/conversations/{closed.conversation_id}")

    seen_by = {}
    for talk in (mine, theirs, south):
        page = await listed(talk, "/v1/conversations", limit="100")
        seen_by[talk.agent] = {one["conversation_id"]: one["brand_id"] for one in page["conversations"]}

    assert seen_by[mine.agent][mine.conversation_id] == LARKSPUR
    assert closed.conversation_id not in seen_by[mine.agent]
    assert set(seen_by[mine.agent].values()) == {LARKSPUR}
    assert seen_by[OTHER_AGENT][theirs.conversation_id] == TSUBAKI
    assert not seen_by[mine.agent].keys() & (seen_by[OTHER_AGENT].keys() | seen_by[SOUTH_AGENT].keys())


async def test_what_was_shown_is_in_the_record(shop: Shop):
    ada = await shop.buyer()
    purchase_id = (await ada.buy(await shop.checkout()))["purchase_id"]

    decision_id = (await listed(ada))["decision"]["receipt"]["decision_id"]

    (entry,) = await shop.rows(
        "SELECT convert_from(canonical, 'UTF8')::json -> 'body' AS body FROM record_entries"
        " WHERE convert_from(canonical, 'UTF8')::json -> 'body' ->> 'event' = 'listed'"
        " AND convert_from(canonical, 'UTF8')::json -> 'body' ->> 'decision_id' = :d",
        d=decision_id,
    )
    assert entry["body"]["rows"] == [purchase_id]
    assert entry["body"]["policy_sha256"] == CEDAR.sha256_for("see_purchase")


def cursor(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"after": "nonsense"},
        {"after": "é"},
        {"after": cursor("1 pur_x' OR 1=1")},
        {"after": cursor("-1 pur_x")},
        {"after": cursor("9" * 18 + " pur_x")},
        {"after": "A" * 5_000},
        {"limit": "0"},
        {"limit": "101"},
        {"state": "paid"},
        {"brand_id": LARKSPUR},
    ],
)
async def test_a_page_that_makes_no_sense_is_refused(shop: Shop, query: dict[str, str]):
    ada = await shop.verified_chat()

    answer = await ada.call("GET", "/v1/purchases", conversation_id=ada.conversation_id, **query)

    assert (answer.status_code, answer.json()["code"]) == (422, "fields_invalid")


@pytest.mark.control("UC-7.5")
async def test_another_persons_cursor_moves_the_page_and_shows_nothing_more(shop: Shop):
    ada, eve = await shop.buyer(payment_cap=9_000, day_cap=50_000), await shop.buyer()
    first = (await eve.buy(await shop.checkout()))["purchase_id"]
    for _ in range(2):
        await ada.buy(await shop.checkout(1_000))
    adas = (await listed(ada, limit="1"))["next_after"]

    page = await listed(eve, after=adas)

    assert [one["purchase_id"] for one in page["purchases"]] == [first]


BRANDS, SUBJECTS, CLIENTS = (LARKSPUR, TSUBAKI), ("sub_list_ada", "sub_list_eve"), ("agt_list_one", "agt_list_two")
MADE = st.fixed_dictionaries({
    "brand_id": st.sampled_from(BRANDS),
    "subject_id": st.sampled_from(SUBJECTS),
    "client_id": st.sampled_from(CLIENTS),
    "state": st.sampled_from(["failed", "declined"]),
    "amount_minor": st.integers(1, 9),
    "over": st.booleans(),
    "minute": st.integers(0, 3),
})  # fmt: skip
KINDS = st.sampled_from([CallerKind.AGENT, CallerKind.AGENT, CallerKind.ASSISTANT, CallerKind.MCP_SERVER])
CALLERS = st.builds(
    lambda kind, client_id, brands, scopes: agent(
        kind=kind, client_id=client_id, tenant_id=NORTH, brand_ids=brands, scopes=scopes
    ),
    KINDS,
    st.sampled_from(CLIENTS),
    st.frozensets(st.sampled_from(BRANDS)),
    st.frozensets(st.sampled_from(["purchase", "conversation"])),
)
SERVING_ALL = st.sampled_from(CLIENTS).map(
    lambda client_id: agent(client_id=client_id, tenant_id=NORTH, brand_ids=frozenset(BRANDS))
)
PEOPLE = st.builds(
    lambda caller, subject_id, brand_id, level: PersonFacts(
        caller=caller, conversation=replace(conversation(subject_id), brand_id=brand_id), level=AssuranceLevel(level)
    ),
    SERVING_ALL | CALLERS,
    st.none() | st.sampled_from(SUBJECTS),
    st.sampled_from(BRANDS),
    st.sampled_from([0, 2, 2, 3]),
)
MANY_OF_ONE: list[dict[str, Any]] = [
    {
        "brand_id": LARKSPUR,
        "subject_id": SUBJECTS[0],
        "client_id": CLIENTS[0],
        "state": "failed",
        "amount_minor": 1,
        "over": False,
        "minute": minute % 4,
    }
    for minute in range(10)
]
"""Of one person, brand and agent: what is drawn seldom has so many that its list goes over a page."""
THEIR_AGENT = PersonFacts(
    caller=agent(client_id=CLIENTS[0], tenant_id=NORTH, brand_ids=frozenset(BRANDS)),
    conversation=replace(conversation(SUBJECTS[0]), brand_id=LARKSPUR),
    level=AssuranceLevel(3),
)
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ACTIONS = {"see_purchase": PURCHASE_TABLE, "see_mandate": MANDATE_TABLE, "see_conversation": CONVERSATION_TABLE}
INSERTS: dict[str, dict[str, str]] = {
    "quotes": {
        "checkout_id": "'cko_list_' || :number",
        "brand_id": ":brand_id",
        **dict.fromkeys(("client_id", "cart_sha256", "description"), "'x'"),
        "amount_minor": "1",
        "currency": "'USD'",
        "quoted_at": ":at",
        "expires_at": ":at",
    },
    "purchases": {
        "purchase_id": "'pur_list_' || :number",
        "checkout_id": "'cko_list_' || :number",
        **{name: f":{name}" for name in ("brand_id", "subject_id", "client_id", "amount_minor", "state")},
        **dict.fromkeys(("conversation_id", "cart_sha256", "decision_id", "reservation_id"), "'x'"),
        "currency": "'USD'",
        "created_at": ":at",
    },
    "conversations": {
        "conversation_id": "'cnv_list_' || :number",
        "brand_id": ":brand_id",
        "client_id": ":client_id",
        "channel": "'chat'",
        "opened_at": ":at",
        "closed_at": ":ended",
    },
    "mandates": {
        "mandate_id": "'mnd_list_' || :number",
        "subject_id": ":subject_id",
        "brand_id": ":brand_id",
        "currency": "'USD'",
        "payment_cap_minor": "1",
        "day_cap_minor": "1",
        "delegates": "'{x}'",
        "payees": "ARRAY[:brand_id]",
        "purposes": "'{goods}'",
        "window_seconds": "3600",
        **dict.fromkeys(("window_cap_minor", "window_count_max", "approval_above_minor"), "1"),
        "granted_in": "'cnv_x'",
        "granted_at": ":at",
        "expires_at": ":at",
        "revoked_at": ":ended",
    },
}


@dataclass(frozen=True, slots=True)
class Compared:
    """What is listed over all pages, and what the engine allows when it is asked about each row there is."""

    action: str
    through: list[str]
    allowed: list[str]


async def _fill(tx: AsyncConnection, made: list[dict[str, Any]]) -> None:
    for subject_id in SUBJECTS:
        row = {"subject_id": subject_id, "at": START}
        await tx.execute(text("INSERT INTO subjects VALUES ('tnt_north', :subject_id, :at)"), row)
    rows = [
        {
            **{name: value for name, value in one.items() if name not in {"over", "minute"}},
            "number": str(number),
            "at": START + timedelta(minutes=one["minute"]),
            "ended": START if one["over"] else None,
        }
        for number, one in enumerate(made)
    ]
    for table, columns in INSERTS.items() if rows else ():
        named, given = ", ".join(columns), ", ".join(columns.values())
        wanted = text(f"INSERT INTO {table} (tenant_id, {named}) VALUES ('tnt_north', {given})")  # noqa: S608 - constants
        names = wanted.compile().params.keys()
        await tx.execute(wanted, [{name: row[name] for name in names} for row in rows])


async def _both_ways(shop: Shop, made: list[dict[str, Any]], facts: PersonFacts) -> list[Compared]:
    compared = []
    async with shop.gateway.engine.connect() as tx:
        await tx.execute(text("SELECT set_config('undercroft.tenant', 'tnt_north', true)"))
        await _fill(tx, made)
        for action, table in ACTIONS.items():
            question = question_in(action, facts, START)
            if action == "see_conversation":
                question = question_of(action, facts.caller, {"now": seconds(START)}, ())
            through = await _all_pages(tx, table, question)
            compared.append(Compared(action, through, await _row_by_row(tx, table, question)))
        await tx.rollback()
    return compared


async def _all_pages(tx: AsyncConnection, table: Table, question: Question) -> list[str]:
    found: list[str] = []
    page = Page(3)
    while True:
        shown = await seen(tx, CEDAR, table, question, page, tenant_id=NORTH, now=START)
        found += [str(row["row_id"]) for row in shown.rows]
        if shown.next_after is None:
            return found
        page = Page(3, shown.next_after)


async def _row_by_row(tx: AsyncConnection, table: Table, question: Question) -> list[str]:
    order = f"ORDER BY {table.made_at} DESC, {table.row.key.sql} DESC"
    query = text(f"SELECT {columns_of(table.row)} FROM {table.source} {order}")  # noqa: S608 - constants
    allowed, values = [], {"tenant_id": NORTH, "now": START, "day": START.date()}
    for row in map(dict, (await tx.execute(query, values)).mappings()):
        entity = entity_of(table.row, row)
        if CEDAR.answer(replace(question, resource=entity["uid"], entities=(*question.entities, entity))).allowed:
            allowed.append(str(row["row_id"]))
    return allowed


@pytest.mark.control("UC-7.5")
async def test_on_random_databases_a_list_is_what_deciding_row_by_row_allows(shop: Shop):
    loop, lengths = asyncio.get_running_loop(), []

    @always(40, HealthCheck.function_scoped_fixture)
    @example(made=MANY_OF_ONE, facts=THEIR_AGENT)
    @given(made=st.lists(MADE, max_size=24), facts=PEOPLE)
    def holds(made: list[dict[str, Any]], facts: PersonFacts) -> None:
        work = asyncio.run_coroutine_threadsafe(_both_ways(shop, made, facts), loop)
        for one in work.result(BUSY_SECONDS_MAX):
            lengths.append((one.action, len(one.allowed)))
            assert one.through == one.allowed, one.action

    await asyncio.to_thread(holds)
    assert {action for action, length in lengths if length > 3} == set(ACTIONS), "no list went over a page"
