"""What a token's terms refuse. The vault asks it of every charge; who ordered the terms may ask it beforehand."""

from collections.abc import Iterator
from datetime import datetime

from vault.contract import ChargeReason, TokenTerms, TokenUses


def refusals(
    terms: TokenTerms, *, amount_minor: int, currency: str, agent_id: str, now: datetime
) -> Iterator[ChargeReason]:
    """Why terms do not allow a charge, every reason there is; that a token is spent only the charges say."""
    yield from _of_use(terms, agent_id, now)
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
    return terms.forwards and terms.uses is TokenUses.MULTI and not any(_of_use(terms, agent_id, now))


def _of_use(terms: TokenTerms, agent_id: str, now: datetime) -> Iterator[ChargeReason]:
    """Whatever it is used for."""
    if terms.good_until is not None and now >= terms.good_until:
        yield ChargeReason.TOKEN_EXPIRED
    if terms.agent_id not in {None, agent_id}:
        yield ChargeReason.TOKEN_NOT_FOR_AGENT
