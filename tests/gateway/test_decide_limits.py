"""Windows, purposes and approvals in the decision: what each denies, and which remedies are found."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.cedar import Cedar
from gateway.contract import Reason, Remedy, RemedyKind
from gateway.decide import decide_purchase
from gateway.facts import ApprovalState
from gateway.windows import Relief, Window
from tests.gateway import given
from tests.gateway.given import NOW

CEDAR = Cedar.load()
THRESHOLD = given.mandate(approval_above_minor=3_999)
DENIED = {
    "window is full": (
        given.purchase(mandate=given.mandate(window=Window(cap_minor=6_000), taken=given.taken(0, 2_001, 1))),
        [Reason.OVER_WINDOW_CAP],
    ),
    "bought too often": (
        given.purchase(mandate=given.mandate(window=Window(count_max=3), taken=given.taken(0, 30, 3))),
        [Reason.OVER_WINDOW_COUNT],
    ),
    "other purpose": (given.purchase(quote=given.quote(purposes=("travel",))), [Reason.PURPOSE_NOT_COVERED]),
    "one other purpose among covered ones": (
        given.purchase(quote=given.quote(purposes=("goods", "gift_cards"))),
        [Reason.PURPOSE_NOT_COVERED],
    ),
    "no purpose at all": (given.purchase(quote=given.quote(purposes=())), [Reason.PURPOSE_NOT_COVERED]),
    "above the threshold": (given.purchase(mandate=THRESHOLD), [Reason.APPROVAL_NEEDED]),
    "not answered yet": (given.to_approve(ApprovalState.OPEN), [Reason.APPROVAL_NEEDED]),
    "used by another purchase": (given.to_approve(ApprovalState.USED), [Reason.APPROVAL_NEEDED]),
    "approval ran out": (given.to_approve(ApprovalState.APPROVED, expires_at=NOW), [Reason.APPROVAL_NEEDED]),
    "approval for something else": (
        given.to_approve(ApprovalState.APPROVED, parameters_sha256="c" * 64),
        [Reason.APPROVAL_NEEDED],
    ),
    "refused": (given.to_approve(ApprovalState.REFUSED), [Reason.APPROVAL_NEEDED, Reason.APPROVAL_REFUSED]),
    "refused long ago": (
        given.to_approve(ApprovalState.REFUSED, expires_at=NOW - timedelta(days=1)),
        [Reason.APPROVAL_NEEDED, Reason.APPROVAL_REFUSED],
    ),
}


@pytest.mark.parametrize(("facts", "reasons"), DENIED.values(), ids=DENIED)
def test_a_denied_purchase_names_exactly_which_limit_is_in_the_way(facts: Any, reasons: list[Reason]):
    decision = decide_purchase(CEDAR, facts, NOW)

    assert not decision.allowed
    assert list(decision.reasons) == reasons


def test_a_full_window_says_what_would_fit_and_when_there_is_room_again():
    friday = NOW + timedelta(days=2)
    full = given.mandate(
        window=Window(cap_minor=6_000),
        taken=given.taken(0, 5_000, 2),
        relief=Relief(at=friday, taken=given.taken(0, 2_000, 1)),
    )

    decision = decide_purchase(CEDAR, given.purchase(mandate=full), NOW)

    assert decision.remedies == (
        Remedy(kind=RemedyKind.LOWER_AMOUNT, amount_minor_max=1_000, currency="USD"),
        Remedy(kind=RemedyKind.WAIT_UNTIL, until=friday),
        Remedy(kind=RemedyKind.NEW_MANDATE),
    )


def test_waiting_does_not_help_when_the_mandate_ends_before_there_is_room():
    friday = NOW + timedelta(days=2)
    full = given.mandate(
        window=Window(cap_minor=6_000),
        taken=given.taken(0, 5_000, 2),
        relief=Relief(at=friday, taken=given.taken(0, 2_000, 1)),
        expires_at=friday,
    )

    decision = decide_purchase(CEDAR, given.purchase(mandate=full), NOW)

    assert RemedyKind.WAIT_UNTIL not in [remedy.kind for remedy in decision.remedies]


def test_above_the_threshold_an_approval_would_do_and_so_would_a_lower_amount():
    decision = decide_purchase(CEDAR, given.purchase(mandate=THRESHOLD), NOW)

    assert decision.remedies == (
        Remedy(kind=RemedyKind.LOWER_AMOUNT, amount_minor_max=3_999, currency="USD"),
        Remedy(kind=RemedyKind.APPROVAL),
        Remedy(kind=RemedyKind.NEW_MANDATE),
    )


def test_with_its_approval_a_purchase_above_the_threshold_is_allowed():
    assert decide_purchase(CEDAR, given.to_approve(ApprovalState.APPROVED), NOW).allowed


def test_what_was_refused_is_not_offered_for_approval_again():
    decision = decide_purchase(CEDAR, given.to_approve(ApprovalState.REFUSED), NOW)

    assert RemedyKind.APPROVAL not in [remedy.kind for remedy in decision.remedies]


@pytest.mark.parametrize(
    "changed",
    [
        {"quote": given.quote(amount_minor=4_001)},
        {"quote": given.quote(amount_minor=4_999)},
        {"quote": given.quote(checkout_id="cko_two")},
        {"quote": given.quote(cart_sha256="d" * 64), "cart_sha256": "d" * 64},
        {"caller": given.agent(client_id="agt_another")},
        {"mandate": replace(THRESHOLD, mandate_id="mnd_two")},
    ],
    ids=["one cent more", "much more", "another checkout", "another cart", "another caller", "another mandate"],
)
@pytest.mark.control("UC-D.2")
def test_an_approval_is_for_exactly_what_was_approved(changed: dict[str, Any]):
    approved = given.to_approve(ApprovalState.APPROVED)

    decision = decide_purchase(CEDAR, replace(approved, **changed), NOW)

    assert not decision.allowed
    assert decision.reasons == (Reason.APPROVAL_NEEDED,)
