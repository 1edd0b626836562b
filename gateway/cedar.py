"""The policy engine behind one door that fails closed.

Cedar skips a policy that errors, so an erroring `forbid` would let a request through (a referenced entity missing,
an overflow). Here allowed means: the engine said allow *and* reported no error; the schema is always given; an
exception is a deny.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cedarpy

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
}
"""Action → the file in `policies/`. Evaluation is linear in the number of policies, so each group is its own set."""
log = logs.get_logger()
ORDER: Final = {reason: place for place, reason in enumerate(Reason)}


class PoliciesUnusable(Exception):
    """A policy file does not parse, does not fit the schema, or gives a reason that the contract does not know."""


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
class PolicySet:
    policies: cedarpy.PolicySet
    sha256: str
    """Of the schema and the policies: which rules gave an answer."""


class Cedar:
    def __init__(self, schema: cedarpy.Schema, groups: Mapping[str, PolicySet]) -> None:
        self._schema = schema
        self._groups = groups

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Cedar":
        """From `schema.cedarschema` and `policies/*.cedar` in `folder`. Raises PoliciesUnusable: do not start then."""
        schema_text = (folder / "schema.cedarschema").read_text()
        try:
            schema = cedarpy.Schema.from_str(schema_text)
        except ValueError as error:
            raise PoliciesUnusable(f"schema.cedarschema: {error}") from None
        names = sorted(set(GROUPS.values()))
        texts = {name: (folder / "policies" / f"{name}.cedar").read_text() for name in names}
        return cls(schema, {name: _parsed(name, text, schema, schema_text) for name, text in texts.items()})

    def sha256_for(self, action: str) -> str:
        return self._groups[GROUPS[action]].sha256

    def answer(self, question: Question) -> Verdict:
        """Never raises: whatever goes wrong is a deny with EVALUATION_ERROR."""
        try:
            return self._answer(question)
        except Exception as error:  # noqa: BLE001 - an exception while deciding is a deny, whatever it is
            log.warning("evaluation_failed", action=question.action, error=type(error).__name__)
            return Verdict(allowed=False, reasons=(Reason.EVALUATION_ERROR,))

    def _answer(self, question: Question) -> Verdict:
        result = cedarpy.is_authorized(
            {
                "principal": dict(question.principal),
                "action": {"type": "Action", "id": question.action},
                "resource": dict(question.resource),
                "context": dict(question.context),
            },
            self._groups[GROUPS[question.action]].policies,
            cedarpy.Entities.from_json_str(json.dumps(question.entities), self._schema),
            self._schema,
        )
        if result.diagnostics.errors:
            log.warning("evaluation_failed", action=question.action, errors=len(result.diagnostics.errors))
            return Verdict(allowed=False, reasons=(Reason.EVALUATION_ERROR,))
        named = {Reason(name) for name in result.diagnostics.id_annotations_by_reason.values()}
        reasons = tuple(sorted(named, key=ORDER.__getitem__)) or (Reason.EVALUATION_ERROR,)
        return Verdict(allowed=bool(result.allowed), reasons=reasons)


def _parsed(name: str, text: str, schema: cedarpy.Schema, schema_text: str) -> PolicySet:
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        raise PoliciesUnusable(f"{name}.cedar: {'; '.join(str(error) for error in checked.errors)}")
    document = json.loads(cedarpy.policies_to_json_str(text))
    for policy in document["staticPolicies"].values():
        reason = policy.get("annotations", {}).get("id")
        if reason not in Reason.__members__.values():
            raise PoliciesUnusable(f"{name}.cedar: a policy's @id is not a reason of the contract: {reason}")
    digest = hashlib.sha256(f"{schema_text}\x00{text}".encode()).hexdigest()
    return PolicySet(cedarpy.PolicySet.from_str(text), digest)
