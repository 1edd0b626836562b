"""Random facts for the comparison with the reference: mostly right, with at most a few things wrong at a time.

Facts drawn without that bias would be denied for five reasons at once nearly always, and an allow would never be tried.
Numbers and times lie on and beside their boundaries.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from hypothesis import strategies as st

from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel
from gateway.facts import ApprovalFacts, ApprovalState, MandateFacts, PersonFacts, PurchaseFacts, RefundFacts
from gateway.windows import Relief, Window
from tests.gateway import given

LOWEST, HIGHEST = -(2**63), 2**63 - 1
OTHER_BRAND = "brd_other"
SPEAKING = (CallerKind.AGENT, CallerKind.ASSISTANT)
MUTE = tuple(kind for kind in CallerKind if kind not in SPEAKING)
ALL_SCOPES = frozenset({"conversation", "purchase", "memory", "refund", "forward"})
LOW = (AssuranceLevel.ANONYMOUS, AssuranceLevel.RECOGNISED)
ENOUGH = (AssuranceLevel.VERIFIED, AssuranceLevel.STRONG, AssuranceLevel.CONFIRMED)
Pick = Callable[..., Any]
PURCHASE_PARTS = (
    "kind", "scopes", "brands", "conversation", "subject", "level", "cart", "quote_end", "amount", "mandate",
    "mandate_subject", "payees", "currency", "delegates", "revoked", "mandate_end", "payment_cap", "taken",
    "day_cap", "window_cap", "window_taken", "count", "relief", "purposes", "threshold", "approval_state",
    "approval_for", "approval_end",
)  # fmt: skip
PERSON_PARTS = ("kind", "scopes", "brands", "subject", "level")
REFUND_PARTS = ("kind", "scopes", "brands", "paid", "amount")
WRONG_AT_ONCE_MAX = 3
WAYS_MAX = 7
"""No part here can be wrong in more ways."""
LATER = Relief(at=given.NOW + timedelta(minutes=20), taken=given.taken())
FULL_LATER = Relief(at=given.NOW + timedelta(days=2), taken=given.taken(HIGHEST, HIGHEST, HIGHEST))


def picking(draw: st.DrawFn, parts: tuple[str, ...]) -> Pick:
    """`pick(part, right values, wrong values)`: a wrong one for the few parts that are to be spoiled in this case."""
    spoiled = draw(st.frozensets(st.sampled_from(parts), max_size=WRONG_AT_ONCE_MAX))

    def pick(part: str, right: tuple[Any, ...], wrong: tuple[Any, ...]) -> Any:
        return draw(st.sampled_from(wrong if part in spoiled else right))

    return pick


def picking_each(parts: tuple[str, ...]) -> Iterator[Pick]:
    """One part spoiled at a time, in each of up to WAYS_MAX ways; the others have their first or second right value."""
    for spoiled, way, rightly in product(parts, range(WAYS_MAX), (0, 1)):

        def pick(
            part: str,
            right: tuple[Any, ...],
            wrong: tuple[Any, ...],
            chosen: tuple[str, int, int] = (spoiled, way, rightly),
        ) -> Any:
            return wrong[chosen[1] % len(wrong)] if part == chosen[0] else right[chosen[2] % len(right)]

        yield pick


def caller(pick: Pick) -> Caller:
    missing_one = tuple(ALL_SCOPES - {scope} for scope in sorted(ALL_SCOPES))
    return given.agent(
        kind=pick("kind", SPEAKING, MUTE),
        scopes=pick("scopes", (ALL_SCOPES,), (frozenset(), *missing_one)),
        brand_ids=pick(
            "brands",
            (frozenset({given.BRAND}), frozenset({given.BRAND, OTHER_BRAND})),
            (frozenset(), frozenset({OTHER_BRAND})),
        ),
    )


def ends(now: datetime) -> tuple[tuple[datetime, ...], tuple[datetime, ...]]:
    """Living and over: by one second, by less than one, by much."""
    whole = now.replace(microsecond=0)
    living = (whole + timedelta(seconds=1), whole + timedelta(minutes=30), whole + timedelta(days=36_500))
    over = (now, whole, whole.replace(microsecond=999_999), now - timedelta(seconds=1), now - timedelta(days=400))
    return living, over


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    return given.NOW.replace(microsecond=draw(st.sampled_from((0, 1, 500_000, 999_999))))


@st.composite
def purchases(draw: st.DrawFn) -> tuple[PurchaseFacts, datetime]:
    now = draw(moments())
    return _purchase(picking(draw, PURCHASE_PARTS), now), now


def spoiled_purchases() -> Iterator[tuple[PurchaseFacts, datetime]]:
    """Every part wrong on its own in each of its ways, beside each right value of the others: no luck in it."""
    for pick in picking_each(PURCHASE_PARTS):
        yield _purchase(pick, given.NOW), given.NOW


def _purchase(pick: Pick, now: datetime) -> PurchaseFacts:
    living, over = ends(now)
    amount = pick("amount", (1, 2, 4_000, 2**62, HIGHEST), (0, -1, -4_000, LOWEST, LOWEST + 1, HIGHEST + 1, LOWEST - 1))
    caller_id = caller(pick)
    mandate = _mandate(pick, caller_id, amount, (living, over)) if pick("mandate", (True,), (False,)) else None
    facts = given.purchase(
        caller=caller_id,
        conversation=given.conversation(
            pick("subject", (given.SUBJECT,), (None,)),
            brand_id=pick("conversation", (given.BRAND,), (OTHER_BRAND,)),
        ),
        level=pick("level", ENOUGH, LOW),
        cart_sha256=pick("cart", (given.CART,), ("b" * 64, "")),
        quote=given.quote(
            amount_minor=amount,
            expires_at=pick("quote_end", living, over),
            purposes=pick("purposes", (("goods",), ("services", "goods")), ((), ("travel",), ("goods", "travel"))),
        ),
        mandate=mandate,
    )
    return replace(facts, approval=_approval(pick, facts, (living, over)))


def _approval(
    pick: Pick, facts: PurchaseFacts, end: tuple[tuple[datetime, ...], tuple[datetime, ...]]
) -> ApprovalFacts | None:
    """Mostly there, given, and for exactly this: a threshold is then no hindrance."""
    state = pick("approval_state", (ApprovalState.APPROVED,), (None, *ApprovalState))
    if state is None:
        return None
    return ApprovalFacts(
        approval_id="apr_one",
        state=state,
        parameters_sha256=pick("approval_for", (facts.parameters_sha256,), ("c" * 64, "")),
        expires_at=pick("approval_end", *end),
    )


def _mandate(
    pick: Pick, caller: Caller, amount: int, end: tuple[tuple[datetime, ...], tuple[datetime, ...]]
) -> MandateFacts:
    taken = pick("taken", (0, 1, 5_000), (-1, LOWEST, HIGHEST, HIGHEST + 1))
    in_window = pick("window_taken", (0, 1, 7_000), (-1, LOWEST, HIGHEST, HIGHEST + 1))
    count, often = pick(
        "count", ((0, 1), (4, 5), (4, 10_000)), ((5, 5), (6, 5), (-1, 5), (LOWEST, 5), (HIGHEST + 1, 5))
    )
    room = in_window + amount
    is_agent = caller.kind is CallerKind.AGENT
    delegate = f"agents:{given.BRAND}" if is_agent else caller.client_id
    stranger = caller.client_id if is_agent else f"agents:{given.BRAND}"
    return given.mandate(
        subject_id=pick("mandate_subject", (given.SUBJECT,), ("sub_eve", "sub_somebody")),
        payees=pick("payees", ((given.BRAND,), (given.BRAND, OTHER_BRAND)), ((), (OTHER_BRAND,))),
        currency=pick("currency", ("USD",), ("EUR", "usd")),
        payment_cap_minor=pick("payment_cap", (amount, amount + 1), (amount - 1, 0, LOWEST, HIGHEST, HIGHEST + 1)),
        day_cap_minor=pick(
            "day_cap", (taken + amount, taken + amount + 1), (taken + amount - 1, 0, LOWEST, HIGHEST, LOWEST - 1)
        ),
        window=Window(
            cap_minor=pick("window_cap", (room, room + 1), (room - 1, 0, LOWEST, HIGHEST, LOWEST - 1)), count_max=often
        ),
        approval_above_minor=pick("threshold", (amount, amount - 1), (0, amount + 1, LOWEST, HIGHEST + 1)),
        taken=given.taken(taken, in_window, count),
        relief=pick("relief", (None, LATER), (FULL_LATER,)),
        delegates=pick("delegates", ((delegate,), ("ast_x", delegate, delegate)), ((), (stranger,))),
        revoked=pick("revoked", (False,), (True,)),
        expires_at=pick("mandate_end", *end),
    )


@st.composite
def refunds(draw: st.DrawFn) -> tuple[RefundFacts, datetime]:
    left = draw(st.sampled_from((1, 4_000, HIGHEST, 0, -1, LOWEST, HIGHEST + 1)))
    return _refund(picking(draw, REFUND_PARTS), left), draw(moments())


def spoiled_refunds() -> Iterator[tuple[RefundFacts, datetime]]:
    for pick in picking_each(REFUND_PARTS):
        yield _refund(pick, 4_000), given.NOW


def _refund(pick: Pick, left: int) -> RefundFacts:
    return given.refund(
        caller=caller(pick),
        paid=pick("paid", (True,), (False,)),
        refundable_minor=left,
        amount_minor=pick("amount", (left, left - 1, 1), (left + 1, 0, -1, LOWEST, HIGHEST)),
    )


@st.composite
def people(draw: st.DrawFn) -> tuple[PersonFacts, datetime]:
    pick = picking(draw, PERSON_PARTS)
    facts = PersonFacts(
        caller=caller(pick),
        conversation=given.conversation(pick("subject", (given.SUBJECT,), (None,))),
        level=pick("level", ENOUGH, LOW),
    )
    return facts, draw(moments())
