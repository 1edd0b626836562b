"""What a token may be used for: ordered with the capture, asked in every charge's transaction, sealed with the card."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import sqlalchemy

from infra.chassis.ids import new_id
from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import Sandbox
from tests.support.database import DatabaseMaker
from tests.support.grants import body_of
from tests.vault.bench import JSON, Bench, Person, connected, open_bench
from tests.vault.destination import Forwarding
from vault.cleartext.opening import Opener
from vault.contract import ChargeOrder, TokenTerms, TokenUses
from vault.envelope import open_sealed, seal
from vault.places import RECORD_KEY_VERSION, place, place_under_terms
from vault.store import Store

ONE = TokenTerms(uses=TokenUses.SINGLE)
UP_TO_80 = TokenTerms(currency="USD", amount_max_minor=8000)


async def told(bench: Bench, order: ChargeOrder, actor: str = "agt_test") -> tuple[str, str | None]:
    answer = (await bench.charge(order, bench.mint.grant("charge", order, actor=actor))).json()
    return answer["state"], answer["reason"]


@pytest.mark.control("UC-T.1")
async def test_a_token_for_one_charge_is_spent_by_it_for_every_other_purchase(bench: Bench, ada: Person):
    token = await bench.new_token(ada, terms=ONE)
    first, second = ada.charge(token), ada.charge(token, amount_minor=1)

    answers = [await told(bench, first), await told(bench, second), await told(bench, second), await told(bench, first)]

    spent = ("failed", "token_spent")
    assert answers == [("approved", None), spent, spent, ("approved", None)]
    assert bench.processor_charges(second.charge_id) == []


@pytest.fixture
async def patient(shared_database: ServiceDatabase, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    """A vault that waits for its processor however busy the machine is."""
    async with open_bench(tmp_path, shared_database, processor, processor_timeout_seconds=60) as opened:
        yield opened


@pytest.mark.control("UC-T.1")
async def test_of_twenty_charges_at_once_a_token_for_one_charge_pays_one(patient: Bench, ada: Person):
    token = await patient.new_token(ada, terms=ONE)
    orders = [ada.charge(token) for _ in range(20)]

    answers = await asyncio.gather(*(told(patient, order) for order in orders))

    assert sorted(answers, key=str) == [("approved", None), *[("failed", "token_spent")] * 19]
    assert sum(patient.taken_minor(order.charge_id) for order in orders) == 7998


async def test_a_charge_that_came_to_nothing_leaves_the_token_its_one_use(bench: Bench, ada: Person):
    token = await bench.new_token(ada, terms=ONE)
    bench.processor.fault("error_503", operation="payment_intents.create")

    answers = [await told(bench, ada.charge(token)) for _ in range(3)]

    assert answers == [("failed", "processor_unreachable"), ("approved", None), ("failed", "token_spent")]


async def test_money_that_is_held_is_the_one_use_until_it_is_let_go(alone: Bench, ada: Person):
    token = await alone.new_token(ada, terms=ONE)
    hold = ada.hold(token)
    await alone.hold(hold)

    meanwhile = await told(alone, ada.charge(token))
    alone.expire(hold.charge_id)
    alone.clock.advance(timedelta(days=8))
    await alone.vault.reconciler.run_once()

    assert meanwhile == ("failed", "token_spent")
    assert await told(alone, ada.charge(token)) == ("approved", None)


async def test_a_use_whose_outcome_nobody_knows_keeps_the_token_spent(alone: Bench, ada: Person):
    token = await alone.new_token(ada, terms=ONE)
    unknown = ada.charge(token)
    alone.processor.fault("timeout_after_charge")

    first = await told(alone, unknown)
    meanwhile = await told(alone, ada.charge(token))
    await alone.vault.reconciler.run_once()

    assert (first, meanwhile) == (("unknown", None), ("failed", "token_spent"))
    assert await told(alone, unknown) == ("approved", None)
    assert await told(alone, ada.charge(token)) == ("failed", "token_spent")


@pytest.mark.control("UC-T.1")
async def test_a_token_ends_at_its_moment(bench: Bench, ada: Person):
    token = await bench.new_token(ada, terms=TokenTerms(good_until=bench.clock.now() + timedelta(minutes=5)))
    bench.clock.advance(timedelta(minutes=5) - timedelta(microseconds=1))

    before = await told(bench, ada.charge(token))
    bench.clock.advance(timedelta(microseconds=1))
    after = await told(bench, ada.charge(token))

    assert (before, after) == (("approved", None), ("failed", "token_expired"))


@pytest.mark.parametrize(
    ("terms", "order", "reason"),
    [
        (UP_TO_80, {"amount_minor": 8000}, None),
        (UP_TO_80, {"amount_minor": 8001}, "token_not_for_amount"),
        (UP_TO_80, {"currency": "EUR"}, "token_not_for_currency"),
        (TokenTerms(currency="JPY", amount_exact_minor=500), {"currency": "JPY", "amount_minor": 500}, None),
        (TokenTerms(currency="USD", amount_exact_minor=500), {"amount_minor": 499}, "token_not_for_amount"),
        (TokenTerms(currency="EUR"), {"currency": "EUR"}, None),
        (TokenTerms(currency="EUR"), {}, "token_not_for_currency"),
        (TokenTerms(agent_id="agt_test"), {}, None),
        (TokenTerms(agent_id="agt_other"), {}, "token_not_for_agent"),
        (TokenTerms(agent_id="agt_other", currency="EUR"), {}, "token_not_for_agent"),
    ],
)
@pytest.mark.control("UC-T.1")
async def test_a_charge_has_to_be_within_the_tokens_terms(
    bench: Bench, ada: Person, terms: TokenTerms, order: dict[str, Any], reason: str | None
):
    token = await bench.new_token(ada, terms=terms)
    charge = ada.charge(token, **order)

    answer = await told(bench, charge)

    assert answer == ("approved" if reason is None else "failed", reason)
    assert len(bench.processor_charges(charge.charge_id)) == (reason is None)
    held = await bench.hold(ada.hold(token, **order))
    assert held.json()["reason"] == reason


async def test_a_refused_use_costs_neither_the_code_nor_the_one_use(bench: Bench, ada: Person):
    terms = TokenTerms(uses=TokenUses.SINGLE, currency="USD", amount_max_minor=1000)
    token = await bench.new_token(ada, terms=terms)

    answers = [await told(bench, ada.charge(token, amount_minor=amount)) for amount in (1001, 1000, 1000)]

    assert answers == [("failed", "token_not_for_amount"), ("approved", None), ("failed", "token_spent")]


NONSENSE: list[Any] = [
    {"amount_max_minor": 1},
    {"amount_exact_minor": 1, "amount_max_minor": 1, "currency": "USD"},
    {"amount_max_minor": 0, "currency": "USD"},
    {"amount_max_minor": "5000", "currency": "USD"},
    {"good_until": "2031-01-01T00:00:00"},
    {"good_until": 1},
    {"uses": "twice"},
    {"uses_max": 3},
    {"agent_id": ""},
    {"agent_id": "agt\n"},
    {"agent_id": "4242424242424242"},
    {"agent_id": "agt_4242424242424242"},
    [],
]


async def test_terms_that_make_no_sense_are_refused(bench: Bench, ada: Person):
    headers = {**JSON, "Undercroft-Grant": "x"}
    bodies = [msgspec.json.encode(msgspec.to_builtins(ada.capture()) | {"terms": terms}) for terms in NONSENSE]

    answers = [await bench.api.post("/v1/captures", content=body, headers=headers) for body in bodies]

    assert [answer.json()["code"] for answer in answers] == ["fields_invalid"] * len(NONSENSE)
    assert not any("4242424242424242" in answer.text for answer in answers)


async def test_a_capture_ordered_again_with_other_terms_is_another_capture(bench: Bench, ada: Person):
    soon = bench.clock.now() + timedelta(hours=1)
    values = {"capture_id": new_id("cap"), "purchase_id": new_id("pur")}
    terms = [TokenTerms(good_until=soon, currency="USD"), TokenTerms(currency="USD", good_until=soon), None, ONE]

    answers = [await bench.order_capture(ada.capture(**values, terms=one)) for one in terms]

    assert [answer.status_code for answer in answers] == [200, 200, 409, 409]


def test_an_order_without_terms_has_the_bytes_it_had_before_there_were_terms(ada: Person):
    assert b"terms" not in body_of(ada.capture())
    assert body_of(ada.capture(terms=TokenTerms())).endswith(b'"terms":{}}')


async def as_owner(bench: Bench, tenant_id: str, sql: str, **values: Any) -> None:
    """Whoever can write anything to the vault's database."""
    async with connected(bench.databases.owner_dsn) as engine, engine.begin() as connection:
        await connection.execute(sqlalchemy.text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": tenant_id})
        assert (await connection.execute(sqlalchemy.text(sql), values)).rowcount == 1


@pytest.mark.parametrize(
    ("terms", "edit"),
    [
        (ONE, "terms = replace(terms, 'single', 'multi')"),
        (ONE, 'terms = replace(terms, \',"terms":{"uses":"single"}\', \'\')'),
        (ONE, "terms = NULL"),
        (UP_TO_80, "terms = replace(terms, '8000', '9000')"),
        (TokenTerms(agent_id="agt_other"), "terms = replace(terms, 'agt_other', 'agt_test')"),
        (None, "terms = replace(terms, brand_id, 'brd_other'), brand_id = 'brd_other'"),
        (None, "brand_id = 'brd_other'"),
        (None, "terms = NULL, brand_id = 'brd_other'"),
        (None, "terms = '{}'"),
        (None, "terms = ''"),
    ],
)
@pytest.mark.control("UC-T.1")
async def test_terms_widened_in_the_database_make_the_token_useless(
    bench: Bench, ada: Person, terms: TokenTerms | None, edit: str
):
    token = await bench.new_token(ada, terms=terms)
    await as_owner(bench, ada.tenant_id, f"UPDATE cards SET {edit} WHERE token_id = :token_id", token_id=token)  # noqa: S608 - the edits above
    thief = Person(ada.tenant_id, "brd_other" if "brd_other" in edit else ada.brand_id, ada.subject_id)
    charge = thief.charge(token, amount_minor=8500)

    assert await told(bench, charge) == ("failed", "card_unreadable")
    assert bench.processor_charges(charge.charge_id) == []


@pytest.mark.control("UC-T.1")
async def test_the_service_itself_cannot_change_terms_nor_begin_a_second_single_use(bench: Bench, ada: Person):
    token = await bench.new_token(ada, terms=ONE)
    await bench.charge(ada.charge(token))
    again = """INSERT INTO charges (tenant_id, charge_id, brand_id, subject_id, purchase_id, token_id, amount_minor,
            currency, state, created_at, updated_at, single_use)
        SELECT tenant_id, 'chg_again', brand_id, subject_id, 'pur_again', token_id, 1, currency, 'intended', now(),
            now(), true FROM charges WHERE token_id = $1"""
    connection = await asyncpg.connect(bench.databases.app_dsn.replace("+asyncpg", ""))
    try:
        await connection.execute("SELECT set_config('undercroft.tenant', $1, false)", ada.tenant_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE cards SET terms = NULL WHERE token_id = $1", token)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE charges SET single_use = false WHERE token_id = $1", token)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(again, token)
    finally:
        await connection.close()


@pytest.mark.control("UC-T.1")
async def test_a_card_whose_token_has_terms_is_forwarded_to_nobody(ready: Forwarding, bench: Bench):
    """A destination would not know of them, and could not be held to them."""
    token = await bench.new_token(ready.person, terms=UP_TO_80)

    view = await ready.sent(token_id=token)

    assert (view["state"], view["reason"]) == ("failed", "token_limited")
    assert ready.company.received == []


@pytest.mark.parametrize(
    ("terms", "state"),
    [
        (TokenTerms(forwards=True, currency="USD", amount_max_minor=8000), "forwarded"),
        (TokenTerms(forwards=True, agent_id="agt_nobody"), "failed"),
        (TokenTerms(forwards=True, good_until=datetime(2020, 1, 1, tzinfo=UTC)), "failed"),
        (TokenTerms(agent_id="agt_nobody"), "failed"),
    ],
)
async def test_a_card_that_was_ordered_to_be_sent_is_sent_by_its_agent_in_its_time(
    ready: Forwarding, bench: Bench, terms: TokenTerms, state: str
):
    token = await bench.new_token(ready.person, terms=terms)

    view = await ready.sent(token_id=token)

    assert (view["state"], view.get("reason")) == (state, None if state == "forwarded" else "token_limited")
    assert len(ready.company.received) == (state == "forwarded")


def test_a_token_for_one_charge_is_never_ordered_to_be_sent():
    with pytest.raises(ValueError, match="not sent elsewhere"):
        TokenTerms(uses=TokenUses.SINGLE, forwards=True)


@pytest.fixture
async def own(database: DatabaseMaker, processor: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, database("vault"), processor) as opened:
        yield opened


async def test_terms_hold_through_a_rotation_of_the_tenants_key(own: Bench, ada: Person):
    token = await own.new_token(ada, terms=ONE)
    await own.vault.keeping.rotation.rotate(ada.tenant_id, "operator ada")

    answers = [await told(own, ada.charge(token)) for _ in range(2)]

    assert answers == [("approved", None), ("failed", "token_spent")]


async def test_a_card_sealed_before_there_were_terms_is_charged_as_before(own: Bench, ada: Person):
    """As the code before wrote it: without terms beside it, and without them in what was sealed."""
    token = await own.new_token(ada)
    store, ring = Store(own.vault.engine), own.vault.keeping.ring
    async with store.transaction(ada.tenant_id) as tx:
        card = await tx.card(token)
    assert card is not None
    _, record_key = await Opener(store, ring).record_key(card)
    opened = {
        field: open_sealed(record_key, sealed, place_under_terms(ada.tenant_id, token, field, card.terms))
        for field, sealed in (("number", card.sealed_number), ("details", card.sealed_details))
    }
    old = {
        field: seal(record_key, RECORD_KEY_VERSION, plain, place(ada.tenant_id, token, field))
        for field, plain in opened.items()
    }
    edit = "UPDATE cards SET terms = NULL, sealed_number = :number, sealed_details = :details WHERE token_id = :token"
    await as_owner(own, ada.tenant_id, edit, token=token, **old)

    assert await told(own, ada.charge(token)) == ("approved", None)
