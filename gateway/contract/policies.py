"""The API of a tenant's own rules: versions of an overlay, what became of them, what a shadow would have said."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from gateway.contract.decisions import Outcome, Reason
from gateway.contract.values import Sha256

OVERLAY_LENGTH_MAX = 16_384
"""Characters of one group's text. Evaluation is linear in the number of policies, and every decision pays for it."""
OverlayText = Annotated[str, msgspec.Meta(min_length=1, max_length=OVERLAY_LENGTH_MAX)]


class PolicyGroup(StrEnum):
    """What is decided together: a file of policies of ours, and the text that a tenant may lay over it."""

    PURCHASE = "purchase"
    REFUND = "refund"
    MEMORY = "memory"
    MANDATE = "mandate"
    FORWARD = "forward"


class PolicyState(StrEnum):
    """Of a version. `retired` was active once; `analysed` never was."""

    ANALYSED = "analysed"
    SHADOW = "shadow"
    ACTIVE = "active"
    RETIRED = "retired"


class PolicyUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/policies`. Cedar text for each group: `forbid`s, each with an `@id` that is a reason for a deny."""

    overlay: Annotated[dict[PolicyGroup, OverlayText], msgspec.Meta(min_length=1)]


class PolicyFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is known about a version without running it for real. A warning stops nobody."""

    code: str
    group: PolicyGroup
    policy: int | None
    """Its place in the group's text, counted from 1; None when it is about the whole text."""
    detail: str


class ReplayedChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many recorded decisions would have fallen otherwise in this way."""

    action: str
    before: list[Reason]
    after: list[Reason]
    outcome_before: Outcome
    outcome_after: Outcome
    count: int
    decision_ids: list[str]
    """The newest few of them."""


class PolicyReplay(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's last recorded decisions, decided again under other rules."""

    replayed: int
    changed: int
    unusable: int
    """Entries that could not be decided again."""
    changes: list[ReplayedChange]


class PolicyAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    findings: list[PolicyFinding]
    replay: PolicyReplay
    """Against the rules that were active when it was made."""


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """`version_sha256` names the texts; `policy_sha256` is what decisions under them say, group by group."""

    version_sha256: str
    state: PolicyState
    overlay: dict[PolicyGroup, str]
    policy_sha256: dict[PolicyGroup, str]
    """With this release's policies of ours under the overlay."""
    uploaded_by: str
    uploaded_at: datetime
    analysis: PolicyAnalysis


class PolicyVersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    version_sha256: str
    state: PolicyState
    uploaded_by: str
    uploaded_at: datetime
    warnings: int


class PolicyVersionList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/policies`: all of them, newest first; a tenant has at most 1,000."""

    active_sha256: str | None
    """None: our own policies and nothing over them."""
    shadow_sha256: str | None
    versions: list[PolicyVersionSummary]


class PolicyActivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/policies/{version}/activations` and `/v1/policies/rollbacks`: what the caller believes to be active.

    Somebody else may have changed it meanwhile: then nothing happens and the answer is 409.
    """

    replaces: Sha256 | None


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is so now. `event_id` names the entry in the record."""

    active_sha256: str | None
    shadow_sha256: str | None
    event_id: str


class PolicyDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that the shadow would have made otherwise."""

    decision_id: str
    action: str
    outcome: Outcome
    reasons: list[Reason]
    shadow_outcome: Outcome | None
    """None when the shadow failed."""
    shadow_reasons: list[Reason]
    decided_at: datetime


class PolicyDifferenceList(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/policies/{version}/differences?after=`: oldest first, 100 at a time; `total` counts all."""

    total: int
    differences: list[PolicyDifference]
    next_after: str
