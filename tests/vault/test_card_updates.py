"""Another card for an old token: the page, the row, the code, the events, and who is told what."""

import json
from datetime import date, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from infra.chassis.ids import new_id
from tests.sandbox.running import APPROVES
from tests.vault.bench import JSON, Bench, Person, rows
from tests.vault.keys import cards
from tests.vault.test_token_terms import as_owner
from tests.vault.test_unreadable_cards import counted
from tests.vault.test_vault_at_once import capture_row, form_of, just_before_storing, posted
from tests.vault.updates import AMEX, MASTERCARD, asked, opened, replaced, row_of
from vault.canary_marks import CanaryMarks
from vault.canary_planting import Planting
from vault.contract import TokenTerms, TokenUses
from vault.fingerprint import Fingerprints
from vault.store import Store

ONE = TokenTerms(uses=TokenUses.SINGLE, currency="USD", amount_max_minor=8000)


async def told(bench: Bench, order: Any) -> tuple[str, str | None]:
    answer = (await bench.charge(order)).json()
    return answer["state"], answer["reason"]


async def events(bench: Bench, person: Person) -> list[tuple[str, dict[str, Any]]]:
    found = await rows(
        bench.databases.app_dsn, "SELECT kind, payload FROM outbox_events ORDER BY position", person.tenant_id
    )
    return [(row["kind"], json.loads(row["payload"])["data"]) for row in found]


@pytest.mark.control("UC-T.3")
async def test_the_token_stays_and_everything_about_its_card_is_the_new_ones(bench: Bench, ada: Person):
    token = (await bench.paid_charge(ada)).token_id
    before = await row_of(bench, ada, token)
    order = await asked(bench, ada, token)
    page = (await bench.page(order)).text
    bench.clock.advance(timedelta(seconds=5))

    typed = await bench.type_card(order, MASTERCARD, expiry="03/38")

    view = (await bench.show_capture(order)).json()
    after = await row_of(bench, ada, token)
    changed = {name for name, value in after.items() if value != before[name]}
    assert "<bdi>Visa</bdi> ending in <bdi>4242</bdi>" in page
    assert typed.status_code == 303
    assert (view["state"], view["token_id"], view["card_brand"], view["last4"]) == (
        "completed", token, "mastercard", "4444",
    )  # fmt: skip
    assert changed == {
        "fingerprint", "wrapped_key", "sealed_number", "sealed_details", "sealed_fingerprint", "good_through",
        "card_brand", "last4", "generation", "on_file_since",
    }  # fmt: skip
    assert (after["generation"], after["on_file_since"], after["good_through"]) == (2, None, date(2038, 3, 31))
    assert await opened(bench, ada, token) == (MASTERCARD, 3, 2038)


@pytest.mark.control("UC-T.3")
async def test_the_tenant_is_told_once_and_a_shredding_of_the_old_card_stands(bench: Bench, ada: Person):
    token = await bench.new_token(ada)

    order = await replaced(bench, ada, token)

    kinds = await events(bench, ada)
    shreddings = await rows(bench.databases.app_dsn, "SELECT * FROM shreddings", ada.tenant_id)
    assert [kind for kind, _ in kinds] == ["card.stored", "card.updated"]
    assert kinds[1][1] == {
        "token_id": token, "brand_id": ada.brand_id, "subject_id": ada.subject_id, "card_brand": "mastercard",
        "last4": "4444",
    }  # fmt: skip
    assert [(row["token_id"], row["cause"], row["ordered_by"], row["through_version"]) for row in shreddings] == [
        (token, "replaced", f"capture {order.capture_id}", 1)
    ]


@pytest.mark.control("UC-T.3", "UC-3.3.1")
async def test_the_first_charge_after_it_needs_the_new_code_and_the_old_one_is_gone(bench: Bench, ada: Person):
    token = await bench.new_token(ada)
    codes = bench.vault.codes

    await replaced(bench, ada, token, AMEX)

    assert not codes.holds(ada.tenant_id, token)
    assert codes.take(ada.tenant_id, token) is None
    assert codes.holds(ada.tenant_id, token, 2)
    assert await told(bench, ada.charge(token)) == ("approved", None)
    assert not codes.holds(ada.tenant_id, token, 2)
    assert (await row_of(bench, ada, token))["on_file_since"] is not None
    assert await told(bench, ada.charge(token)) == ("approved", None)


@pytest.mark.control("UC-T.3")
async def test_a_card_that_was_on_file_is_not_on_file_for_the_one_after_it(bench: Bench, ada: Person):
    token = (await bench.paid_charge(ada)).token_id
    await replaced(bench, ada, token)
    bench.clock.advance(timedelta(minutes=11))

    answer = await told(bench, ada.charge(token))

    assert answer == ("failed", "verification_code_missing")


@pytest.mark.control("UC-T.1", "UC-T.3")
async def test_the_tokens_terms_and_what_was_used_of_it_stay(bench: Bench, ada: Person):
    token = await bench.new_token(ada, terms=ONE)
    before = await row_of(bench, ada, token)
    assert await told(bench, ada.charge(token)) == ("approved", None)

    await replaced(bench, ada, token)

    assert (await row_of(bench, ada, token))["terms"] == before["terms"]
    assert await told(bench, ada.charge(token)) == ("failed", "token_spent")
    assert await told(bench, ada.charge(token, amount_minor=8001)) == ("failed", "token_not_for_amount")


