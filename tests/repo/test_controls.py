"""Controls and tests know each other, both ways; the marks are read from the text, so a partial run proves it too."""

import re

from compliance import evidence
from compliance.checks.marks import Evidence, evidence_in
from compliance.checks.tree import Source
from compliance.controls import CONTROLS

REPORT = """<testsuites><testsuite>
<testcase classname="tests.vault.test_codes" name="test_taken_once[4]"/>
<testcase classname="tests.vault.test_codes" name="test_taken_once[3]"><failure message="x"/></testcase>
<testcase classname="tests.vault.test_codes.TestCodes" name="test_gone"><skipped/></testcase>
<testcase classname="tests.vault.test_codes" name="test_kept"/>
</testsuite></testsuites>"""


def test_every_control_has_a_test(sources: list[Source]):
    marked = {one.control for one in evidence_in(sources)}

    assert sorted(CONTROLS.keys() - marked) == []


def test_every_mark_names_a_control(sources: list[Source]):
    unknown = [one for one in evidence_in(sources) if one.control not in CONTROLS]

    assert unknown == []


def test_a_control_says_what_is_claimed_and_what_is_not_in_whole_sentences():
    for name, control in CONTROLS.items():
        assert re.fullmatch(r"UC-([A-Z]\.\d+|\d+(\.\d+)*)", name)
        assert control.sources, name
        for text in (control.claim, control.not_claimed):
            assert text[0].isupper(), name
            assert text.endswith("."), name


def test_the_worst_outcome_of_a_tests_parameters_counts():
    assert evidence.outcomes_in(REPORT) == {
        "tests/vault/test_codes.py::test_taken_once": "failed",
        "tests/vault/test_codes.py::TestCodes::test_gone": "skipped",
        "tests/vault/test_codes.py::test_kept": "passed",
    }


def test_the_table_shows_each_control_with_its_tests_and_what_became_of_them():
    found = [Evidence("UC-3.3", "tests/a.py::test_x"), Evidence("UC-3.3", "tests/a.py::test_y")]

    rows = list(evidence.table(found, {"tests/a.py::test_x": "passed"}))

    (row,) = [row for row in rows if row.startswith("| **UC-3.3**")]
    assert row.endswith("| `tests/a.py::test_x` passed<br>`tests/a.py::test_y` did not run |")
    assert len(rows) == len(CONTROLS) + 2
