"""The condition that the database applies is the decision that the engine makes, for any policy and any rows."""

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.cedar import FOLDER, Cedar
from gateway.errors import ListNotDecided
from gateway.facts import ref
from gateway.listing import condition_for, question_of
from gateway.residuals import RowType
from gateway.rows import CONVERSATIONS, MANDATES, PURCHASES, columns_of, entity_of
from infra.chassis.engine import directory_transaction
from tests.gateway.given import agent, conversation
from tests.gateway.shop import Shop
from tests.support.cases import always
from tests.support.waiting import BUSY_SECONDS_MAX

PROPERTY = always(60, HealthCheck.function_scoped_fixture)
BRANDS, SUBJECTS, CLIENTS = ("brd_larkspur", "brd_two"), ("sub_ada", "sub_eve"), ("agt_larkspur", "agt_two", 'a"\\b')
STATES = ("paid", "failed")
CALLER = agent(brand_ids=frozenset(BRANDS), scopes=frozenset({"purchase", "paid"}))
CONVERSATION = conversation()
CONTEXTS: dict[str, dict[str, Any]] = {
    "see_purchase": {"now": 5, "level": 2, "conversation": ref("Conversation", CONVERSATION.conversation_id)},
    "see_conversation": {"now": 5},
}
OF_PURCHASES = (
    "p(purchase_id text, brand_id text, subject_id text, client_id text, state text, currency text, amount_minor int8)"
)
OF_CONVERSATIONS = (
    "c(conversation_id text, brand_id text, subject_id text, client_id text, channel text, closed_at timestamptz)"
)
TABLES = {"see_purchase": (PURCHASES, OF_PURCHASES), "see_conversation": (CONVERSATIONS, OF_CONVERSATIONS)}


def quoted(value: str) -> str:
    return json.dumps(value)