@pytest.mark.control("UC-T.3")
@pytest.mark.parametrize("edit", ["replace(terms, '8000', '9000')", "NULL", "replace(terms, 'single', 'multi')"])
async def test_terms_widened_in_the_database_are_not_sealed_with_the_new_card(bench: Bench, ada: Person, edit: str):
    """An update would otherwise make them the right ones."""
    token = await bench.new_token(ada, terms=ONE)
    order = await asked(bench, ada, token)
    fields = await form_of(bench, order, MASTERCARD)
    await as_owner(bench, ada.tenant_id, f"UPDATE cards SET terms = {edit} WHERE token_id = :token", token=token)  # noqa: S608 - the edits above

    answer = await posted(bench, order, fields)

    assert answer == 503
    assert (await row_of(bench, ada, token))["generation"] == 1
    assert await counted(bench) == "1.0", "an alarm, as for a charge of such a card"
    assert (await capture_row(bench, order))["token_id"] is None


async def canary_of(bench: Bench, person: Person) -> str:
    await bench.new_token(person)
    fingerprints = Fingerprints(bench.settings.fingerprint_key)
    planting = Planting(
        store=Store(bench.vault.engine),
        ring=bench.vault.keeping.ring,
        marks=CanaryMarks(fingerprints.keys()),
        fingerprints=fingerprints,
        clock=bench.clock,
    )
    return await planting.plant(person.tenant_id, person.brand_id, "operator ada")


@pytest.mark.control("UC-T.3")
async def test_what_is_missing_somebody_elses_shredded_or_a_canary_is_answered_alike(bench: Bench, ada: Person):
    token, gone = await bench.new_token(ada), await bench.new_token(ada)
    await bench.vault.keeping.shredding.shred_card(ada.tenant_id, gone, "operator ada")
    canary = await canary_of(bench, ada)
    planted = await row_of(bench, ada, canary)
    nobody = Person(ada.tenant_id, planted["brand_id"], planted["subject_id"])
    asking = [
        (ada, new_id("tok")),
        (Person(ada.tenant_id), token),
        (Person(ada.tenant_id, "brd_other", ada.subject_id), token),
        (Person(brand_id=ada.brand_id, subject_id=ada.subject_id), token),
        (ada, gone),
        (nobody, canary),
        (ada, canary),
    ]

    orders = [person.capture(replaces_card_of=one) for person, one in asking]
    answers = [await bench.order_capture(order) for order in orders]

    unlike = {"request_id", "instance"}
    bodies = [{name: value for name, value in one.json().items() if name not in unlike} for one in answers]
    assert [answer.status_code for answer in answers] == [404] * len(asking)
    assert all(body == bodies[0] for body in bodies)
    await bench.vault.workers.drain(30)
    uses = await rows(bench.databases.app_dsn, "SELECT act, reference FROM canary_uses ORDER BY 2", ada.tenant_id)
    assert uses == sorted(({"act": "replace", "reference": one.capture_id} for one in orders[5:]),
                          key=lambda use: use["reference"])  # fmt: skip
    assert not await rows(
        bench.databases.app_dsn, "SELECT 1 FROM captures WHERE replaces_card_of IS NOT NULL", ada.tenant_id
    )


async def test_an_order_is_the_same_one_only_with_the_same_token_and_has_no_terms(bench: Bench, ada: Person):
    first, second = await bench.new_token(ada), await bench.new_token(ada)
    order = ada.capture(replaces_card_of=first)
    values = {name: getattr(order, name) for name in ("capture_id", "purchase_id")}
    both = msgspec.to_builtins(order) | {"terms": {"uses": "single"}, "capture_id": new_id("cap")}

    answers = [await bench.order_capture(one) for one in (
        order, order, ada.capture(**values, replaces_card_of=second), ada.capture(**values),
    )]  # fmt: skip
    await bench.vault.keeping.shredding.shred_card(ada.tenant_id, first, "operator ada")
    later = await bench.order_capture(order)
    refused = await bench.api.post(
        "/v1/captures", content=msgspec.json.encode(both), headers={**JSON, "Undercroft-Grant": "x"}
    )

    assert [answer.status_code for answer in answers] == [200, 200, 409, 409]
    assert (later.status_code, later.json()["state"]) == (200, "expired")
    assert refused.json()["code"] == "fields_invalid"


@pytest.mark.control("UC-T.3")
async def test_of_two_pages_for_one_card_the_first_one_filled_in_counts_and_the_other_is_told(
    bench: Bench, ada: Person
):
    token = await bench.new_token(ada)
    first, second = await asked(bench, ada, token), await asked(bench, ada, token)
    typed = await form_of(bench, second, AMEX) | {"code": "1234"}

    won = await bench.type_card(first, MASTERCARD)
    lost = await bench.browser.post(f"/captures/{second.capture_id}", data=typed, headers={"origin": bench.page_url})

    again = await bench.page(second)
    assert (won.status_code, lost.status_code, again.status_code) == (303, 409, 409)
    assert "replaced or removed in the meantime" in lost.text
    assert lost.text == again.text
    assert (await bench.show_capture(second)).json()["state"] == "expired"
    assert (await row_of(bench, ada, token))["last4"] == "4444"
    assert await told(bench, ada.charge(token)) == ("approved", None)


