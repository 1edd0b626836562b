"""From evidence to an assurance level: pure, and nothing else raises a level.

A level asks for evidence of a kind that can give it, of an age it allows. Evidence that is too old for its highest
level still gives the lower ones that allow that age: an approval on the phone is `strong` for 15 minutes, and is one
real factor, so `verified`, for longer. Caller id gives `recognised` and nothing else, and nothing else gives
`recognised`: a code whose time is over does not leave a trace behind.

The ages are those of memory's tiers. For verified they are as in NIST SP 800-63B (2017) 4.2.3, 12 hours and 30 minutes
of inactivity, for strong as in its 4.3.3, 15 minutes; the revision of 2025 allows longer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.contract import MAX_AGE_SECONDS, AssuranceLevel, ChallengeMethod, LevelName


class EvidenceKind(StrEnum):
    CALLER_ID = "caller_id"
    SMS_CODE = "sms_code"
    EMAIL_CODE = "email_code"
    LOGIN_CODE = "login_code"
    OPENID = "openid"
    PASSKEY = "passkey"
    """With user verification: a device and a PIN or a finger, so two factors."""
    PHONE_APPROVAL = "phone_approval"
    REQUEST_CONFIRMATION = "request_confirmation"
    """The person saw this very request and agreed to it; counts beside a phishing-resistant factor only, once."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """`used_at` is when a decision last counted on it; None: not since it was obtained."""

    subject_id: str
    kind: str
    obtained_at: datetime
    expires_at: datetime
    evidence_id: str = ""
    used_at: datetime | None = None
    level: int | None = None
    """OPENID only: what the provider's `acr` and `amr` are worth by configuration; HIGHEST bounds it."""
    request_sha256: str | None = None
    """REQUEST_CONFIRMATION only: of the request that was confirmed."""
    spent: bool = False
    """REQUEST_CONFIRMATION only: a decision was allowed by it."""
    shared: bool = False
    """The contact point it came by is not, or no longer, this one subject's alone."""


@dataclass(frozen=True, slots=True)
class Assurance:
    level: AssuranceLevel
    expires_at: datetime | None
    """When the level falls, if nothing is added and nothing happens. None for anonymous, which cannot fall."""


NOBODY: Final = Assurance(AssuranceLevel.ANONYMOUS, None)
MAX_AGE: Final[Mapping[AssuranceLevel, timedelta]] = {
    AssuranceLevel[name.name]: timedelta(seconds=seconds) for name, seconds in MAX_AGE_SECONDS.items()
}
IDLE_MAX: Final[Mapping[AssuranceLevel, timedelta]] = {AssuranceLevel.VERIFIED: timedelta(minutes=30)}
USE_NOTED_EVERY: Final = timedelta(minutes=1)
"""Use is written down at most this often, so evidence may end this much early for idleness, and never late."""
HIGHEST: Final[Mapping[EvidenceKind, AssuranceLevel]] = {
    EvidenceKind.CALLER_ID: AssuranceLevel.RECOGNISED,
    EvidenceKind.SMS_CODE: AssuranceLevel.VERIFIED,
    EvidenceKind.EMAIL_CODE: AssuranceLevel.VERIFIED,
    EvidenceKind.LOGIN_CODE: AssuranceLevel.VERIFIED,
    EvidenceKind.OPENID: AssuranceLevel.STRONG,
    EvidenceKind.PASSKEY: AssuranceLevel.STRONG,
    EvidenceKind.PHONE_APPROVAL: AssuranceLevel.STRONG,
    EvidenceKind.REQUEST_CONFIRMATION: AssuranceLevel.CONFIRMED,
}
PHISHING_RESISTANT: Final = frozenset({EvidenceKind.PASSKEY})
"""NIST SP 800-63B-4 3.2.5: bound to the verifier's name, so that nothing typed into a false page is of use."""
TTL_OF: Final[Mapping[EvidenceKind, timedelta]] = {
    EvidenceKind.CALLER_ID: MAX_AGE[AssuranceLevel.RECOGNISED],
    EvidenceKind.SMS_CODE: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.EMAIL_CODE: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.LOGIN_CODE: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.OPENID: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.PASSKEY: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.PHONE_APPROVAL: MAX_AGE[AssuranceLevel.VERIFIED],
    EvidenceKind.REQUEST_CONFIRMATION: MAX_AGE[AssuranceLevel.CONFIRMED],
}
"""How long evidence counts for anything at all."""
EVIDENCE_OF: Final[Mapping[ChallengeMethod, EvidenceKind]] = {
    ChallengeMethod.EMAIL_CODE: EvidenceKind.EMAIL_CODE,
    ChallengeMethod.SMS_CODE: EvidenceKind.SMS_CODE,
    ChallengeMethod.OPENID_LOGIN: EvidenceKind.OPENID,
    ChallengeMethod.PHONE_APPROVAL: EvidenceKind.PHONE_APPROVAL,
    ChallengeMethod.PASSKEY: EvidenceKind.PASSKEY,
}
"""What a method of challenging gives when it is answered; methods in the order of what they cost the person."""
METHODS: Final[Mapping[AssuranceLevel, list[ChallengeMethod]]] = {
    level: [method for method, kind in EVIDENCE_OF.items() if HIGHEST[kind] >= level]
    for level in AssuranceLevel
    if level is not AssuranceLevel.ANONYMOUS and any(HIGHEST[kind] >= level for kind in EVIDENCE_OF.values())
}
"""What a caller can do to reach a level, cheapest first; a level that is missing here cannot be reached yet."""


