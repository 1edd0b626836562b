"""Stored cards are asked about at the card updater and renewed under their tokens: when, how often, what is told."""

import asyncio
import json
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import APPROVES, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.commanding import command_of
from tests.vault.keys import acts, change
from tests.vault.receiver import events
from tests.vault.updates import MASTERCARD, around, asked, opened, replaced, row_of, told
from tests.vault.updating import (
    NEXT,
    THIRD,
    Company,
    clear_of_month_end,
    inquiries,
    on_file,
    open_updating,
    this_month,
    turn_on,
)
from vault.canary_marks import CanaryMarks
from vault.canary_planting import Planting
from vault.cleartext.updaters.checkout import CheckoutUpdater
from vault.contract import TokenTerms, TokenUses
from vault.fingerprint import Fingerprints
from vault.store import Store
from vault.updating.commands import updater

EXPIRED = "4000000000000069"
LATER: dict[str, Any] = {"expiry_month": 12, "expiry_year": 2040}


@pytest.fixture
def company(processor: Sandbox) -> Iterator[Company]:
    there = Company(processor)
    yield there
    there.forget()


@pytest.fixture(scope="module")
def updated(database: DatabaseMaker) -> ServiceDatabase:
    """Of this file's tests: a round goes over all tenants there are."""
    return database("vault")


