"""Whatever fails in the vault, and wherever, with a card in hand: nobody is told its number, and it does not stay.

First every way of a card is gone once while nothing fails, and each function that then has the number among its values
is noted: no list of them is kept by hand. Then each of these, each handler of the three listeners and each background
loop is made to fail once (`breaking`), by an exception that says the number in every way an exception can. Then what
was answered, logged, counted and written to the database is searched, and the memory of the vault and of its database.
"""

import ast
from pathlib import Path
from typing import Final

import pytest

from infra.dev.postgres import Cluster
from tests.attacks.breaking import place_of
from tests.attacks.breaking_acts import SAID
from tests.attacks.breaking_run import BACKFILL_FAILED, ENDING, GUARDED, KEPT, PLANTED, TEMPLATES, Broke, break_a_vault
from tests.sandbox.running import ROOT
from tests.support.database import DatabaseMaker
from tests.support.searching import ALL_ENCODINGS, encodings_in

COMMANDS: Final = "vault/cleartext/batch/"
"""Processes of their own: nothing served knows of them (import contracts). `leak_paths_batch` drives a card through."""
PLACES: Final = ("answers", "database", "log", "memory of its database", "memory of the vault", "metrics")


@pytest.fixture(scope="module")
async def broke(
    clusters: dict[str, Cluster], database: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> Broke:
    return await break_a_vault(tmp_path_factory.mktemp("breaks"), clusters["vault"], database("vault"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.control("UC-3.1", "UC-L.1")
def test_the_number_is_nowhere_where_a_planted_one_is_found_in_every_encoding(broke: Broke, place: str):
    assert encodings_in(hit for hit in broke.hits[place] if hit.number == PLANTED) == ALL_ENCODINGS
    assert [hit for hit in broke.hits[place] if hit.number == SAID] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.control("UC-3.1.1")
def test_a_card_typed_without_javascript_is_gone_while_the_browser_that_sent_it_is_still_there(
    broke: Broke, place: str
):
    """The web server keeps what it read of a connection as long as that lives, so the vault ends it."""
    assert [hit for hit in broke.hits[place] if hit.number == KEPT] == []


def test_what_happens_to_a_card_only_sometimes_failed_with_its_number_too(broke: Broke):
    renewal = "vault/cleartext/fingerprint_renewal.py:FingerprintRenewal._renew"

    assert broke.cases[renewal] == "a charge of a card with an older fingerprint"
    assert renewal in broke.held
    assert f"{TEMPLATES}:fill" in broke.as_form
    assert f'"{BACKFILL_FAILED}"' in broke.log


def test_every_handler_failed_and_every_function_that_had_the_number(broke: Broke):
    """A handler that is new is in it by itself; one that cannot be reached has to be said how to."""
    assert broke.handlers
    assert broke.handlers <= broke.cases.keys()
    assert broke.unbroken == []


def test_every_part_of_the_vault_that_reveals_digits_failed_with_them_in_hand(broke: Broke):
    revealing = {
        place_of(str(path))
        for path in (ROOT / "vault" / "cleartext").rglob("*.py")
        if ".reveal()" in path.read_text(encoding="utf-8") and not place_of(str(path)).startswith(COMMANDS)
    }

    assert {"vault/cleartext/tokenise.py", "vault/cleartext/processors/airwallex.py"} <= revealing
    assert revealing <= {place.partition(":")[0] for place in broke.held}


def test_every_loop_failed_and_went_on_or_ended_the_service_with_a_word(broke: Broke):
    assert set(loops()) == {*GUARDED, *ENDING}
    assert broke.exit_codes == [1] * len(ENDING)
    rounds = ("reconcile", "courier", "lifecycle", "updating")
    said = (*(f"{name}_round_failed" for name in rounds), "outbox_caretaking_failed", "background_ended", "uncaught")
    assert [word for word in said if f'"{word}"' not in broke.log] == []


def test_what_failed_was_logged_by_its_kind(broke: Broke):
    """So the exceptions did come as far as where an operator, or whoever asked, might have read them."""
    assert [
        word
        for word in ("unexpected_error", "card_page_failed", "redaction_failed", "fingerprint_not_renewed")
        if word not in broke.log
    ] == []
    assert broke.log.count('"error": "Broken"') > len(broke.cases) // 2


def loops() -> list[str]:
    """Whatever is called `run` and is given the event by which the service stops."""
    return [
        f"{place_of(str(path))}:{owner.name}.{one.name}"
        for path in sorted((ROOT / "vault").rglob("*.py"))
        for owner in ast.parse(Path(path).read_bytes()).body
        if isinstance(owner, ast.ClassDef)
        for one in owner.body
        if isinstance(one, ast.AsyncFunctionDef) and one.name == "run" and "asyncio.Event" in ast.unparse(one.args)
    ]
