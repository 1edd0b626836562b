"""The policy engine behind one door that fails closed.

Cedar skips a policy that errors, so an erroring `forbid` would let a request through (a referenced entity missing,
an overflow). Here allowed means: the engine said allow *and* reported no error; the schema is always given; an
exception is a deny.

A tenant's overlay is evaluated in one set with our own policies of its group. It holds `forbid`s only, so what it adds
can turn an allow into a deny and never the other way.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cedarpy
import msgspec

from gateway.contract import Reason
from gateway.facts import Entity
from infra.chassis import logs

FOLDER: Final = Path(__file__).parent
GROUPS: Final = {
    "purchase": "purchase",
    "refund": "refund",
    "recall": "memory",
    "remember": "memory",
    "forget": "memory",
    "read_mandates": "mandate",
    "revoke_mandate": "mandate",
    "list_purchases": "mandate",
    "forward": "forward",
}
"""Action → the file in `policies/`. Evaluation is linear in the number of policies, so each group is its own set."""
ROWS: Final = {"see_purchase": "listing", "see_mandate": "listing", "see_conversation": "listing"}
"""Action on one row of a list → likewise. Asked with the row unknown too (`Cedar.residuals`)."""
GROUP_OF: Final = GROUPS | ROWS
ALLOWING: Final = frozenset({Reason.WITHIN_MANDATE, Reason.WITHIN_LEVEL, Reason.CALLER_MAY})
log = logs.get_logger()
ORDER: Final = {reason: place for place, reason in enumerate(Reason)}


class PoliciesUnusable(Exception):
    """Policies do not parse, do not fit the schema, or give a reason that the contract does not know."""


class EvaluationFailed(Exception):
    """The engine reported an error while it evaluated with something unknown."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to the engine in its own JSON forms: what is asked, recorded and replayed."""

    action: str
    principal: Mapping[str, str]
    resource: Mapping[str, str]
    context: Mapping[str, Any]
    entities: tuple[Entity, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """The rules of one group in words: our own, and what a tenant lays over them."""

    schema: str
    policies: str
    overlay: str | None = None

    @property
    def sha256(self) -> str:
        """Which rules gave an answer. No text holds NUL, so different rules never have the same bytes."""
        parts = [self.schema, self.policies, *([] if self.overlay is None else [self.overlay])]
        if any("\0" in part for part in parts):
            raise PoliciesUnusable("policies hold the character NUL")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PolicySet:
    texts: Texts
    sha256: str
    policies: cedarpy.PolicySet | None
    """None when an overlay cannot be used with this release: whatever is asked is a deny then."""


class Cedar:
    """One schema and a set of policies for each group of actions. Immutable: other rules are another Cedar."""

    def __init__(self, schema: cedarpy.Schema, groups: Mapping[str, PolicySet]) -> None:
        self._schema = schema
        self._groups = groups

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Cedar":
        """From `schema.cedarschema` and `policies/*.cedar` in `folder`. Raises PoliciesUnusable: do not start then."""
        try:
            schema_text = (folder / "schema.cedarschema").read_text()
            names = sorted(set(GROUP_OF.values()))
            texts = {name: (folder / "policies" / f"{name}.cedar").read_text() for name in names}
        except (OSError, UnicodeDecodeError) as error:
            raise PoliciesUnusable(f"{folder}: {type(error).__name__}") from None
        return cls.of_texts({name: Texts(schema_text, text) for name, text in texts.items()})

    @classmethod
    def of_texts(cls, groups: Mapping[str, Texts]) -> "Cedar":
        """Of our own texts and those laid over them, all under one schema. Raises PoliciesUnusable."""
        (schema_text,) = {texts.schema for texts in groups.values()}
        try:
            schema = cedarpy.Schema.from_str(schema_text)
        except ValueError as error:
            raise PoliciesUnusable(f"schema.cedarschema: {error}") from None
        return cls(schema, {name: _parsed(name, texts, schema) for name, texts in groups.items()})

    def with_overlay(self, overlay: Mapping[str, str]) -> "Cedar":
        """With a tenant's texts over ours, group by group. Raises PoliciesUnusable."""
        changed = {name: _parsed(name, self._laid_over(name, text), self._schema) for name, text in overlay.items()}
        return Cedar(self._schema, {**self._groups, **changed})

    def refusing(self, overlay: Mapping[str, str]) -> "Cedar":
        """For an overlay that this release cannot use: whatever is asked of its groups is a deny."""
        texts = {name: self._laid_over(name, text) for name, text in overlay.items()}
        closed = {name: PolicySet(laid, laid.sha256, None) for name, laid in texts.items()}
        return Cedar(self._schema, {**self._groups, **closed})

    @property
    def texts(self) -> dict[str, Texts]:
        return {name: group.texts for name, group in self._groups.items()}

    def sha256_for(self, action: str) -> str:
        return self._groups[GROUP_OF[action]].sha256

    def answer(self, question: Question) -> Verdict:
        """Never raises: whatever goes wrong is a deny with EVALUATION_ERROR."""
        try:
            return self._answer(question)
        except Exception as error:  # noqa: BLE001 - an exception while deciding is a deny, whatever it is
            log.warning("evaluation_failed", action=question.action, error=type(error).__name__)
            return Verdict(allowed=False, reasons=(Reason.EVALUATION_ERROR,))

    def residuals(self, question: Question) -> Mapping[str, Any]:
        """What is left of the policies while the resource is not known; the question's own resource is not looked at.

        Policies in Cedar's JSON form, by their names. Raises EvaluationFailed, PoliciesUnusable. No decision: Cedar's
        partial evaluation is a preview, so whatever is found by it must be asked about again, whole (`answer`).
        """
        policies = self._groups[GROUP_OF[question.action]].policies
        if policies is None:
            raise PoliciesUnusable(question.action)
        result = cedarpy.is_authorized_partial(
            {
                "principal": _reference(question.principal),
                "action": _reference({"type": "Action", "id": question.action}),
                "resource": None,
                "context": dict(question.context),
            },
            policies,
            cedarpy.Entities.from_json_str(msgspec.json.encode(question.entities).decode(), self._schema),
            self._schema,
        )
        if result.diagnostics.errors:
            raise EvaluationFailed(question.action)
        residuals: Mapping[str, Any] = result.residuals
        return residuals

    def deciding_policies(self, question: Question) -> frozenset[str]:
        """Which policies gave the answer, as `policy<place in the group's text>`; for tests of the policies."""
        return frozenset(self._asked(question).diagnostics.reasons)

    def _answer(self, question: Question) -> Verdict:
        result = self._asked(question)
        if result.diagnostics.errors:
            log.warning("evaluation_failed", action=question.action, errors=len(result.diagnostics.errors))
            return Verdict(allowed=False, reasons=(Reason.EVALUATION_ERROR,))
        named = {Reason(name) for name in result.diagnostics.id_annotations_by_reason.values()}
        reasons = tuple(sorted(named, key=ORDER.__getitem__)) or (Reason.EVALUATION_ERROR,)
        return Verdict(allowed=bool(result.allowed), reasons=reasons)

    def _asked(self, question: Question) -> cedarpy.AuthzResult:
        """Raises PoliciesUnusable, and whatever the engine raises."""
        policies = self._groups[GROUP_OF[question.action]].policies
        if policies is None:
            raise PoliciesUnusable(question.action)
        return cedarpy.is_authorized(
            {
                "principal": dict(question.principal),
                "action": {"type": "Action", "id": question.action},
                "resource": dict(question.resource),
                "context": dict(question.context),
            },
            policies,
            cedarpy.Entities.from_json_str(msgspec.json.encode(question.entities).decode(), self._schema),
            self._schema,
        )

    def _laid_over(self, name: str, overlay: str) -> Texts:
        ours = self._groups[name].texts
        return Texts(ours.schema, ours.policies, overlay)


def _reference(uid: Mapping[str, str]) -> str:
    """As Cedar writes it; the partial evaluator takes no other form. The escapes of JSON are Cedar's too."""
    return f"{uid['type']}::{json.dumps(uid['id'], ensure_ascii=False)}"


def syntax_of(name: str, text: str) -> list[dict[str, Any]]:
    """The policies of a text as Cedar's JSON syntax trees, in their order. Raises PoliciesUnusable: does not parse."""
    try:
        document = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError) as error:
        raise PoliciesUnusable(f"{name}.cedar: {error}") from None
    if document["templates"]:
        raise PoliciesUnusable(f"{name}.cedar: templates are not used here")
    numbered = document["staticPolicies"]
    return [numbered[f"policy{place}"] for place in range(len(numbered))]


