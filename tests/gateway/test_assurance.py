"""From evidence to a level: every kind, every boundary, and what must never count."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.assurance import (
    EVIDENCE_OF,
    HIGHEST,
    IDLE_MAX,
    MAX_AGE,
    METHODS,
    PHISHING_RESISTANT,
    TTL_OF,
    USE_NOTED_EVERY,
    Evidence,
    EvidenceKind,
    confirmation_for,
    level_of,
    recognised,
    to_note_as_used,
)
from gateway.contract import AssuranceLevel
from tests.gateway.given import NOW

ADA, EVE = "sub_ada", "sub_eve"
REQUEST, OTHER_REQUEST = "a" * 64, "b" * 64
INSTANT = timedelta(microseconds=1)
HALF_AN_HOUR = timedelta(minutes=30)
CODES = [EvidenceKind.SMS_CODE, EvidenceKind.EMAIL_CODE, EvidenceKind.LOGIN_CODE]
TWO_FACTORS = [EvidenceKind.PASSKEY, EvidenceKind.PHONE_APPROVAL]


def proof(kind: EvidenceKind = EvidenceKind.EMAIL_CODE, **changes: Any):
    obtained_at: datetime = changes.pop("obtained_at", NOW)
    whole = {"subject_id": ADA, "kind": kind, "evidence_id": f"evi_{kind}", "obtained_at": obtained_at}
    return Evidence(**{**whole, "expires_at": obtained_at + TTL_OF[kind], **changes})


def level(*evidence: Evidence, at: timedelta = timedelta(), request: str | None = None):
    return level_of(evidence, ADA, NOW + at, request).level


@pytest.mark.parametrize("kind", EvidenceKind)
def test_each_kind_gives_its_level_at_the_moment_it_is_obtained(kind: EvidenceKind):
    given_level = {
        EvidenceKind.CALLER_ID: AssuranceLevel.RECOGNISED,
        EvidenceKind.SMS_CODE: AssuranceLevel.VERIFIED,
        EvidenceKind.EMAIL_CODE: AssuranceLevel.VERIFIED,
        EvidenceKind.LOGIN_CODE: AssuranceLevel.VERIFIED,
        EvidenceKind.OPENID: AssuranceLevel.ANONYMOUS,  # nothing is configured for what the provider said
        EvidenceKind.PASSKEY: AssuranceLevel.STRONG,
        EvidenceKind.PHONE_APPROVAL: AssuranceLevel.STRONG,
        EvidenceKind.REQUEST_CONFIRMATION: AssuranceLevel.ANONYMOUS,  # of no use by itself
    }

    assert level(proof(kind, request_sha256=REQUEST), request=REQUEST) is given_level[kind]


@pytest.mark.parametrize("kind", EvidenceKind)
def test_each_kind_has_a_level_and_an_end(kind: EvidenceKind):
    assert HIGHEST[kind] > AssuranceLevel.ANONYMOUS
    assert TTL_OF[kind] >= MAX_AGE[HIGHEST[kind]]


@pytest.mark.parametrize(
    "evidence",
    [
        (),
        (proof(subject_id=EVE),),
        (replace(proof(), kind="voice_match"),),
        (proof(expires_at=NOW),),
        (proof(obtained_at=NOW + INSTANT),),
        (proof(shared=True),),
        (proof(EvidenceKind.CALLER_ID, shared=True),),
    ],
    ids=["none", "another's", "unknown kind", "over", "from the future", "shared address", "shared line"],
)
def test_only_living_evidence_about_this_very_person_counts(evidence: tuple[Evidence, ...]):
    assert level(*evidence) is AssuranceLevel.ANONYMOUS
    assert level_of(evidence, None, NOW).level is AssuranceLevel.ANONYMOUS


@pytest.mark.control("UC-8.9")
@pytest.mark.parametrize("kind", CODES)
def test_a_code_ends_half_an_hour_after_its_last_use(kind: EvidenceKind):
    used = proof(kind, used_at=NOW + timedelta(hours=1))

    assert level(proof(kind), at=HALF_AN_HOUR - INSTANT) is AssuranceLevel.VERIFIED
    assert level(proof(kind), at=HALF_AN_HOUR) is AssuranceLevel.ANONYMOUS
    assert level(used, at=timedelta(hours=1, minutes=30) - INSTANT) is AssuranceLevel.VERIFIED
    assert level(used, at=timedelta(hours=1, minutes=30)) is AssuranceLevel.ANONYMOUS


@pytest.mark.parametrize("kind", CODES)
def test_a_code_ends_after_twelve_hours_however_much_it_is_used(kind: EvidenceKind):
    used = proof(kind, used_at=NOW + timedelta(hours=11, minutes=59), expires_at=NOW + timedelta(days=9))

    assert level(used, at=timedelta(hours=12) - INSTANT) is AssuranceLevel.VERIFIED
    assert level(used, at=timedelta(hours=12)) is AssuranceLevel.ANONYMOUS


@pytest.mark.parametrize("kind", TWO_FACTORS)
def test_two_factors_are_strong_for_fifteen_minutes_then_one_real_factor(kind: EvidenceKind):
    fifteen = timedelta(minutes=15)

    assert level(proof(kind), at=fifteen - INSTANT) is AssuranceLevel.STRONG
    assert level(proof(kind), at=fifteen) is AssuranceLevel.VERIFIED
    assert level(proof(kind, used_at=NOW + fifteen - INSTANT), at=fifteen) is AssuranceLevel.VERIFIED
    assert level(proof(kind), at=HALF_AN_HOUR) is AssuranceLevel.ANONYMOUS


def test_caller_id_recognises_for_four_hours_and_is_never_more():
    caller_id = proof(EvidenceKind.CALLER_ID, level=4, request_sha256=REQUEST)

    assert level(caller_id, request=REQUEST) is AssuranceLevel.RECOGNISED
    assert level(caller_id, at=timedelta(hours=4) - INSTANT) is AssuranceLevel.RECOGNISED
    assert level(caller_id, at=timedelta(hours=4)) is AssuranceLevel.ANONYMOUS


@pytest.mark.parametrize("kind", [kind for kind in EvidenceKind if kind is not EvidenceKind.CALLER_ID])
def test_nothing_but_caller_id_ever_leaves_somebody_recognised(kind: EvidenceKind):
    moments = [timedelta(minutes=minute) for minute in range(12 * 60 + 2)]

    found = {level(proof(kind, level=3, used_at=NOW + at), at=at) for at in moments}

    assert AssuranceLevel.RECOGNISED not in found


@pytest.mark.parametrize(
    ("configured", "believed"),
    [
        (None, AssuranceLevel.ANONYMOUS),
        (0, AssuranceLevel.ANONYMOUS),
        (1, AssuranceLevel.ANONYMOUS),
        (2, AssuranceLevel.VERIFIED),
        (3, AssuranceLevel.STRONG),
        (4, AssuranceLevel.STRONG),
    ],
)
def test_an_openid_login_is_worth_what_is_configured_and_never_confirms(configured: int | None, believed: int):
    assert level(proof(EvidenceKind.OPENID, level=configured), request=REQUEST) is believed


@pytest.mark.parametrize("kind", [kind for kind in EvidenceKind if kind is not EvidenceKind.OPENID])
def test_a_level_written_beside_other_evidence_changes_nothing(kind: EvidenceKind):
    assert level(proof(kind, level=4)) is level(proof(kind))


def confirmation(**changes: Any):
    return proof(EvidenceKind.REQUEST_CONFIRMATION, **{"request_sha256": REQUEST, **changes})


def test_a_passkey_and_a_confirmation_of_this_very_request_confirm_it_for_five_minutes():
    both = (proof(EvidenceKind.PASSKEY), confirmation())
    five = timedelta(minutes=5)

    assert level(*both, request=REQUEST) is AssuranceLevel.CONFIRMED
    assert level(*both, request=REQUEST, at=five - INSTANT) is AssuranceLevel.CONFIRMED
    assert level(*both, request=REQUEST, at=five) is AssuranceLevel.STRONG
    assert level(*both, request=OTHER_REQUEST) is AssuranceLevel.STRONG
    assert level(*both) is AssuranceLevel.STRONG, "no request is named, so none is confirmed"


def test_an_old_passkey_does_not_confirm_and_neither_does_an_old_confirmation():
    old = NOW - timedelta(minutes=5)

    assert level(proof(EvidenceKind.PASSKEY, obtained_at=old), confirmation(), request=REQUEST) is AssuranceLevel.STRONG
    assert level(proof(EvidenceKind.PASSKEY), confirmation(obtained_at=old), request=REQUEST) is AssuranceLevel.STRONG


def test_a_spent_confirmation_confirms_nothing_any_more():
    both = (proof(EvidenceKind.PASSKEY), confirmation(spent=True))

    assert level(*both, request=REQUEST) is AssuranceLevel.STRONG
    assert confirmation_for(both, ADA, NOW, REQUEST) is None


@pytest.mark.parametrize("kind", [kind for kind in EvidenceKind if kind not in PHISHING_RESISTANT])
def test_what_can_be_phished_never_confirms(kind: EvidenceKind):
    beside = proof(kind, level=4, request_sha256=REQUEST)

    assert level(beside, confirmation(), request=REQUEST) < AssuranceLevel.CONFIRMED


def test_a_confirmation_of_another_person_confirms_nothing():
    assert level(proof(EvidenceKind.PASSKEY), confirmation(subject_id=EVE), request=REQUEST) is AssuranceLevel.STRONG
    assert level(proof(EvidenceKind.PASSKEY, subject_id=EVE), confirmation(), request=REQUEST) < AssuranceLevel.STRONG


def test_the_confirmation_that_was_counted_on_is_the_one_to_spend():
    other = confirmation(request_sha256=OTHER_REQUEST, evidence_id="evi_other")
    mine = confirmation(evidence_id="evi_mine")

    found = confirmation_for((other, proof(EvidenceKind.PASSKEY), mine), ADA, NOW, REQUEST)

    assert found is mine


def test_an_unspendable_request_hash_of_none_is_never_confirmed():
    unbound = confirmation(request_sha256=None)

    assert level(proof(EvidenceKind.PASSKEY), unbound, request=REQUEST) is AssuranceLevel.STRONG
    assert level(proof(EvidenceKind.PASSKEY), unbound) is AssuranceLevel.STRONG


def test_the_level_ends_when_the_last_evidence_for_it_does():
    early, late = proof(), proof(EvidenceKind.SMS_CODE, used_at=NOW + timedelta(minutes=10))

    assert level_of((early, late), ADA, NOW).expires_at == NOW + timedelta(minutes=40)
    assert level_of((early,), ADA, NOW).expires_at == NOW + HALF_AN_HOUR
    assert level_of((), ADA, NOW).expires_at is None


def test_the_end_that_is_told_is_the_end_that_comes():
    evidence = (proof(EvidenceKind.PASSKEY), confirmation(), proof(EvidenceKind.CALLER_ID))
    steps, at = [], NOW
    while (assurance := level_of(evidence, ADA, at, REQUEST)).expires_at is not None:
        assert level_of(evidence, ADA, assurance.expires_at - INSTANT, REQUEST).level is assurance.level
        steps.append(assurance.level)
        at = assurance.expires_at

    assert steps == [4, 3, 2, 1]


def test_two_subjects_shown_by_caller_id_are_nobody():
    mine, hers = proof(EvidenceKind.CALLER_ID), proof(EvidenceKind.CALLER_ID, subject_id=EVE)

    assert recognised((mine,), NOW) == ADA
    assert recognised((mine, hers), NOW) is None
    assert recognised((replace(mine, shared=True),), NOW) is None
    assert recognised((mine,), NOW + timedelta(hours=4)) is None
    assert recognised((mine, replace(hers, shared=True)), NOW) == ADA


@pytest.mark.parametrize("kind", [kind for kind in EvidenceKind if kind is not EvidenceKind.CALLER_ID])
def test_only_caller_id_recognises(kind: EvidenceKind):
    assert recognised((proof(kind),), NOW) is None


def test_use_is_noted_for_living_evidence_that_can_idle_and_at_most_once_a_minute():
    code, line = proof(), proof(EvidenceKind.CALLER_ID)

    def noted(*evidence: Evidence, at: timedelta):
        return to_note_as_used(evidence, ADA, NOW + at)

    assert noted(code, line, at=USE_NOTED_EVERY) == [code.evidence_id]
    assert noted(code, line, at=USE_NOTED_EVERY - INSTANT) == []
    assert noted(code, at=HALF_AN_HOUR) == [], "what has idled away is not woken up"
    assert noted(replace(code, used_at=NOW + timedelta(minutes=5)), at=timedelta(minutes=5, seconds=59)) == []
    assert noted(replace(code, subject_id=EVE), at=USE_NOTED_EVERY) == []
    assert to_note_as_used((code,), None, NOW + USE_NOTED_EVERY) == []


def test_a_method_is_offered_for_every_level_its_evidence_reaches_and_no_other():
    for wanted in AssuranceLevel:
        reaching = [method for method in EVIDENCE_OF if HIGHEST[EVIDENCE_OF[method]] >= wanted > 0]
        assert METHODS.get(wanted, []) == reaching


def test_no_method_is_offered_for_anonymous_and_no_level_is_offered_an_empty_list():
    assert AssuranceLevel.ANONYMOUS not in METHODS
    assert all(METHODS.values())


MINUTES = st.integers(min_value=-60, max_value=13 * 60)
ANY_EVIDENCE = st.builds(
    lambda kind, subject, obtained, used, worth, about, spent, shared: proof(
        kind,
        subject_id=subject,
        obtained_at=NOW + timedelta(minutes=obtained),
        used_at=None if used is None else NOW + timedelta(minutes=used),
        level=worth,
        request_sha256=about,
        spent=spent,
        shared=shared,
    ),
    st.sampled_from(EvidenceKind),
    st.sampled_from([ADA, EVE]),
    MINUTES,
    st.none() | MINUTES,
    st.none() | st.integers(0, 4),
    st.sampled_from([None, REQUEST, OTHER_REQUEST]),
    st.booleans(),
    st.booleans(),
)


@given(evidence=st.lists(ANY_EVIDENCE, max_size=5), at=MINUTES)
def test_more_evidence_never_lowers_the_level_and_nobody_elses_ever_raises_it(evidence: list[Evidence], at: int):
    now = NOW + timedelta(minutes=at)
    whole = level_of(evidence, ADA, now, REQUEST).level

    parts = [level_of(part, ADA, now, REQUEST).level for size in range(3) for part in combinations(evidence, size)]
    mine = [item for item in evidence if item.subject_id == ADA]

    assert max(parts) <= whole
    assert level_of(mine, ADA, now, REQUEST).level is whole


@given(evidence=st.lists(ANY_EVIDENCE, max_size=5), at=MINUTES)
def test_no_level_outlives_the_greatest_age_it_allows(evidence: list[Evidence], at: int):
    now = NOW + timedelta(minutes=at)

    assurance = level_of(evidence, ADA, now, REQUEST)

    if assurance.expires_at is not None:
        assert now < assurance.expires_at <= now + MAX_AGE[assurance.level]
        assert any(now - item.obtained_at < MAX_AGE[assurance.level] for item in evidence if item.subject_id == ADA)
        if assurance.level in IDLE_MAX:
            used = [item.used_at for item in evidence if item.used_at is not None]
            assert assurance.expires_at <= max([now, *used]) + IDLE_MAX[assurance.level]
