"""Which tests stand behind which control: `python -m compliance.evidence [JUNIT.xml]` writes the table as Markdown.

With a report of `pytest --junitxml=JUNIT.xml` each test has its outcome, and the exit code is 1 unless every control's
evidence ran and passed. Without one it is only the map.
"""

import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from compliance.checks.marks import Evidence, evidence_in
from compliance.checks.tree import Source, read_tree
from compliance.controls import CONTROLS

PASSED = "passed"
_WORST_FIRST = ("failed", "error", "skipped", PASSED)


def main(arguments: list[str]) -> int:
    found = list(evidence_in(file for file in read_tree() if isinstance(file, Source)))
    outcomes = outcomes_in(Path(arguments[0]).read_text(encoding="utf-8")) if arguments else None
    sys.stdout.writelines(f"{line}\n" for line in table(found, outcomes))
    return 0 if outcomes is None or all(outcomes.get(one.test) == PASSED for one in found) else 1


def table(found: Iterable[Evidence], outcomes: Mapping[str, str] | None) -> Iterator[str]:
    tests = defaultdict(list)
    for one in sorted(found):
        tests[one.control].append(one.test)
    yield "| control | claim | not claimed | evidence |"
    yield "|---|---|---|---|"
    for control in CONTROLS.values():
        shown = [
            f"`{test}`" + ("" if outcomes is None else f" {outcomes.get(test, 'did not run')}")
            for test in tests[control.id]
        ]
        title = f"**{control.id}** {control.title} ({', '.join(control.sources)})"
        yield f"| {title} | {control.claim} | {control.not_claimed} | {'<br>'.join(shown)} |"


def outcomes_in(report: str) -> dict[str, str]:
    """Test id without parameters → the worst of its outcomes."""
    outcomes: dict[str, str] = {}
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - the report our own test run has just written
        place = case.get("classname", "").split(".")
        depth = next((at for at, part in enumerate(place, start=1) if part.startswith("test_")), len(place))
        path, classes = "/".join(place[:depth]), place[depth:]
        test = "::".join([f"{path}.py", *classes, case.get("name", "").partition("[")[0]])
        tags = {child.tag.replace("failure", "failed") for child in case}
        worst = next((outcome for outcome in _WORST_FIRST if outcome in tags), PASSED)
        outcomes[test] = min(worst, outcomes.get(test, PASSED), key=_WORST_FIRST.index)
    return outcomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