def _parsed(name: str, texts: Texts, schema: cedarpy.Schema) -> PolicySet:
    ours = syntax_of(name, texts.policies)
    for policy in ours:
        reason = policy.get("annotations", {}).get("id")
        if reason not in Reason.__members__.values():
            raise PoliciesUnusable(f"{name}.cedar: a policy's @id is not a reason of the contract: {reason}")
    whole, expected = texts.policies, len(ours)
    if texts.overlay is not None:
        whole = f"{texts.policies}\n{texts.overlay}"
        expected += len(require_restriction(name, texts.overlay))
    if len(syntax_of(name, whole)) != expected:
        raise PoliciesUnusable(f"{name}.cedar: the overlay and our policies are not what they are apart")
    checked = cedarpy.validate_policies(whole, schema)
    if not checked.validation_passed:
        raise PoliciesUnusable(f"{name}.cedar: {'; '.join(str(error) for error in checked.errors)}")
    return PolicySet(texts, texts.sha256, cedarpy.PolicySet.from_str(whole))


def require_restriction(name: str, overlay: str) -> list[dict[str, Any]]:
    """The syntax of an overlay that can only restrict. Raises PoliciesUnusable for anything else.

    It holds `forbid`s only. Its reasons are those for a deny; EVALUATION_ERROR is the engine's own. Its actions are
    those of its group: a rule about another group's would never be asked.
    """
    policies = syntax_of(name, overlay)
    actions = {action for action, group in GROUP_OF.items() if group == name}
    for place, policy in enumerate(policies, 1):
        reason = policy.get("annotations", {}).get("id")
        if policy["effect"] != "forbid":
            raise PoliciesUnusable(f"{name}.cedar, policy {place}: an overlay can only forbid")
        if reason not in Reason.__members__.values() or Reason(reason) in ALLOWING | {Reason.EVALUATION_ERROR}:
            raise PoliciesUnusable(f"{name}.cedar, policy {place}: its @id is not a reason for a deny: {reason}")
        if not named_actions(policy) <= actions:
            raise PoliciesUnusable(f"{name}.cedar, policy {place}: it is about actions of another group")
    return policies


def named_actions(policy: Mapping[str, Any]) -> set[str]:
    """The actions in a policy's head; none when it is about all of them."""
    head = policy["action"]
    entities = head.get("entities", [head["entity"]] if "entity" in head else [])
    return {str(entity["id"]) for entity in entities}