@pytest.fixture
async def own(
    updated: ServiceDatabase, processor: Sandbox, company: Company, ada: Person, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A vault that is connected to the updater, which Ada's tenant alone may have turned on."""
    async with open_updating(tmp_path, updated, processor) as bench:
        clear_of_month_end(bench.clock)
        yield bench
        await rows(updated.app_dsn, "DELETE FROM card_updating RETURNING 1", ada.tenant_id)


async def ending(bench: Bench, person: Person, number: str = APPROVES) -> str:
    """The token of a card on file that ends this month, of a tenant who wants it kept up to date."""
    token = await on_file(bench, person, this_month(bench.clock.now()), number)
    await turn_on(bench.databases, person, bench.clock.now())
    return token


@pytest.mark.control("UC-T.7")
async def test_a_card_that_ends_soon_is_another_number_under_the_same_token_and_stays_on_file(
    own: Bench, ada: Person, company: Company
):
    token = await ending(own, ada)
    before = await row_of(own, ada, token)
    company.knows("CARD_UPDATED", new_number=NEXT, **LATER)

    asked_about = [await own.vault.updating.run_once(), await own.vault.updating.run_once()]

    after = await row_of(own, ada, token)
    assert asked_about == [1, 0], "once this month"
    assert company.asked == ["4242"]
    assert await opened(own, ada, token) == (NEXT, 12, 2040)
    assert (after["generation"], after["last4"], str(after["good_through"])) == (2, NEXT[-4:], "2040-12-31")
    assert (after["on_file_since"], after["terms"]) == (before["on_file_since"], before["terms"])
    sealed = ("fingerprint", "wrapped_key", "sealed_number", "sealed_details")
    assert all(after[name] != before[name] for name in sealed)
    assert await inquiries(own.databases, ada) == [("expiring", 1, "updated")]
    assert await told(own, ada.charge(token)) == ("approved", None), "without a code"


async def test_the_tenant_is_told_with_four_digits_and_the_old_card_is_to_be_shredded(
    own: Bench, ada: Person, company: Company
):
    token = await ending(own, ada)
    company.knows("CARD_UPDATED", new_number=NEXT, **LATER)

    await own.vault.updating.run_once()

    last = (await events(own, ada.tenant_id))[-1]
    sql = "SELECT token_id, cause, ordered_by FROM shreddings"
    assert last["type"] == "card.updated"
    whose = {"token_id": token, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    assert last["data"] == whose | {"card_brand": "visa", "last4": NEXT[-4:]}
    shredded = {"token_id": token, "cause": "replaced", "ordered_by": "card updater"}
    assert await rows(own.databases.app_dsn, sql, ada.tenant_id) == [shredded]


async def test_another_month_alone_keeps_the_number(own: Bench, ada: Person, company: Company):
    token = await ending(own, ada)
    company.knows("CARD_EXPIRY_UPDATED", shows_number=False, **LATER)

    await own.vault.updating.run_once()

    row = await row_of(own, ada, token)
    assert await opened(own, ada, token) == (APPROVES, 12, 2040)
    assert (row["generation"], row["last4"], str(row["good_through"])) == (2, "4242", "2040-12-31")
    assert await told(own, ada.charge(token)) == ("approved", None)


@pytest.mark.control("UC-T.7")
async def test_without_the_tenants_word_nothing_is_asked(own: Bench, ada: Person, company: Company):
    token = await on_file(own, ada, this_month(own.clock.now()))
    company.knows("CARD_UPDATED", new_number=NEXT)

    assert await own.vault.updating.run_once() == 0
    assert company.asked == []
    assert (await row_of(own, ada, token))["generation"] == 1


async def test_only_cards_that_need_it_are_asked_about(own: Bench, ada: Person, company: Company):
    """Not one good for years, one never charged, one of a network nobody updates, or one a charge is under way with."""
    month = this_month(own.clock.now())
    await on_file(own, ada, "12/40")
    await turn_on(own.databases, ada, own.clock.now())
    never_charged = ada.capture()
    await own.order_capture(never_charged)
    await own.enter(never_charged)
    await own.type_card(never_charged, expiry=month)
    await on_file(own, ada, month, "6011111111111117")
    await on_file(own, ada, month, terms=TokenTerms(uses=TokenUses.SINGLE))
    await on_file(own, ada, month, terms=TokenTerms(good_until=own.clock.now() + timedelta(hours=1)))
    own.clock.advance(timedelta(hours=1))
    busy = await on_file(own, ada, month)
    own.processor.fault("error_500_after_charge")
    assert await told(own, ada.charge(busy)) == ("unknown", None)

    assert await own.vault.updating.run_once() == 0
    assert company.asked == []


async def test_a_card_that_was_declined_as_expired_is_asked_about(own: Bench, ada: Person, company: Company):
    token = await own.new_token(ada, EXPIRED)
    await turn_on(own.databases, ada, own.clock.now())
    assert await told(own, ada.charge(token)) == ("declined", "expired_card")
    sql = "UPDATE cards SET on_file_since = :now WHERE token_id = :token"
    await change(own.databases, ada.tenant_id, sql, now=own.clock.now(), token=token)
    company.knows("CARD_UPDATED", EXPIRED, new_number=NEXT, **LATER)

    await own.vault.updating.run_once()

    assert await inquiries(own.databases, ada) == [("declined", 1, "updated")]
    assert await told(own, ada.charge(token)) == ("approved", None)


@pytest.mark.control("UC-T.7")
async def test_a_closed_card_is_not_used_any_more_until_another_is_typed(own: Bench, ada: Person, company: Company):
    token = await ending(own, ada)
    company.knows("CARD_CLOSED")

    await own.vault.updating.run_once()

    refused = await told(own, ada.charge(token))
    last = (await events(own, ada.tenant_id))[-2]
    await replaced(own, ada, token)
    with_another = await told(own, ada.charge(token))
    assert refused == ("failed", "card_closed")
    assert (last["type"], last["data"]["last4"]) == ("card.closed", "4242")
    assert await inquiries(own.databases, ada) == [("expiring", 1, "closed")]
    assert with_another == ("approved", None)
    assert (await row_of(own, ada, token))["closed_at"] is None


@pytest.mark.control("UC-T.7")
@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        ({"status": "CARD_UPDATED", "new_number": MASTERCARD}, "implausible"),
        ({"status": "CARD_UPDATED", "new_number": NEXT, "expiry_year": 2099}, "implausible"),
        ({"status": "CARD_UPDATED", "new_number": NEXT, "shows_number": False}, "withheld"),
        ({"status": "UPDATE_FAILED", "failure_code": "NON_PARTICIPATING_BIN"}, "not_participating"),
    ],
)
async def test_what_is_no_update_leaves_the_card_as_it_was(
    own: Bench, ada: Person, company: Company, known: dict[str, Any], outcome: str
):
    token = await ending(own, ada)
    before = await row_of(own, ada, token)
    company.knows(**known)

    await own.vault.updating.run_once()

    assert await row_of(own, ada, token) == before
    assert await inquiries(own.databases, ada) == [("expiring", 1, outcome)]


