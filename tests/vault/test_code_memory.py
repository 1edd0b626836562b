"""Where verification codes are, and where they are not any more: this machine's memory is searched for them."""

import json
import subprocess
import sys
from datetime import timedelta
from signal import SIGSEGV
from typing import Any

import pytest

from tests.sandbox.running import ROOT
from tests.support.memory import Needle, are_in_memory
from tests.vault.bench import Bench, Person, rows
from tests.vault.code_keeper import sealed_place
from tests.vault.test_vault_database import APP_RIGHTS
from vault.codes import CodeTooLong

AMEX, DECLINED, CODE = "378282246310005", "4000000000000002", "7391"


def keeper(what: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.vault.code_keeper", what], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def told() -> Any:
    return keeper("search")


@pytest.mark.control("UC-3.3.1")
def test_nothing_of_a_code_is_left_in_memory_however_it_ended(told: Any):
    """Taken, replaced, expired, forgotten, and at the end of the process. Each: the code, and its sealed form."""
    brought, held, gone = [True, True], [False, True], [False, False]
    assert told["seen"] == [[brought, held, gone]] * 5
    assert told["key_left"] is False


@pytest.mark.control("UC-3.3.1")
def test_the_pages_with_codes_are_in_no_core_file_and_no_child_and_locked_where_they_say_so(told: Any):
    assert {"dd", "dc"} <= set(told["flags"]), "not dumped, not copied to a child"
    assert ("lo" in told["flags"]) is told["locked"]


def test_a_child_process_has_no_such_pages():
    assert keeper("in_a_child") == {"ended": -SIGSEGV}


def test_where_nothing_may_be_locked_codes_are_kept_and_it_is_said():
    assert keeper("without_room") == {"locked": False, "code": "123"}


async def test_the_metric_says_whether_they_are_locked(bench: Bench):
    told = (await bench.api.get("/metrics")).text

    assert f"vault_codes_memory_locked {float(bench.vault.codes.pages.locked)}" in told


@pytest.mark.parametrize("end", ["approved", "declined", "expired"])
@pytest.mark.control("UC-3.3.1")
async def test_a_typed_cards_code_is_gone_from_the_vaults_memory_after_its_end(bench: Bench, ada: Person, end: str):
    token = await bench.new_token(ada, DECLINED if end == "declined" else "4242424242424242")
    code = Needle.of(sealed_place(bench.vault.codes))
    there = are_in_memory(code)

    if end == "expired":
        bench.clock.advance(timedelta(minutes=10))
        bench.vault.codes.forget_expired()
    else:
        answer = await bench.charge(ada.charge(token))
        assert answer.json()["state"] == end

    assert (there, are_in_memory(code)) == ((True,), (False,))


@pytest.mark.control("UC-3.3.1")
async def test_no_row_of_the_vault_holds_a_code(bench: Bench, ada: Person):
    order = ada.capture()
    await bench.order_capture(order)
    await bench.enter(order)
    await bench.type_card(order, AMEX, code=CODE)
    token = (await bench.show_capture(order)).json()["token_id"]
    unfinished = [await everything(bench, ada)]
    await bench.charge(ada.charge(token))

    for values in (*unfinished, await everything(bench, ada)):
        assert len(values) > 20
        assert [value for value in values if says_code(value)] == []


async def everything(bench: Bench, person: Person) -> list[Any]:
    """Every value of every row the tenant has."""
    tables = [await rows(bench.databases.owner_dsn, f"TABLE {name}", person.tenant_id) for name in APP_RIGHTS]
    theirs = [row for table in tables for row in table if row.get("tenant_id") == person.tenant_id]
    return [value for row in theirs for value in row.values()]


def says_code(value: object) -> bool:
    if isinstance(value, bytes):
        return CODE.encode() in value
    return CODE in value if isinstance(value, str) else value == int(CODE)


def test_the_search_for_a_code_finds_one():
    assert [says_code(value) for value in (7391, "x7391", b"..7391", 739, "7390", None)] == [True] * 3 + [False] * 3


def test_what_is_no_code_is_not_kept(bench: Bench):
    with pytest.raises(CodeTooLong):
        bench.vault.codes.keep("tnt_a", "tok_a", memoryview(b"4242424242424242"))


def test_after_the_end_nothing_is_kept_any_more(bench: Bench):
    bench.vault.codes.forget_all()
    bench.vault.codes.keep("tnt_a", "tok_a", memoryview(b"123"))

    assert bench.vault.codes.take("tnt_a", "tok_a") is None
