"""The decision said a second time: plainly, slowly and without the engine.

Written from what the rules are meant to be, not from the text of `gateway/policies/`, and compared with the engine in
`test_reference.py`. Whoever changes what is meant changes it here too. Nothing here is fast or clever: every function
takes the looked-up facts and answers whether it is allowed and the whole set of reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.callers import Caller, CallerKind
from gateway.contract import AssuranceLevel, Reason, RemedyKind
from gateway.facts import ApprovalFacts, ApprovalState, MandateFacts, PersonFacts, PurchaseFacts, RefundFacts
from gateway.windows import Taken, Window

COUNTABLE: Final = range(-(2**63), 2**63)
"""What the engine can count in: 64 bits with a sign."""
TIERS: Final = (0, 1, 2, 3, 4)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC)
NEEDED_SCOPE: Final = {
    "purchase": "purchase",
    "refund": "refund",
    "recall": "memory",
    "remember": "memory",
    "forget": "memory",
    "read_mandates": "purchase",
    "revoke_mandate": "purchase",
    "list_purchases": "purchase",
    "forward": "forward",
}


@dataclass(frozen=True, slots=True)
class Answer:
    allowed: bool
    reasons: frozenset[Reason]


BROKEN: Final = Answer(allowed=False, reasons=frozenset({Reason.EVALUATION_ERROR}))
"""Whatever cannot be evaluated, or is denied without anybody objecting."""


@dataclass(frozen=True, slots=True)
class Row:
    """A purchase, mandate or conversation in a list; `over` is revoked or closed."""

    brand_id: str = "brd_larkspur"
    subject_id: str = "sub_ada"
    client_id: str = "agt_larkspur"
    over: bool = False


ROWS_TO_SEE: Final = (
    Row(),
    Row(),
    Row(brand_id="brd_other"),
    Row(subject_id="sub_eve"),
    Row(client_id="agt_other"),
    Row(over=True),
)


@dataclass(frozen=True, slots=True)
class Way:
    """A remedy without what only tells people how: `level` of a step-up, `amount_minor` of a lower amount."""

    kind: RemedyKind
    level: AssuranceLevel | None = None
    amount_minor: int | None = None
    until: datetime | None = None


def purchase(facts: PurchaseFacts, now: datetime) -> Answer:
    """Within a living mandate of a verified person, for exactly the quoted cart, by a caller it trusts."""
    quote, mandate, caller = facts.quote, facts.mandate, facts.caller
    if not _countable(facts):
        return BROKEN
    subject_id = facts.conversation.subject_id
    objections = {
        Reason.SCOPE_MISSING: "purchase" not in caller.scopes,
        Reason.CALLER_NOT_COVERED: not _speaks_for(caller, quote.brand_id),
        Reason.SUBJECT_UNKNOWN: subject_id is None,
        Reason.ASSURANCE_TOO_LOW: facts.level < AssuranceLevel.VERIFIED,
        Reason.QUOTE_EXPIRED: _over(quote.expires_at, now),
        Reason.CART_CHANGED: facts.cart_sha256 != quote.cart_sha256,
        Reason.PAYEE_NOT_COVERED: facts.conversation.brand_id != quote.brand_id,
        Reason.APPROVAL_REFUSED: _answered(facts, ApprovalState.REFUSED),
        Reason.PURPOSE_NOT_COVERED: not quote.purposes,
        Reason.NO_MANDATE: subject_id is not None and (mandate is None or mandate.subject_id != subject_id),
    }
    if mandate is None:
        return _answer(objections, otherwise=None)
    against = _objections_of_mandate(mandate, facts, now)
    together = {reason: objections.get(reason, False) or against.get(reason, False) for reason in Reason}
    counts = (mandate.taken.today_minor, mandate.taken.in_window_minor, mandate.taken.bought_in_window)
    sound = quote.amount_minor > 0 and min(counts) >= 0
    return _answer(together, otherwise=Reason.WITHIN_MANDATE if sound else None)


def purchase_under_phone_cap(facts: PurchaseFacts, now: datetime, cap_minor: int) -> Answer:
    """As `purchase`, at a brand that takes no telephone order above `cap_minor`."""
    ours = purchase(facts, now)
    if not facts.keyed_by_phone or facts.quote.amount_minor <= cap_minor or not _countable(facts):
        return ours
    others = ours.reasons if not ours.allowed and ours != BROKEN else frozenset()
    return Answer(allowed=False, reasons=others | {Reason.TENANT_RULE})


def refund(facts: RefundFacts) -> Answer:
    """Back goes only what was paid and is left, by an agent of the brand that was paid."""
    if facts.amount_minor not in COUNTABLE or facts.refundable_minor not in COUNTABLE:
        return BROKEN
    caller = facts.caller
    objections = {
        Reason.SCOPE_MISSING: "refund" not in caller.scopes,
        Reason.CALLER_NOT_COVERED: caller.kind is not CallerKind.AGENT or facts.brand_id not in caller.brand_ids,
        Reason.NOT_REFUNDABLE: not facts.paid,
        Reason.OVER_REFUNDABLE: facts.paid and facts.amount_minor > facts.refundable_minor,
    }
    return _answer(objections, otherwise=Reason.CALLER_MAY if facts.amount_minor > 0 else None)


def about_person(action: str, facts: PersonFacts) -> Answer:
    """Remember, forget, read or revoke mandates, list purchases: of the person who is verified in this conversation.

    Sending a card elsewhere is a right of the brand's own agents, and takes two factors.
    """
    objections = _objections_about_person(action, facts)
    enough = AssuranceLevel.STRONG if action == "forward" else AssuranceLevel.VERIFIED
    objections[Reason.ASSURANCE_TOO_LOW] = facts.level < enough
    if action == "forward" and facts.caller.kind is not CallerKind.AGENT:
        objections[Reason.CALLER_NOT_COVERED] = True
    return _answer(objections, otherwise=Reason.CALLER_MAY)


def recall(facts: PersonFacts, tier: int) -> Answer:
    """What is remembered up to `tier` of the person in this conversation: tier t from level t on."""
    objections = _objections_about_person("recall", facts)
    objections[Reason.ASSURANCE_TOO_LOW] = tier not in TIERS or facts.level < tier
    return _answer(objections, otherwise=Reason.WITHIN_LEVEL)


def row(action: str, facts: PersonFacts, row: Row) -> Answer:
    """What is in a list: an agent's own open conversations; the verified person's own things with the brand."""
    caller, talk = facts.caller, facts.conversation
    if action == "see_conversation":
        may = caller.kind is CallerKind.AGENT and "conversation" in caller.scopes
        seen = may and row.brand_id in caller.brand_ids and row.client_id == caller.client_id and not row.over
    else:
        may = "purchase" in caller.scopes and _speaks_for(caller, talk.brand_id)
        known = talk.subject_id is not None and facts.level >= AssuranceLevel.VERIFIED
        seen = may and known and (row.brand_id, row.subject_id) == (talk.brand_id, talk.subject_id)
    return Answer(allowed=True, reasons=frozenset({Reason.CALLER_MAY})) if seen else BROKEN


def highest_tier(facts: PersonFacts) -> int | None:
    return max((tier for tier in TIERS if recall(facts, tier).allowed), default=None)


def purchase_ways(facts: PurchaseFacts, now: datetime) -> list[Way]:
    """The lowest level that would do; else each single change; else the lowest level at which single changes do."""
    if purchase(facts, now).allowed:
        return []
    for level in _above(facts.level):
        if purchase(_purchase_at(facts, level), now).allowed:
            return [Way(RemedyKind.STEP_UP, level=level)]
    if changes := _purchase_changes(facts, now):
        return changes
    for level in _above(facts.level):
        if changes := _purchase_changes(_purchase_at(facts, level), now):
            return [Way(RemedyKind.STEP_UP, level=level), *changes]
    return []


def person_ways(action: str, facts: PersonFacts) -> list[Way]:
    if about_person(action, facts).allowed:
        return []
    enough = [level for level in _above(facts.level) if about_person(action, person_at(facts, level)).allowed]
    return [Way(RemedyKind.STEP_UP, level=level) for level in enough[:1]]


def recall_ways(facts: PersonFacts) -> list[Way]:
    """Each level that would show a tier which no lower level shows."""
    shown, ways = highest_tier(facts), []
    for level in _above(facts.level):
        more = highest_tier(person_at(facts, level))
        if more is not None and (shown is None or more > shown):
            ways.append(Way(RemedyKind.STEP_UP, level=level))
            shown = more
    return ways


def person_at(facts: PersonFacts, level: AssuranceLevel) -> PersonFacts:
    known = facts.conversation.subject_id or "sub_somebody"
    return replace(facts, level=level, conversation=replace(facts.conversation, subject_id=known))


def purchase_after(facts: PurchaseFacts, way: Way) -> PurchaseFacts:
    """What the facts are once the person, or the caller, did what the remedy says."""
    match way.kind:
        case RemedyKind.STEP_UP:
            return _purchase_at(facts, way.level or facts.level)
        case RemedyKind.LOWER_AMOUNT:
            return replace(facts, quote=replace(facts.quote, amount_minor=way.amount_minor or 0))
        case RemedyKind.APPROVAL:
            yes = ApprovalFacts(
                approval_id="apr_reference",
                state=ApprovalState.APPROVED,
                parameters_sha256=facts.parameters_sha256,
                expires_at=END_OF_TIME,
            )
            return replace(facts, approval=yes)
        case RemedyKind.WAIT_UNTIL:
            return _once_there_is_room(facts)
        case RemedyKind.NEW_MANDATE:
            return _with_covering_mandate(facts)
        case RemedyKind.NEW_QUOTE:
            return replace(facts, quote=replace(facts.quote, cart_sha256=facts.cart_sha256, expires_at=END_OF_TIME))
    raise NotImplementedError(way.kind)


def _answer(objections: Mapping[Reason, bool], otherwise: Reason | None) -> Answer:
    """Any objection denies. Without one `otherwise` allows; where it is None nothing allows, which is a deny too."""
    raised = frozenset(reason for reason, holds in objections.items() if holds)
    if raised:
        return Answer(allowed=False, reasons=raised)
    return BROKEN if otherwise is None else Answer(allowed=True, reasons=frozenset({otherwise}))


def _countable(facts: PurchaseFacts) -> bool:
    numbers = [facts.quote.amount_minor]
    if facts.mandate is not None:
        numbers += [
            facts.mandate.payment_cap_minor,
            facts.mandate.day_cap_minor,
            facts.mandate.day_cap_minor - facts.quote.amount_minor,
            facts.mandate.window.seconds,
            facts.mandate.window.cap_minor,
            facts.mandate.window.cap_minor - facts.quote.amount_minor,
            facts.mandate.window.count_max,
            facts.mandate.approval_above_minor,
            *_counted(facts.mandate.taken),
            *([] if facts.mandate.relief is None else _counted(facts.mandate.relief.taken)),
        ]
    return all(number in COUNTABLE for number in numbers)


def _counted(taken: Taken) -> list[int]:
    return [taken.today_minor, taken.in_window_minor, taken.bought_in_window]


def _answered(facts: PurchaseFacts, state: ApprovalState) -> bool:
    """Whether this person said so about exactly this: nothing about it may have changed since."""
    return (
        facts.approval is not None
        and facts.approval.state is state
        and facts.approval.parameters_sha256 == facts.parameters_sha256
    )


def _objections_of_mandate(mandate: MandateFacts, facts: PurchaseFacts, now: datetime) -> dict[Reason, bool]:
    quote, taken = facts.quote, mandate.taken
    approved = _answered(facts, ApprovalState.APPROVED) and facts.approval is not None
    in_time = approved and facts.approval is not None and not _over(facts.approval.expires_at, now)
    return {
        Reason.CALLER_NOT_COVERED: not _names_of(facts.caller) & set(mandate.delegates),
        Reason.PAYEE_NOT_COVERED: quote.brand_id not in mandate.payees,
        Reason.PURPOSE_NOT_COVERED: bool(set(quote.purposes) - set(mandate.purposes)),
        Reason.CURRENCY_NOT_COVERED: mandate.currency != quote.currency,
        Reason.MANDATE_REVOKED: mandate.revoked,
        Reason.MANDATE_EXPIRED: _over(mandate.expires_at, now),
        Reason.OVER_PAYMENT_CAP: quote.amount_minor > mandate.payment_cap_minor,
        Reason.OVER_DAY_CAP: taken.today_minor + quote.amount_minor > mandate.day_cap_minor,
        Reason.OVER_WINDOW_CAP: taken.in_window_minor + quote.amount_minor > mandate.window.cap_minor,
        Reason.OVER_WINDOW_COUNT: taken.bought_in_window + 1 > mandate.window.count_max,
        Reason.APPROVAL_NEEDED: quote.amount_minor > mandate.approval_above_minor and not in_time,
    }


def _objections_about_person(action: str, facts: PersonFacts) -> dict[Reason, bool]:
    return {
        Reason.SCOPE_MISSING: NEEDED_SCOPE[action] not in facts.caller.scopes,
        Reason.CALLER_NOT_COVERED: not _speaks_for(facts.caller, facts.conversation.brand_id),
        Reason.SUBJECT_UNKNOWN: facts.conversation.subject_id is None,
    }


def _speaks_for(caller: Caller, brand_id: str) -> bool:
    return caller.kind in {CallerKind.AGENT, CallerKind.ASSISTANT} and brand_id in caller.brand_ids


def _names_of(caller: Caller) -> set[str]:
    """An agent is trusted as one of its brand's agents, an assistant by its own name."""
    if caller.kind is CallerKind.AGENT:
        return {f"agents:{brand_id}" for brand_id in caller.brand_ids}
    return {caller.client_id}


