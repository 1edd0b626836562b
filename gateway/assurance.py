"""From evidence to an assurance level: pure, and nothing else raises a level."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.contract import AssuranceLevel, ChallengeMethod, LevelName


class EvidenceKind(StrEnum):
    EMAIL_CODE = "email_code"
    LOGIN_CODE = "login_code"


@dataclass(frozen=True, slots=True)
class Evidence:
    subject_id: str
    kind: str
    obtained_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Assurance:
    level: AssuranceLevel
    expires_at: datetime | None
    """When the level falls, if nothing is added. None for anonymous, which cannot fall."""


LEVEL_OF: Final = {
    EvidenceKind.EMAIL_CODE: AssuranceLevel.VERIFIED,
    EvidenceKind.LOGIN_CODE: AssuranceLevel.VERIFIED,
}
TTL_OF: Final = {
    EvidenceKind.EMAIL_CODE: timedelta(hours=12),
    EvidenceKind.LOGIN_CODE: timedelta(hours=12),
}
"""NIST SP 800-63B-4 2.2.3: reauthentication at least every 12 hours at its second level."""
METHODS: Final[dict[AssuranceLevel, list[ChallengeMethod]]] = {
    AssuranceLevel.RECOGNISED: [ChallengeMethod.EMAIL_CODE],
    AssuranceLevel.VERIFIED: [ChallengeMethod.EMAIL_CODE],
}
"""What a caller can do to reach a level; a level that is missing here cannot be reached yet."""


def level_of(evidence: Iterable[Evidence], subject_id: str | None, now: datetime) -> Assurance:
    """The highest level that living evidence about this very subject gives.

    Evidence of an unknown kind, of somebody else, from the future or past its end counts for nothing.
    """
    if subject_id is None:
        return Assurance(AssuranceLevel.ANONYMOUS, None)
    living = [
        (LEVEL_OF[EvidenceKind(item.kind)], item.expires_at)
        for item in evidence
        if item.subject_id == subject_id
        and item.kind in EvidenceKind.__members__.values()
        and item.obtained_at <= now < item.expires_at
    ]
    if not living:
        return Assurance(AssuranceLevel.ANONYMOUS, None)
    return Assurance(*max(living))


def name_of(level: AssuranceLevel) -> LevelName:
    return LevelName(level.name.lower())
