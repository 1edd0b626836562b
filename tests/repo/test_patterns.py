r"""Every pattern of a contract ends where its text ends: `$` would take a line break after it, msgspec searches."""

import re

import msgspec
import pytest

from compliance.checks.patterns import open_patterns, patterns
from compliance.checks.tree import PRODUCT, Source, source
from infra.chassis.openapi import ENDS
from vault.contract import AgentName, Currency, Identifier

PATTERNS_MIN = 25
"""There were 37 when this was written: a rule that finds none holds nothing."""


def said(sources: list[Source]) -> set[str]:
    return {text for file in sources if file.top in PRODUCT for _, text in patterns(file) if text is not None}


@pytest.mark.control("UC-3.1")
def test_no_contract_has_an_open_pattern(sources: list[Source]):
    found = [one for file in sources if file.top in PRODUCT for one in open_patterns(file)]

    assert [str(one) for one in found] == []
    assert len(said(sources)) >= PATTERNS_MIN


@pytest.mark.parametrize("value", ["USD", "sub_ada", "+15550109988", "https://a.example", "0" * 64, "12"])
def test_no_pattern_of_the_tree_takes_a_line_break_at_the_end_nor_does_its_published_form(
    sources: list[Source], value: str
):
    taking = [text for text in said(sources) if re.search(text, value)]

    assert taking
    for text in taking:
        assert re.search(text.replace(r"\Z", ENDS), value), text
        assert not re.search(text, f"{value}\n"), text
        assert not re.search(text.replace(r"\Z", ENDS), f"{value}\n"), text


@pytest.mark.parametrize(("kind", "value"), [(Identifier, "sub_ada"), (Currency, "USD"), (AgentName, "ada-client")])
def test_an_id_a_currency_and_a_name_end_without_a_line_break(kind: object, value: str):
    assert msgspec.convert(value, kind) == value

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(f"{value}\n", kind)


@pytest.mark.parametrize(
    "pattern",
    [r"^[A-Z]{3}$", r"[A-Z]{3}\Z", r"^[A-Z]{3}", r"^[A-Z]{3}$|^x\Z", r"^a|b\Z", r"^[A-Z]{3}($|x)\Z", r"^[A-Z]{3}\\Z$"],
)
def test_an_open_pattern_is_found(pattern: str):
    for code in (f"x: Annotated[str, msgspec.Meta(pattern=r'{pattern}')]", f"P = r'{pattern}'\nX = Meta(pattern=P)"):
        assert len(list(open_patterns(source("gateway/x.py", code)))) == 1, code


@pytest.mark.parametrize("pattern", [r"^[$|]\$\|(a|b)\Z", r"\A[]|$]\Z", r"^(?!.*[0-9]{7})[A-Z]\Z"])
def test_a_closed_pattern_is_passed(pattern: str):
    assert list(open_patterns(source("gateway/x.py", f"X = msgspec.Meta(min_length=1, pattern=r'{pattern}')"))) == []


@pytest.mark.parametrize("how", ["pattern=elsewhere", "pattern='^a' + END", "**more"])
def test_a_pattern_that_cannot_be_read_is_found(how: str):
    assert len(list(open_patterns(source("gateway/x.py", f"X = Meta({how})")))) == 1