async def test_a_silent_updater_is_asked_three_times_a_month_and_not_more(own: Bench, ada: Person, company: Company):
    token = await ending(own, ada)
    company.fault("error_500", times=10)
    before, found = await row_of(own, ada, token), []

    for _ in range(5):
        found.append(await own.vault.updating.run_once())
        found.append(await own.vault.updating.run_once())
        own.clock.advance(timedelta(minutes=61))

    assert found == [1, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    assert await inquiries(own.databases, ada) == [("expiring", 3, None)]
    assert await row_of(own, ada, token) == before


async def test_an_updater_that_wants_to_rest_is_left_alone_and_that_was_no_try(
    own: Bench, ada: Person, company: Company
):
    token = await ending(own, ada)
    company.knows("CARD_UPDATED", new_number=NEXT, **LATER)
    company.fault("rate_limit")

    found = [await own.vault.updating.run_once(), await own.vault.updating.run_once()]
    tried = await inquiries(own.databases, ada)
    own.clock.advance(timedelta(seconds=121))
    found.append(await own.vault.updating.run_once())

    assert found == [1, 0, 1]
    assert tried == [("expiring", 0, None)]
    assert (await row_of(own, ada, token))["last4"] == NEXT[-4:]


async def test_a_round_ends_after_three_silences(own: Bench, ada: Person, company: Company):
    for _ in range(4):
        await on_file(own, ada, this_month(own.clock.now()))
    await turn_on(own.databases, ada, own.clock.now())
    company.fault("not_json", times=3)

    assert await own.vault.updating.run_once() == 3


async def test_no_more_is_asked_in_a_day_than_the_budget_has(
    updated: ServiceDatabase, processor: Sandbox, company: Company, ada: Person, tmp_path: Path
):
    async with open_updating(tmp_path, updated, processor, updater_daily_max=2) as bench:
        clear_of_month_end(bench.clock)
        company.knows("CARD_CLOSED")
        for _ in range(3):
            await on_file(bench, ada, this_month(bench.clock.now()))
        await turn_on(bench.databases, ada, bench.clock.now())

        found = [await bench.vault.updating.run_once(), await bench.vault.updating.run_once()]
        bench.clock.advance(timedelta(hours=25))
        found.append(await bench.vault.updating.run_once())
        await rows(bench.databases.app_dsn, "DELETE FROM card_updating RETURNING 1", ada.tenant_id)

    assert found == [2, 0, 1]


@pytest.mark.control("UC-T.7")
async def test_two_vaults_at_once_ask_about_a_card_once(own: Bench, ada: Person, company: Company, tmp_path: Path):
    await ending(own, ada)
    company.knows("CARD_CLOSED")
    (tmp_path / "other").mkdir()
    same = {name: getattr(own.settings, name) for name in ("updater", "keys", "fingerprint_key")}

    async with open_bench(tmp_path / "other", own.databases, own.processor, **same) as other:
        await asyncio.gather(*(vault.updating.run_once() for vault in (own.vault, other.vault) for _ in range(3)))

    assert company.asked == ["4242"]
    assert [kind["type"] for kind in await events(own, ada.tenant_id)].count("card.closed") == 1


@pytest.mark.control("UC-T.7")
@pytest.mark.parametrize("status", ["CARD_UPDATED", "CARD_CLOSED"])
async def test_a_card_that_a_person_typed_meanwhile_is_theirs_to_keep(
    own: Bench, ada: Person, company: Company, monkeypatch: pytest.MonkeyPatch, status: str
):
    token = await ending(own, ada)
    company.knows(status, new_number=NEXT, **LATER)
    around(monkeypatch, CheckoutUpdater, "ask", after=lambda: replaced(own, ada, token))

    await own.vault.updating.run_once()

    row = await row_of(own, ada, token)
    assert (row["generation"], row["last4"], row["closed_at"]) == (2, MASTERCARD[-4:], None)
    assert await inquiries(own.databases, ada) == [("expiring", 1, "overtaken")]


@pytest.mark.control("UC-T.7")
async def test_a_page_that_was_opened_before_the_update_replaces_no_newer_card(
    own: Bench, ada: Person, company: Company
):
    token = await ending(own, ada)
    order = await asked(own, ada, token)
    company.knows("CARD_UPDATED", new_number=NEXT, **LATER)

    await own.vault.updating.run_once()
    late = await own.page(order)

    assert late.status_code == 409
    assert (await row_of(own, ada, token))["last4"] == NEXT[-4:]


async def test_a_card_that_does_not_open_is_not_sent_and_not_sealed_anew(own: Bench, ada: Person, company: Company):
    token = await ending(own, ada)
    sql = "UPDATE cards SET sealed_details = sealed_number WHERE token_id = :token"
    await change(own.databases, ada.tenant_id, sql, token=token)
    company.knows("CARD_UPDATED", new_number=NEXT, **LATER)

    await own.vault.updating.run_once()

    assert company.asked == []
    assert await inquiries(own.databases, ada) == [("expiring", 1, "unreadable")]


@pytest.mark.control("UC-T.2")
async def test_a_canary_is_never_sent_and_looks_as_if_it_had_been(own: Bench, ada: Person, company: Company):
    await own.new_token(ada)
    fingerprints = Fingerprints(own.settings.fingerprint_key)
    planting = Planting(
        store=Store(own.vault.engine),
        ring=own.vault.keeping.ring,
        marks=CanaryMarks(fingerprints.keys()),
        fingerprints=fingerprints,
        clock=own.clock,
    )
    canary = await planting.plant(ada.tenant_id, ada.brand_id, "operator ada")
    sql = "UPDATE cards SET good_through = CAST(:day AS text)::date WHERE token_id = :token"
    day = f"{own.clock.now() + timedelta(days=10):%Y-%m-%d}"
    await change(own.databases, ada.tenant_id, sql, day=day, token=canary)
    await turn_on(own.databases, ada, own.clock.now())

    await own.vault.updating.run_once()

    assert company.asked == []
    assert await inquiries(own.databases, ada) == [("expiring", 1, "up_to_date")]


async def test_the_command_turns_it_on_and_off_and_counts_and_says_no_digit(
    own: Bench, ada: Person, company: Company, tmp_path: Path
):
    command = command_of(own, tmp_path)
    await on_file(own, ada, this_month(own.clock.now()))
    company.knows("CARD_UPDATED", new_number=THIRD, **LATER)

    asked_for = Namespace(tenant=ada.tenant_id, on=False, off=False)
    store = Store(own.vault.engine)

    before = await updater(store, asked_for, "ada", own.clock.now())
    on = command.run("tokens", "updater", ada.tenant_id, "--on")
    await own.vault.updating.run_once()
    after = await updater(store, asked_for, "ada", own.clock.now())
    off = command.run("tokens", "updater", ada.tenant_id, "--off")
    stranger = command.run("tokens", "updater", "tnt_nobody")

    assert before == [f"{ada.tenant_id}: off, 1 cards to be asked about"]
    assert on.lines[0].startswith(f"{ada.tenant_id}: on, ")
    assert after == [
        f"{ada.tenant_id}: on, 0 cards to be asked about",
        f"{own.clock.now():%Y-%m}  {'updated':18} {1:>9}",
    ]
    assert off.lines[0].startswith(f"{ada.tenant_id}: off, ")
    assert (stranger.code, stranger.out) == (1, "")
    said = [act for _, act, _, _ in await acts(own.databases, ada.tenant_id)]
    assert said[-2:] == ["card updater turned on", "card updater turned off"]


@pytest.mark.control("UC-T.7")
async def test_the_services_role_puts_no_card_on_file_and_answers_no_inquiry_that_was_not_made(own: Bench, ada: Person):
    token = await own.new_token(ada)
    row = await row_of(own, ada, token)
    grab = """UPDATE cards SET generation = 2, on_file_since = now(), wrapped_key = wrapped_key || 'x'::bytea,
        sealed_number = sealed_number || 'x'::bytea, sealed_details = sealed_details || 'x'::bytea
        WHERE token_id = :token"""
    made = json.dumps({"token_id": token, "generation": 2, "known_as": [], "shredding_id": "shd_x"})
    act = "SELECT update_card(:tenant, :brand, :subject, '2026-11-01', now(), :card, '{}')"
    whose = {"tenant": ada.tenant_id, "brand": ada.brand_id, "subject": ada.subject_id}

    with pytest.raises(Exception, match="a card is replaced as a whole"):
        await change(own.databases, ada.tenant_id, grab, token=token)
    (answered,) = await rows(own.databases.app_dsn, act, ada.tenant_id, card=made, **whose)

    assert list(answered.values()) == ["overtaken"]
    assert await row_of(own, ada, token) == row