def level_of(
    evidence: Iterable[Evidence], subject_id: str | None, now: datetime, request_sha256: str | None = None
) -> Assurance:
    """The highest level that living evidence about this very subject gives.

    `request_sha256` names the request that is decided; without it nothing is `confirmed`. Evidence of an unknown kind,
    of somebody else, from the future or past its end counts for nothing.
    """
    if subject_id is None:
        return NOBODY
    own = [item for item in evidence if _counts(item, subject_id, now)]
    given = [assurance for item in own for assurance in _levels(item, now)]
    if request_sha256 is not None:
        given += _confirmed(own, now, request_sha256)
    return max(given, key=lambda assurance: (assurance.level, assurance.expires_at), default=NOBODY)


def recognised(evidence: Iterable[Evidence], now: datetime) -> str | None:
    """The one subject whom living caller id shows; None when it shows nobody or several."""
    shown = {
        item.subject_id
        for item in evidence
        if item.kind == EvidenceKind.CALLER_ID and _counts(item, item.subject_id, now) and any(_levels(item, now))
    }
    return shown.pop() if len(shown) == 1 else None


def on_the_phone(evidence: Iterable[Evidence], subject_id: str | None, now: datetime) -> str | None:
    """The living caller id that shows this very subject to be calling; None when none does."""
    return next(
        (
            item.evidence_id
            for item in evidence
            if item.kind == EvidenceKind.CALLER_ID
            and subject_id is not None
            and _counts(item, subject_id, now)
            and any(_levels(item, now))
        ),
        None,
    )


def confirmation_for(
    evidence: Iterable[Evidence], subject_id: str | None, now: datetime, request_sha256: str
) -> Evidence | None:
    """The confirmation that a decision on this request counts on, and has to spend when it allows."""
    own = [item for item in evidence if subject_id is not None and _counts(item, subject_id, now)]
    if not _confirmed(own, now, request_sha256):
        return None
    return next(item for item in own if _confirms(item, now, request_sha256))


def to_note_as_used(evidence: Iterable[Evidence], subject_id: str | None, now: datetime) -> list[str]:
    """Ids of evidence that is kept from idling away by being used now. What has idled away stays so."""
    return [
        item.evidence_id
        for item in evidence
        if subject_id is not None
        and _counts(item, subject_id, now)
        and any(assurance.level in IDLE_MAX for assurance in _levels(item, now))
        and now - _last_used(item) >= USE_NOTED_EVERY
    ]


def name_of(level: AssuranceLevel) -> LevelName:
    return LevelName(level.name.lower())


def _counts(item: Evidence, subject_id: str, now: datetime) -> bool:
    return (
        item.subject_id == subject_id
        and item.kind in EvidenceKind.__members__.values()
        and not item.shared
        and item.obtained_at <= now < item.expires_at
    )


def _levels(item: Evidence, now: datetime) -> Iterator[Assurance]:
    """Each level that this evidence gives by itself, with the end of that."""
    kind = EvidenceKind(item.kind)
    if kind is EvidenceKind.REQUEST_CONFIRMATION:
        return
    highest = HIGHEST[kind] if kind is not EvidenceKind.OPENID else min(item.level or 0, HIGHEST[kind])
    lowest = AssuranceLevel.RECOGNISED if kind is EvidenceKind.CALLER_ID else AssuranceLevel.VERIFIED
    for level in AssuranceLevel:
        if lowest <= level <= highest:
            end = min(item.expires_at, item.obtained_at + MAX_AGE[level])
            if level in IDLE_MAX:
                end = min(end, _last_used(item) + IDLE_MAX[level])
            if now < end:
                yield Assurance(level, end)


def _confirmed(own: Iterable[Evidence], now: datetime, request_sha256: str) -> list[Assurance]:
    """Both within five minutes: the confirmation, and the factor that cannot be phished."""
    age = MAX_AGE[AssuranceLevel.CONFIRMED]
    known = list(own)
    factors = [item.obtained_at + age for item in known if item.kind in PHISHING_RESISTANT]
    confirmations = [item.obtained_at + age for item in known if _confirms(item, now, request_sha256)]
    end = min(max(factors, default=now), max(confirmations, default=now))
    return [Assurance(AssuranceLevel.CONFIRMED, end)] if now < end else []


def _confirms(item: Evidence, now: datetime, request_sha256: str) -> bool:
    return (
        item.kind == EvidenceKind.REQUEST_CONFIRMATION
        and item.request_sha256 == request_sha256
        and not item.spent
        and now < item.obtained_at + MAX_AGE[AssuranceLevel.CONFIRMED]
    )


def _last_used(item: Evidence) -> datetime:
    return item.obtained_at if item.used_at is None else max(item.obtained_at, item.used_at)