def _over(end: datetime, now: datetime) -> bool:
    """Time is counted in whole seconds: what ends within this very second is over."""
    second = timedelta(seconds=1)
    return (now - EPOCH) // second >= (end - EPOCH) // second


def _above(present: AssuranceLevel) -> list[AssuranceLevel]:
    return [level for level in AssuranceLevel if level > present]


def _purchase_at(facts: PurchaseFacts, level: AssuranceLevel) -> PurchaseFacts:
    """At this level. Who is nobody yet would be somebody with a covering mandate: the answer must not tell more."""
    if facts.conversation.subject_id is not None:
        return replace(facts, level=level)
    somebody = replace(facts.conversation, subject_id="sub_somebody")
    return _with_covering_mandate(replace(facts, level=level, conversation=somebody))


def _once_there_is_room(facts: PurchaseFacts) -> PurchaseFacts:
    """Later, with today's cart at a price quoted then."""
    if facts.mandate is None or facts.mandate.relief is None:
        return facts
    mandate = replace(facts.mandate, taken=facts.mandate.relief.taken, relief=None)
    quote = replace(facts.quote, cart_sha256=facts.cart_sha256, expires_at=END_OF_TIME)
    return replace(facts, mandate=mandate, quote=quote)


def _with_covering_mandate(facts: PurchaseFacts) -> PurchaseFacts:
    subject_id = facts.conversation.subject_id
    if subject_id is None:
        return facts
    amount = facts.quote.amount_minor
    covering = MandateFacts(
        mandate_id="mnd_reference",
        subject_id=subject_id,
        payees=(facts.quote.brand_id,),
        purposes=facts.quote.purposes,
        currency=facts.quote.currency,
        payment_cap_minor=amount,
        day_cap_minor=amount,
        window=Window(cap_minor=amount),
        approval_above_minor=amount,
        taken=Taken(today_minor=0, in_window_minor=0, bought_in_window=0),
        relief=None,
        delegates=tuple(sorted(_names_of(facts.caller))),
        revoked=False,
        expires_at=END_OF_TIME,
    )
    return replace(facts, mandate=covering)


def _purchase_changes(facts: PurchaseFacts, now: datetime) -> list[Way]:
    ways = [Way(RemedyKind.NEW_MANDATE), Way(RemedyKind.NEW_QUOTE)]
    if facts.mandate is not None:
        mandate, taken = facts.mandate, facts.mandate.taken
        if mandate.relief is not None:
            ways.insert(0, Way(RemedyKind.WAIT_UNTIL, until=mandate.relief.at))
        if not _answered(facts, ApprovalState.REFUSED):
            ways.insert(0, Way(RemedyKind.APPROVAL))
        left = min(
            mandate.payment_cap_minor,
            mandate.day_cap_minor - taken.today_minor,
            mandate.window.cap_minor - taken.in_window_minor,
            mandate.approval_above_minor,
        )
        lower = min(left, facts.quote.amount_minor - 1)
        if lower > 0:
            ways.insert(0, Way(RemedyKind.LOWER_AMOUNT, amount_minor=lower))
    return [way for way in ways if purchase(purchase_after(facts, way), way.until or now).allowed]
