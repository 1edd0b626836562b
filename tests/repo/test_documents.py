"""The pages keep the shape they promise, and what they point at is there."""

import re

from compliance.checks.tree import ROOT, Text
from compliance.controls import CONTROLS

DECISION_HEADINGS = ("Context", "Decision", "Weighed", "Consequences", "How to undo")
LINES_OF_A_PAGE = 60


def test_decisions_are_numbered_without_a_gap_and_each_fits_a_page(texts: list[Text]):
    pages = [text for text in texts if re.fullmatch(r"compliance/decisions/\d{4}-.*\.md", text.path)]

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.text.startswith(f"# {page.name[:4]} "), page.path
        assert tuple(re.findall(r"^## (.+)$", page.text, re.MULTILINE)) == DECISION_HEADINGS, page.path
        assert len(page.text.splitlines()) <= LINES_OF_A_PAGE, page.path


def test_every_page_that_is_pointed_at_is_there(texts: list[Text]):
    for text in texts:
        for page in re.findall(r"compliance/[\w/-]+\.(?:md|py)", text.text):
            assert (ROOT / page).exists(), f"{text.path} points at {page}"
        if text.path.endswith(".md"):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", text.text):
                assert (ROOT / text.path).parent.joinpath(target).exists(), f"{text.path} points at {target}"


def test_the_threats_name_controls_that_exist():
    named = set(re.findall(r"UC-[\w.]*\w", (ROOT / "compliance" / "threats.md").read_text(encoding="utf-8")))

    assert named
    assert sorted(named - CONTROLS.keys()) == []


def test_the_list_of_differences_names_pages_that_exist():
    listed = set(
        re.findall(r"\b0\d{3}\b", (ROOT / "compliance" / "decisions" / "README.md").read_text(encoding="utf-8"))
    )
    there = {path.name[:4] for path in (ROOT / "compliance" / "decisions").glob("0*.md")}

    assert sorted(listed - there) == []
