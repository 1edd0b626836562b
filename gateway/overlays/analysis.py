"""What is known about an overlay before it decides anything: refusals, and warnings that stop nobody. Pure.

Cedar's strict validator finds wrong types, unknown attributes and optional ones that are read without `has`. Nothing
here proves what a set of policies can never do: that takes a solver. What is found is found by its form, or by asking
the cases that stand beside our own policies.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.cedar import GROUP_OF, GROUPS, Cedar, PoliciesUnusable, named_actions, require_restriction
from gateway.contract import PolicyFinding, PolicyGroup
from gateway.errors import PolicyRefused
from gateway.overlays.cases import Case, shipped_cases
from gateway.overlays.limits import require_limits

ARITHMETIC: Final = frozenset({"+", "-", "*", "neg"})


def usable(ours: Cedar, overlay: Mapping[PolicyGroup, str]) -> Cedar:
    """What would decide. Raises PolicyRefused, naming the stage that refused: limits, parse, restrict or validate."""
    texts = {group.value: text for group, text in overlay.items()}
    stage = "limits"
    try:
        for group, text in texts.items():
            require_limits(group, text)
        stage = "restrict"
        for group, text in texts.items():
            require_restriction(group, text)
        stage = "validate"
        return ours.with_overlay(texts)
    except PoliciesUnusable as error:
        raise PolicyRefused(stage=stage, finding=str(error)) from None


def findings_in(overlay: Mapping[PolicyGroup, str], ours: Cedar, laid: Cedar) -> list[PolicyFinding]:
    """Warnings, by group and place. `laid` is `ours` with this overlay."""
    found: list[PolicyFinding] = []
    for group, text in overlay.items():
        policies = require_restriction(group.value, text)
        found += _by_form(group, policies)
        found += _by_cases(group, ours, laid)
    return found


def _by_form(group: PolicyGroup, policies: Iterable[dict[str, Any]]) -> Iterator[PolicyFinding]:
    seen: dict[str, int] = {}
    for place, policy in enumerate(policies, 1):
        meaning = json.dumps({**policy, "annotations": policy["annotations"]["id"]}, sort_keys=True)
        first = seen.setdefault(meaning, place)
        if first != place:
            yield _found("duplicate_policy", group, place, f"It says the same as policy {first}.")
        if not policy["conditions"] and _everybody(policy):
            actions = ", ".join(sorted(named_actions(policy) or _actions_of(group)))
            yield _found("unconditional_forbid", group, place, f"Nobody can do this any more: {actions}.")
        if _computes(policy["conditions"]):
            detail = "Its arithmetic can overflow 64 bits; then the answer is a deny with evaluation_error."
            yield _found("arithmetic", group, place, detail)


def _by_cases(group: PolicyGroup, ours: Cedar, laid: Cedar) -> Iterator[PolicyFinding]:
    """An action of which every case that we allow is denied, however the rules are written."""
    allowed: dict[str, list[Case]] = {}
    for case in shipped_cases():
        if case.allow and GROUP_OF[case.question.action] == group and ours.answer(case.question).allowed:
            allowed.setdefault(case.question.action, []).append(case)
    for action, cases in sorted(allowed.items()):
        if not any(laid.answer(case.question).allowed for case in cases):
            detail = f"None of the {len(cases)} cases of {action} that our own policies allow is allowed under it."
            yield _found("nothing_allowed", group, None, detail)


def _actions_of(group: PolicyGroup) -> set[str]:
    return {action for action, held_by in GROUPS.items() if held_by == group}


def _everybody(policy: Mapping[str, Any]) -> bool:
    return (policy["principal"]["op"], policy["resource"]["op"]) == ("All", "All")


def _computes(tree: Any) -> bool:
    """Whether one of Cedar's arithmetic operators occurs anywhere in a syntax tree."""
    if isinstance(tree, dict):
        return any((name in ARITHMETIC and isinstance(item, dict)) or _computes(item) for name, item in tree.items())
    return isinstance(tree, list) and any(_computes(item) for item in tree)


def _found(code: str, group: PolicyGroup, policy: int | None, detail: str) -> PolicyFinding:
    return PolicyFinding(code=code, group=group, policy=policy, detail=detail)
