"""What a token may be used for, in the contract's words, and what follows. Imported from `vault.contract`.

The vault asks `refusals` of every charge; who ordered the terms may ask it beforehand.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from vault.contract.reasons import ChargeReason

AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=99_999_999)]
"""Minor units. The ceiling is the processor's: eight digits."""
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
AgentName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z][!-~]*\Z")]
"""As a grant's `act` names who asked: a client id."""
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
CARD_LIKE: Final = re.compile(r"(?:\d[ ._-]*){12}\d")


class TokenUses(StrEnum):
    MULTI = "multi"
    SINGLE = "single"
    """One charge: spent while one is under way and once one is approved or held, free again when it came to nothing."""


class TokenTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the token of a captured card may be used for, besides the brand and the subject it always is bound to.

    What is not said is not limited. An amount is of one currency, so it needs that one; exact or at most, not both.
    """

    uses: TokenUses = TokenUses.MULTI
    good_until: Moment | None = None
    """The first moment at which no charge of it begins any more."""
    agent_id: AgentName | None = None
    currency: Currency | None = None
    amount_exact_minor: AmountMinor | None = None
    amount_max_minor: AmountMinor | None = None
    forwards: bool = False
    """Whether the card may be sent to registered destinations as well, which are not held to any of this."""

    def __post_init__(self) -> None:
        if self.forwards and self.uses is TokenUses.SINGLE:
            raise ValueError("a token for one charge is not sent elsewhere")
        if self.amount_exact_minor is not None and self.amount_max_minor is not None:
            raise ValueError("an amount is exact or a ceiling")
        if self.currency is None and (self.amount_exact_minor or self.amount_max_minor):
            raise ValueError("an amount needs its currency")
        if self.agent_id is not None and CARD_LIKE.search(self.agent_id):
            raise ValueError("a text holds as many digits as a card number")


def refusals(
    terms: TokenTerms, *, amount_minor: int, currency: str, agent_id: str, now: datetime
) -> Iterator[ChargeReason]:
    """Why terms do not allow a charge, every reason there is; that a token is spent only the charges say."""
    yield from _of_any_use(terms, agent_id, now)
    if terms.currency not in {None, currency}:
        yield ChargeReason.TOKEN_NOT_FOR_CURRENCY
    if terms.amount_exact_minor not in {None, amount_minor}:
        yield ChargeReason.TOKEN_NOT_FOR_AMOUNT
    if terms.amount_max_minor is not None and amount_minor > terms.amount_max_minor:
        yield ChargeReason.TOKEN_NOT_FOR_AMOUNT


def may_be_forwarded(terms: TokenTerms, *, agent_id: str, now: datetime) -> bool:
    """A destination is held to nothing of terms: a token that has some must have been ordered to be sent there too."""
    if terms == TokenTerms():
        return True
    return terms.forwards and not any(_of_any_use(terms, agent_id, now))


def _of_any_use(terms: TokenTerms, agent_id: str, now: datetime) -> Iterator[ChargeReason]:
    if terms.good_until is not None and now >= terms.good_until:
        yield ChargeReason.TOKEN_EXPIRED
    if terms.agent_id not in {None, agent_id}:
        yield ChargeReason.TOKEN_NOT_FOR_AGENT