@pytest.mark.parametrize("ends", ["expired", "used up", "token shredded"])
async def test_a_capture_that_takes_no_card_any_more_changes_nothing(bench: Bench, ada: Person, ends: str):
    token = await bench.new_token(ada)
    order = await asked(bench, ada, token)
    fields, before = await form_of(bench, order, MASTERCARD), await row_of(bench, ada, token)
    if ends == "expired":
        bench.clock.advance(timedelta(minutes=16))
    elif ends == "used up":
        wrong = fields | {"number": "4242424242424241"}
        assert {await posted(bench, order, wrong) for _ in range(10)} == {422}
    else:
        await bench.vault.keeping.shredding.shred_card(ada.tenant_id, token, "operator ada")
        before = await row_of(bench, ada, token)

    answer = await posted(bench, order, fields)

    assert answer == (409 if ends == "token shredded" else 410)
    assert await row_of(bench, ada, token) == before


@pytest.mark.control("UC-8.4")
async def test_a_page_whose_capture_moves_to_another_browser_meanwhile_replaces_nothing(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    token = await bench.new_token(ada)
    order = await asked(bench, ada, token)
    fields, before = await form_of(bench, order, MASTERCARD), await row_of(bench, ada, token)
    just_before_storing(monkeypatch, lambda: bench.enter(order))

    answer = await posted(bench, order, fields)

    assert answer == 410
    assert await row_of(bench, ada, token) == before


async def test_a_completed_page_replaces_nothing_a_second_time(bench: Bench, ada: Person):
    token = await bench.new_token(ada)
    order = await asked(bench, ada, token)
    fields = await form_of(bench, order, MASTERCARD)

    told_twice = [await posted(bench, order, one) for one in (fields, fields | {"number": APPROVES})]

    row = await row_of(bench, ada, token)
    assert told_twice == [303, 303]
    assert (row["generation"], row["last4"]) == (2, "4444")


@pytest.mark.control("UC-T.3", "UC-3.5.1.1")
async def test_which_cards_are_the_same_is_said_of_the_cards_that_are_there_now(bench: Bench, ada: Person):
    async def typed(number: str, **ordered: Any) -> tuple[str, str | None]:
        bench.clock.advance(timedelta(seconds=1))
        order = ada.capture(**ordered)
        await bench.order_capture(order)
        await bench.enter(order)
        await bench.type_card(order, number)
        view = (await bench.show_capture(order)).json()
        last = view["token_id"], view["earlier_token_id"]
        seen[last[0]] = order
        return last

    seen: dict[str, Any] = {}
    first, _ = await typed(APPROVES)
    second, of_second = await typed(APPROVES)
    later = seen[second]
    updated, nothing = await typed(MASTERCARD, replaces_card_of=first)
    third, of_third = await typed(APPROVES)
    fourth, of_fourth = await typed(MASTERCARD)
    _, of_back = await typed(MASTERCARD, replaces_card_of=second)

    assert (of_second, updated, nothing) == (first, first, None)
    assert of_third == second, "the first token has another card by now"
    assert (of_fourth, of_back) == (first, first)
    assert (await bench.show_capture(later)).json()["earlier_token_id"] == first
    stale = next(row for row in await cards(bench.databases, ada.tenant_id) if row["token_id"] == third)
    assert (stale["earlier_token_id"], stale["earlier_generation"]) == (second, 1)
    assert (await bench.show_capture(seen[third])).json()["earlier_token_id"] is None
    assert fourth != first


@pytest.mark.control("UC-T.3")
async def test_the_service_itself_cannot_change_a_part_of_a_card(bench: Bench, ada: Person):
    token = (await bench.paid_charge(ada)).token_id
    parts = (
        "last4 = '1111'",
        "card_brand = 'amex'",
        "generation = 2",
        "generation = generation",
        "generation = 2, last4 = '1111', sealed_number = sealed_details",
        (
            "generation = 2, wrapped_key = wrapped_key || 'x', sealed_number = 'x', sealed_details = 'x', "
            "on_file_since = now()"
        ),
        "generation = 3, wrapped_key = '', sealed_number = 'x', sealed_details = 'x', on_file_since = NULL",
    )
    connection = await asyncpg.connect(bench.databases.app_dsn.replace("+asyncpg", ""))
    try:
        await connection.execute("SELECT set_config('undercroft.tenant', $1, false)", ada.tenant_id)
        for part in parts:
            with pytest.raises(asyncpg.CheckViolationError, match="replaced as a whole"):
                await connection.execute(f"UPDATE cards SET {part} WHERE token_id = $1", token)  # noqa: S608 - the parts above
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE charges SET card_generation = 2 WHERE token_id = $1", token)
    finally:
        await connection.close()
