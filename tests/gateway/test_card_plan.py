"""Which card is to pay, and with which terms: the rule itself, case by case."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.callers import CallerKind
from gateway.cards import CHARGE_MINOR_MAX, Capture, Card, Paying, again, planned, terms_for
from gateway.facts import QUOTE_TTL
from gateway.page_language import page_language
from tests.gateway import given
from vault.contract import CaptureChannel, CaptureState, PageLanguage, TokenTerms, TokenUses

ASSISTANT = given.agent(kind=CallerKind.ASSISTANT, client_id="ast_claude")
ONE_PAYMENT = TokenTerms(
    uses=TokenUses.SINGLE,
    good_until=given.NOW + QUOTE_TTL,
    agent_id="agt_larkspur",
    currency="USD",
    amount_exact_minor=4_000,
)


def paying(**changes: Any) -> Paying:
    facts = Paying(
        quote=given.quote(),
        caller=given.agent(),
        mandate=given.mandate(),
        remembers=True,
        card=None,
        capture=None,
        typed=False,
        call=None,
        language=None,
        now=given.NOW,
    )
    return replace(facts, **changes)


def on_file(**changes: Any) -> Card:
    return replace(Card(token_id="tok_one", card_brand="visa", last4="4242", terms=terms_for(paying())), **changes)


def asked(facts: Paying, **changes: Any) -> Capture:
    """What the plan wants, as a capture that was ordered."""
    wanted = planned(facts).wanted
    assert wanted is not None
    capture = Capture(
        channel=wanted.channel,
        terms=wanted.terms,
        replaces_card_of=wanted.replaces_card_of,
        language=wanted.language,
        capture_id="cap_one",
        state=CaptureState.OPEN,
        amount_minor=facts.quote.amount_minor,
        currency=facts.quote.currency,
        token_id=None,
    )
    return replace(capture, **changes)


@pytest.mark.parametrize("not_agreed", [{"remembers": False}, {"mandate": None}])
def test_a_card_that_nobody_agreed_to_keep_is_for_one_payment_of_exactly_this(not_agreed: dict[str, Any]):
    assert terms_for(paying(**not_agreed)) == ONE_PAYMENT


def test_a_card_that_is_remembered_is_for_as_much_as_the_mandate_says():
    until = given.mandate().expires_at

    agents = terms_for(paying())
    assistants = terms_for(paying(caller=ASSISTANT))
    uncapped = terms_for(paying(mandate=given.mandate(payment_cap_minor=CHARGE_MINOR_MAX + 1)))

    assert agents == TokenTerms(good_until=until, currency="USD", amount_max_minor=5_000, forwards=True)
    assert assistants == TokenTerms(
        good_until=until, agent_id="ast_claude", currency="USD", amount_max_minor=5_000, forwards=False
    )
    assert uncapped.amount_max_minor is None


def test_the_card_on_file_pays_what_its_token_is_for():
    assert planned(paying(card=on_file())).card == on_file()
    assert planned(paying(card=on_file(terms=None))).card is not None


@pytest.mark.parametrize(
    "why_not",
    [
        {"quote": given.quote(amount_minor=5_001)},
        {"quote": given.quote(currency="EUR")},
        {"now": given.mandate().expires_at},
        {"card": on_file(terms=TokenTerms(agent_id="ast_claude"))},
        {"remembers": False},
    ],
)
def test_a_card_on_file_that_is_not_for_this_is_neither_charged_nor_replaced(why_not: dict[str, Any]):
    plan = planned(paying(**({"card": on_file()} | why_not)))

    assert plan.wanted is not None
    assert plan.wanted.replaces_card_of is None


@pytest.mark.parametrize("why", [{"typed": True}, {"card": on_file(unusable=True)}])
def test_another_card_takes_the_place_of_the_one_on_file(why: dict[str, Any]):
    plan = planned(paying(**({"card": on_file()} | why)))

    assert plan.wanted is not None
    assert plan.wanted.replaces_card_of == "tok_one"


def test_a_keyed_card_takes_nobodys_place_and_a_wanted_one_is_typed():
    call = {"call": "evd_one"}

    keyed = planned(paying(card=on_file(unusable=True), **call))
    typed = planned(paying(card=on_file(), typed=True, **call))

    assert (keyed.keyed_by_phone, keyed.wanted and keyed.wanted.replaces_card_of) == (True, None)
    assert (typed.keyed_by_phone, typed.wanted and typed.wanted.replaces_card_of) == (False, "tok_one")
    assert not planned(paying(card=on_file(), **call)).keyed_by_phone, "a card on file is no telephone order"


def test_a_page_stays_while_it_asks_for_what_would_be_asked_for_now():
    facts = paying(remembers=False)
    page = asked(facts)

    assert planned(replace(facts, capture=page)).capture == page
    later = replace(facts, capture=page, now=given.NOW + QUOTE_TTL - timedelta(seconds=1))
    assert planned(later).capture == page
    done = replace(page, state=CaptureState.COMPLETED, token_id="tok_new")
    assert planned(replace(facts, capture=done)).capture == done


@pytest.mark.parametrize(
    "changes",
    [
        {"quote": given.quote(amount_minor=4_001)},
        {"quote": given.quote(currency="EUR")},
        {"caller": given.agent(client_id="agt_other")},
        {"remembers": True},
        {"now": given.NOW + QUOTE_TTL},
    ],
)
def test_a_page_for_something_else_is_replaced(changes: dict[str, Any]):
    facts = paying(remembers=False)

    plan = planned(replace(facts, capture=asked(facts), **changes))

    assert plan.wanted is not None


def test_a_page_from_before_there_were_terms_is_replaced():
    assert planned(paying(capture=asked(paying(), terms=None))).wanted is not None


def test_a_keypad_stays_for_the_call_only():
    facts = paying(call="evd_one")
    keypad = asked(facts)

    assert keypad.channel is CaptureChannel.PHONE
    assert planned(replace(facts, capture=keypad)).keyed_by_phone
    assert not planned(replace(facts, capture=keypad, call=None)).keyed_by_phone
    assert not planned(replace(facts, capture=keypad, typed=True)).keyed_by_phone
    assert again(keypad).channel is CaptureChannel.PAGE


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("de-AT", PageLanguage.GERMAN),
        ("PT-br", PageLanguage.PORTUGUESE),
        ("zh-Hant", None),
        ("deu", None),
        (None, None),
    ],
)
def test_the_page_is_asked_for_in_a_language_it_has(tag: str | None, language: PageLanguage | None):
    assert page_language(tag) is language