def entity_literals(kind: str, ids: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{kind}::{quoted(one)}" for one in ids])


def strings(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from([quoted(value) for value in values])


NUMBERS = st.sampled_from(["-9223372036854775808", "0", "4", "5", "9223372036854775807", "context.now"])
ORDERED = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
ATOMS = {
    "see_purchase": st.one_of(
        st.builds("resource.amount_minor {} {}".format, ORDERED, NUMBERS),
        st.builds("{1} {0} resource.amount_minor".format, ORDERED, NUMBERS),
        st.builds("resource.state == {}".format, strings(*STATES, "")),
        st.builds("resource.brand != {}".format, entity_literals("Brand", BRANDS)),
        st.builds("[{0}, {1}].contains(resource.client_id)".format, strings(*CLIENTS), strings(*CLIENTS)),
        st.just("principal.scopes.contains(resource.state)"),
        st.just("context.conversation has subject && resource.subject == context.conversation.subject"),
        st.builds("resource == {}".format, entity_literals("PurchaseRow", ("row_0", "row_1"))),
        st.just("resource is PurchaseRow"),
        st.just("context.level >= 3"),
    ),
    "see_conversation": st.one_of(
        st.just("resource.closed"),
        st.builds("(resource has subject && resource.subject == {})".format, entity_literals("Subject", SUBJECTS)),
        st.just("!(resource has subject)"),
        st.just("resource.client_id == principal.client_id"),
        st.just("principal.brands.contains(resource.brand)"),
        st.builds("resource.channel == {}".format, strings("chat", "voice")),
        st.just("context.now == 5"),
        st.booleans().map(lambda held: str(held).lower()),
    ),
}


def conditions(action: str) -> st.SearchStrategy[str]:
    return st.recursive(
        ATOMS[action],
        lambda inner: st.one_of(
            st.builds("({} && {})".format, inner, inner),
            st.builds("({} || {})".format, inner, inner),
            st.builds("!({})".format, inner),
            st.builds("(if {} then {} else {})".format, inner, inner, inner),
        ),
        max_leaves=6,
    )


def policies(action: str) -> st.SearchStrategy[str]:
    one = st.builds(
        f'@id("caller_may") {{}} (principal, action == Action::"{action}", resource) {{}} {{{{ {{}} }}}};'.format,
        st.sampled_from(["permit", "permit", "forbid"]),
        st.sampled_from(["when", "unless"]),
        conditions(action),
    )
    return st.lists(one, min_size=1, max_size=4).map("\n".join)


def rows(action: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    shared = {
        "brand_id": st.sampled_from((*BRANDS, "brd_three")),
        "client_id": st.sampled_from(CLIENTS),
    }
    of_purchases = {
        **shared,
        "subject_id": st.sampled_from(SUBJECTS),
        "state": st.sampled_from(STATES),
        "amount_minor": st.sampled_from([0, 4, 5, 6, 2**63 - 1, -(2**63)]),
        "currency": st.just("USD"),
    }
    of_conversations = {
        **shared,
        "subject_id": st.none() | st.sampled_from(SUBJECTS),
        "channel": st.sampled_from(["chat", "voice"]),
        "closed_at": st.none() | st.just("2026-11-20T12:00:00+00:00"),
    }
    fields = of_purchases if action == "see_purchase" else of_conversations
    return st.lists(st.fixed_dictionaries(fields), min_size=3, max_size=12)


@pytest.fixture
def cedar_with(tmp_path: Path) -> Callable[[str], Cedar]:
    """Our schema with other rules for rows."""
    folder = tmp_path / "rules"
    shutil.copytree(FOLDER / "policies", folder / "policies")
    shutil.copy(FOLDER / "schema.cedarschema", folder)

    def load(listing: str) -> Cedar:
        (folder / "policies" / "listing.cedar").write_text(listing)
        return Cedar.load(folder)

    return load


async def _selected(shop: Shop, cedar: Cedar, action: str, made: list[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """The rows that the database lets through, and those that the engine allows when it is asked about each."""
    row, source = TABLES[action]
    question = question_of(action, CALLER, CONTEXTS[action], [CONVERSATION.entity()])
    condition = condition_for(cedar, question, row)
    select = f"SELECT {columns_of(row)} FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS {source}"  # noqa: S608 - constants
    async with directory_transaction(shop.gateway.engine) as tx:
        every = [dict(found) for found in (await tx.execute(text(select), {"rows": json.dumps(made)})).mappings()]
        filtered = text(f"{select} WHERE {condition.sql}")
        values = {"rows": json.dumps(made), **condition.values}
        through = {str(found["row_id"]) for found in (await tx.execute(filtered, values)).mappings()}
    allowed = set()
    for found in every:
        entity = entity_of(row, found)
        whole = replace(question, resource=entity["uid"], entities=(*question.entities, entity))
        if cedar.answer(whole).allowed:
            allowed.add(str(found["row_id"]))
    return through, allowed


def _in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result(BUSY_SECONDS_MAX)


@pytest.mark.control("UC-7.5")
@pytest.mark.parametrize("action", ["see_purchase", "see_conversation"])
async def test_any_policy_filters_any_rows_as_the_engine_decides_them(
    shop: Shop, cedar_with: Callable[[str], Cedar], action: str
):
    loop, shown = asyncio.get_running_loop(), []
    key = "purchase_id" if action == "see_purchase" else "conversation_id"

    @PROPERTY
    @given(rules=policies(action), made=rows(action))
    def holds(rules: str, made: list[dict[str, Any]]) -> None:
        numbered = [{**one, key: f"row_{number}"} for number, one in enumerate(made)]
        through, allowed = _in_loop(loop, _selected(shop, cedar_with(rules), action, numbered))
        shown.append(len(allowed) / len(numbered))
        assert through == allowed

    await asyncio.to_thread(holds)
    assert any(0 < part < 1 for part in shown), "the policies should let some rows through and not others"


@pytest.mark.control("UC-7.5")
@pytest.mark.parametrize(
    "condition",
    [
        'resource.state like "pa*"',
        "resource.amount_minor + 1 > 5",
        'resource.brand in [Brand::"brd_two"]',
        "principal.brands == [resource.brand]",
        "principal.scopes.containsAny([resource.state])",
        '[resource.state].contains("paid")  && [resource.state] == ["paid"]',
    ],
)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_what_the_database_cannot_be_asked_lists_nothing_at_all(
    cedar_with: Callable[[str], Cedar], condition: str, effect: str
):
    head = '@id("caller_may") {} (principal, action == Action::"see_purchase", resource)'.format
    rules = cedar_with(f"{head('permit')}; {head(effect)} when {{ {condition} }};")

    with pytest.raises(ListNotDecided):
        condition_for(
            rules, question_of("see_purchase", CALLER, CONTEXTS["see_purchase"], [CONVERSATION.entity()]), PURCHASES
        )


@pytest.mark.control("UC-7.5")
def test_values_never_stand_in_the_query(cedar_with: Callable[[str], Cedar]):
    hostile = "x' OR 1=1 --"
    rules = cedar_with(
        '@id("caller_may") permit (principal, action == Action::"see_purchase", resource)'
        f' when {{ [{quoted(hostile)}, ":made"].contains(resource.state) }};'
    )

    question = question_of("see_purchase", CALLER, CONTEXTS["see_purchase"], [CONVERSATION.entity()])
    condition = condition_for(rules, question, PURCHASES)

    assert hostile not in condition.sql
    assert set(condition.values.values()) == {hostile, ":made"}


@pytest.mark.parametrize("row", [PURCHASES, MANDATES, CONVERSATIONS])
def test_every_attribute_of_a_row_has_its_column_and_no_other(row: RowType):
    schema = (FOLDER / "schema.cedarschema").read_text()
    body = schema.partition(f"entity {row.entity} = {{")[2].partition("}")[0]

    declared = dict(line.strip(" ,").split(": ") for line in body.splitlines() if ":" in line)

    assert {f"{name}?" if column.optional else name: column.kind for name, column in row.columns.items()} == declared
