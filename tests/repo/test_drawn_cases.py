"""An ordinary run of the property tests leaves nothing to luck; a long one does."""

import importlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.cases import LONG, ORDINARY, always, cases


def drawn() -> list[tuple[int, str]]:
    kept: list[tuple[int, str]] = []

    @always(300, derandomize=True, database=None)
    @given(st.integers(), st.text())
    def keep(number: int, text: str):
        kept.append((number, text))

    keep()
    return kept


def test_the_same_cases_are_drawn_whatever_else_was_loaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Hypothesis tries what it reads in loaded modules. Which those are differs from worker to worker."""
    before = drawn()
    constants = "".join(f"A{at} = {10**9 + at}, 'loaded {at}'\n" for at in range(400))
    (tmp_path / "loaded_later.py").write_text(constants)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("loaded_later")

    after = drawn()

    assert after == before


def test_a_busy_machine_fails_no_case_and_only_a_long_run_leaves_something_to_luck():
    chosen = cases(10, HealthCheck.function_scoped_fixture)

    assert chosen.deadline is None
    assert set(chosen.suppress_health_check) == {HealthCheck.too_slow, HealthCheck.function_scoped_fixture}
    assert (chosen.max_examples, chosen.derandomize) in {(10, True), (10 * LONG // ORDINARY, False)}
