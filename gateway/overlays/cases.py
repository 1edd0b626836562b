"""Cases beside the policies: facts in a few lines of YAML, and what must be answered, with exactly which reasons.

A file is about one action:

    action: refund
    facts:                                    # what every case begins with
      Caller: {id: agt_desk, kind: agent, …}  # one entity of each type
      Purchase: {id: pur_one, …}
      context: {now: 1763640000, …}
    cases:
      - name: a cent too much
        change: {context.amount_minor: 4001}  # null takes an optional one away
        deny: [over_refundable]

A reference to an entity is written `Brand::brd_larkspur` where the schema wants one. The principal is the Caller; the
resource is the entity that the schema names for the action.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.cedar import FOLDER, GROUP_OF, Cedar, Question, Verdict
from gateway.contract import Reason
from gateway.overlays.strict_yaml import Item, YamlRefused, read

CASES: Final = FOLDER / "policies" / "cases"
FILE_BYTES_MAX: Final = 256 * 1024
RESOURCES: Final = {
    "purchase": "Checkout",
    "refund": "Purchase",
    "recall": "Memories",
    "remember": "Memories",
    "forget": "Memories",
    "read_mandates": "Subject",
    "revoke_mandate": "Subject",
    "list_purchases": "Subject",
    "forward": "Subject",
    "see_purchase": "PurchaseRow",
    "see_mandate": "MandateRow",
    "see_conversation": "ConversationRow",
}
_REFERENCE: Final = re.compile(r"([A-Z][A-Za-z]*)::(\S+)")


class CasesRefused(Exception):
    """Names the file and the line."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    file: str
    line: int
    question: Question
    allow: bool
    reasons: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class Failure:
    case: Case
    verdict: Verdict

    def __str__(self) -> str:
        wanted = f"{'allow' if self.case.allow else 'deny'} {_names(self.case.reasons)}"
        got = f"{'allow' if self.verdict.allowed else 'deny'} {_names(self.verdict.reasons)}"
        return f"{self.case.file}:{self.case.line}: {self.case.name}: wanted {wanted}, got {got}"


def run(cedar: Cedar, cases: Iterable[Case]) -> list[Failure]:
    failures = []
    for case in cases:
        verdict = cedar.answer(case.question)
        if (verdict.allowed, frozenset(verdict.reasons)) != (case.allow, case.reasons):
            failures.append(Failure(case, verdict))
    return failures


def cases_in(path: Path) -> list[Case]:
    """Of a file, or of all `*.yaml` in a folder. Raises CasesRefused, also when there are none."""
    if path.is_dir():
        files = sorted(path.glob("*.yaml"))
        if not files:
            raise CasesRefused(f"{path}: there is no *.yaml here")
        return [case for file in files for case in cases_in(file)]
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CasesRefused(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CasesRefused(f"{path}: {type(error).__name__}") from None
    try:
        return list(_cases(read(text), path.name))
    except YamlRefused as refused:
        raise CasesRefused(f"{path}:{refused.line}: {refused}") from None


@functools.cache
def shipped_cases() -> tuple[Case, ...]:
    return tuple(cases_in(CASES))


def _cases(document: Item, file: str) -> Iterator[Case]:
    parts = _only(document, required={"action", "facts", "cases"})
    action = parts["action"].text()
    if action not in GROUP_OF:
        raise YamlRefused(parts["action"].line, f"there is no action {action}; there are {', '.join(sorted(GROUP_OF))}")
    facts = _facts(parts["facts"])
    names: set[str] = set()
    for item in parts["cases"].items():
        fields = _only(item, required={"name"}, optional={"change", "allow", "deny"})
        name = fields["name"].text()
        if name in names:
            raise YamlRefused(item.line, f"two cases are called {name}")
        names.add(name)
        if ("allow" in fields) == ("deny" in fields):
            raise YamlRefused(item.line, "a case says either allow or deny")
        answer = fields["allow" if "allow" in fields else "deny"]
        changed = _changed(facts, fields["change"]) if "change" in fields else facts
        yield Case(name, file, item.line, _question(action, changed, item.line), "allow" in fields, _reasons(answer))


Facts = dict[str, dict[str, Any]]


def _facts(item: Item) -> Facts:
    facts: Facts = {}
    for name, part in item.mapping().items():
        attrs = {key: inner.plain for key, inner in part.mapping().items()}
        if name != "context" and not isinstance(attrs.get("id"), str):
            raise YamlRefused(part.line, f"{name} needs an id")
        facts[name] = attrs
    for needed in ("Caller", "context"):
        if needed not in facts:
            raise YamlRefused(item.line, f"{needed} is missing")
    return facts


def _changed(facts: Facts, change: Item) -> Facts:
    """A path is `Type.attribute` or `context.key`; null takes the attribute, or with `Type` alone the entity, away."""
    changed = {name: dict(attrs) for name, attrs in facts.items()}
    for path, item in change.mapping().items():
        name, _, attribute = path.partition(".")
        if name not in changed:
            raise YamlRefused(item.line, f"there is no {name} among the facts")
        if not attribute:
            if item.value is not None or name in {"context", "Caller"}:
                raise YamlRefused(item.line, f"{path}: only null, which takes an entity away")
            del changed[name]
        elif item.value is None:
            if attribute not in changed[name]:
                raise YamlRefused(item.line, f"{path} is not there to be taken away")
            del changed[name][attribute]
        else:
            changed[name][attribute] = item.plain
    return changed


def _question(action: str, facts: Facts, line: int) -> Question:
    resource = RESOURCES[action]
    if resource not in facts:
        raise YamlRefused(line, f"the resource of {action} is a {resource}, and there is none among the facts")
    return Question(
        action=action,
        principal={"type": "Caller", "id": facts["Caller"]["id"]},
        resource={"type": resource, "id": facts[resource]["id"]},
        context={key: _in_cedar(value) for key, value in facts["context"].items()},
        entities=tuple(_entity(name, attrs) for name, attrs in facts.items() if name != "context"),
    )


def _entity(name: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    held = {key: _in_cedar(value) for key, value in attrs.items() if key != "id"}
    return {"uid": {"type": name, "id": attrs["id"]}, "attrs": held, "parents": []}


def _in_cedar(value: Any) -> Any:
    if isinstance(value, str) and (found := _REFERENCE.fullmatch(value)):
        return {"__entity": {"type": found[1], "id": found[2]}}
    if isinstance(value, list):
        return [_in_cedar(item) for item in value]
    if isinstance(value, dict):
        return {key: _in_cedar(item) for key, item in value.items()}
    return value


def _reasons(item: Item) -> frozenset[Reason]:
    found = set()
    for reason in item.items():
        if reason.text() not in Reason.__members__.values():
            raise YamlRefused(reason.line, f"there is no reason {reason.text()}")
        if Reason(reason.text()) in found:
            raise YamlRefused(reason.line, f"{reason.text()} is given twice")
        found.add(Reason(reason.text()))
    if not found:
        raise YamlRefused(item.line, "an answer has at least one reason")
    return frozenset(found)


def _only(item: Item, *, required: set[str], optional: frozenset[str] | set[str] = frozenset()) -> dict[str, Item]:
    fields = item.mapping()
    for name, field in fields.items():
        if name not in required | optional:
            raise YamlRefused(field.line, f"the key {name} is not known here")
    for name in sorted(required - fields.keys()):
        raise YamlRefused(item.line, f"{name} is missing")
    return fields


def _names(reasons: Iterable[Reason]) -> str:
    return "[" + ", ".join(sorted(reasons)) + "]"
