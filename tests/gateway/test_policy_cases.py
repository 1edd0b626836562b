"""The cases beside the policies, and how strictly a file of cases is read."""

from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.cedar import FOLDER, GROUP_OF, Cedar
from gateway.overlays.cases import CASES, Case, CasesRefused, cases_in, run, shipped_cases
from gateway.overlays.commands import without_case
from gateway.overlays.strict_yaml import NODES_MAX

CEDAR = Cedar.load()
REFUND = (CASES / "refund.yaml").read_text()


@pytest.mark.parametrize("case", shipped_cases(), ids=lambda case: f"{case.file}: {case.name}")
def test_a_case_is_answered_as_it_says(case: Case):
    assert [str(failure) for failure in run(CEDAR, [case])] == []


def test_every_policy_is_the_reason_of_a_case_and_every_action_is_allowed_in_one():
    assert without_case(CEDAR, shipped_cases()) == []
    assert {case.question.action for case in shipped_cases() if case.allow} == set(GROUP_OF)


def test_a_policy_without_a_case_is_named():
    kept = [case for case in shipped_cases() if "cart is another" not in case.name]

    assert without_case(CEDAR, kept) == ["purchase.cedar, policy 7"]


def test_the_command_runs_the_cases_beside_our_policies(capsys: pytest.CaptureFixture[str]):
    assert main(["policy", "test"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == f"{len(shipped_cases())} cases, 0 failures"


def test_the_command_names_file_and_line_of_a_case_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "mine.yaml"
    file.write_text(REFUND.replace("deny: [over_refundable]", "deny: [not_refundable]"))

    code = main(["policy", "test", str(file)])

    assert code == 1
    line = 1 + REFUND[: REFUND.index("- name: a cent too much")].count("\n")
    wanted = f"mine.yaml:{line}: a cent too much: wanted deny [not_refundable], got deny [over_refundable]"
    assert wanted in capsys.readouterr().out


def test_a_changed_policy_fails_its_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "policies").mkdir()
    (tmp_path / "schema.cedarschema").write_text((FOLDER / "schema.cedarschema").read_text())
    for policy in (FOLDER / "policies").glob("*.cedar"):
        stricter = policy.read_text().replace("> resource.refundable_minor", ">= resource.refundable_minor")
        (tmp_path / "policies" / policy.name).write_text(stricter)

    code = main(["policy", "test", str(CASES), "--rules", str(tmp_path)])

    assert code == 1
    assert "all of it: wanted allow [caller_may], got deny [over_refundable]" in capsys.readouterr().out


def test_rules_laid_over_ours_have_cases_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "refund.cedar").write_text(
        '@id("tenant_rule") forbid (principal, action == Action::"refund", resource) when { context.amount_minor > 9 };'
    )

    code = main(["policy", "test", str(CASES / "refund.yaml"), "--rules", str(tmp_path)])

    assert code == 1
    failed = capsys.readouterr().out
    assert "all of it: wanted allow [caller_may], got deny [tenant_rule]" in failed
    assert "a part" not in failed


def changed(old: str, new: str) -> str:
    assert old in REFUND
    return REFUND.replace(old, new, 1)


A_PART = "  - name: a part\n"
BOTH = "    allow: [caller_may]\n    deny: [scope_missing]\n"
TEN = ",".join(["*{0}"] * 10)
GROWING = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{TEN.format(before)}]\n" for before, name in ("ab", "bc", "cd", "de")
)
# What is wrong → the file, the words whose line is to be named, and words of the sentence.
REFUSED = {
    "unknown key": (changed(A_PART, A_PART + "    colour: red\n"), "colour", "colour is not known"),
    "unknown key at the top": ("colour: red\n" + REFUND, "colour", "colour is not known"),
    "key given twice": (changed("    paid: true\n", "    paid: true\n    paid: false\n"), "paid: false", "given twice"),
    "action given twice": (REFUND + "action: recall\n", "action: recall", "given twice"),
    "merge key": (changed("    paid: true\n", "    <<: {paid: true}\n"), "<<", "a key is text"),
    "number as a key": (changed("    paid: true\n", "    1: true\n"), "    1: true", "a key is text"),
    "unknown action": (changed("action: refund", "action: refunds"), "refunds", "no action refunds"),
    "unknown reason": (changed("[not_refundable]", "[because]"), "because", "no reason because"),
    "reason given twice": (changed("[not_refundable]", "[scope_missing, scope_missing]"), "[scope_m", "given twice"),
    "no reason": (changed("[not_refundable]", "[]"), "deny: []", "at least one"),
    "reasons as text": (changed("[not_refundable]", "not_refundable"), "deny: not_re", "a list"),
    "allow and deny": (changed("    allow: [caller_may]\n", BOTH), "all of it", "either"),
    "neither": (changed("    allow: [caller_may]\n", ""), "all of it", "either"),
    "name missing": (changed("  - name: a part\n    change", "  - change"), "- change", "name is missing"),
    "name given twice": (
        changed("- name: nothing", "- name: a part"),
        "a part\n    change: {context.amount_minor: 0",
        "two",
    ),
    "fact that is not there": (changed("Purchase.paid: false", "Parcel.paid: false"), "Parcel", "no Parcel"),
    "taken away and not there": (changed("Purchase.paid: false", "Purchase.colour: null"), "colour", "not there"),
    "caller taken away": (changed("Purchase.paid: false", "Caller: null"), "Caller: null", "only null"),
    "fraction": (changed("amount_minor: 1}", "amount_minor: 1.5}"), "1.5", "whole number"),
    "octal": (changed("amount_minor: 1}", "amount_minor: 010}"), "010", "whole number"),
    "sixty": (changed("amount_minor: 1}", "amount_minor: 1:30}"), "1:30", "whole number"),
    "yes": (changed("paid: true", "paid: yes"), "yes", "true or false"),
    "date": (changed("now: 500", "now: 2026-11-20"), "2026", "timestamp"),
    "tag": (changed("now: 500", "now: !!python/object:os.system 5"), "python", "python"),
    "no caller": (changed("  Caller:", "  Person:"), "  Person", "Caller is missing"),
    "no id": (changed("    id: pur_one\n", ""), "    payee", "needs an id"),
    "two documents": (REFUND + "---\naction: recall\n", "---", "document"),
    "not YAML": ("action: [", "action", ""),
    "empty": ("", "", "empty"),
    "a list": ("- a\n", "- a", "mapping"),
    "recursive": ("&a [*a]", "", "deep"),
    "aliases that grow": (GROWING, "a: &a", "too much"),
    "deep": ("[" * 40 + "]" * 40, "", "deep"),
}


@pytest.mark.parametrize(("text", "words", "said"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_says_something_else_is_refused_by_name_and_line(tmp_path: Path, text: str, words: str, said: str):
    file = tmp_path / "cases.yaml"
    file.write_text(text)
    line = 1 + text[: text.index(words)].count("\n")

    with pytest.raises(CasesRefused) as refused:
        cases_in(file)

    assert str(refused.value).startswith(f"{file}:{line}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"# " + b"x" * 300_000], ids=["not UTF-8", "too large"])
def test_a_file_that_is_no_text_of_ours_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "cases.yaml").write_bytes(content)

    with pytest.raises(CasesRefused):
        cases_in(tmp_path)


def test_what_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["policy", "test", str(tmp_path)]) == 2
    assert main(["policy", "test", str(tmp_path / "none.yaml")]) == 2
    assert main(["policy", "test", "--rules", str(tmp_path)]) == 2
    assert "there is no *.yaml here" in capsys.readouterr().err
    assert NODES_MAX > 10_000
