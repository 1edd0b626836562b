"""Whether what an updater says can be the card that comes after the stored one.

An updater that errs, or that somebody else speaks for, must not be able to put any card it likes under a token: what it
says is held to what the networks say an update can be. That a number exists, or is the same person's, nobody here can
tell.
"""

from datetime import datetime

from vault.cleartext.pan import CardDetails, CardNumber, expiry_flaw
from vault.cleartext.updaters import Implausible, Renewed


def successor(card: CardDetails, renewed: Renewed, now: datetime) -> CardDetails:
    """A card of its own, to be wiped by whoever is given it. Raises Implausible.

    Only within one network: an account that moved to another one is told as closed (Checkout.com, *Update stored
    credentials*). Number and month may change together; a month that was not said stays.
    """
    number = _number(card, renewed)
    month = card.exp_month if renewed.exp_month is None else renewed.exp_month
    year = card.exp_year if renewed.exp_year is None else renewed.exp_year
    flaw = expiry_flaw(month, year, now)
    if flaw is not None:
        raise Implausible(flaw.value)
    if not renewed.another and (year, month) <= (card.exp_year, card.exp_month):
        raise Implausible("expiry_no_later")
    own = CardNumber(str(number.reveal(), "ascii"))
    return CardDetails(number=own, exp_month=month, exp_year=year, holder=card.holder)


def _number(card: CardDetails, renewed: Renewed) -> CardNumber:
    number = renewed.number or card.number
    same = number.reveal() == card.number.reveal()
    if renewed.another == same:
        raise Implausible("number_unchanged" if same else "number_changed")
    if number.brand is not card.number.brand:
        raise Implausible("network_changed")
    first, last4 = renewed.first_digits, renewed.last4
    if first is not None and str(number.reveal()[: len(first)], "ascii") != first:
        raise Implausible("first_digits_differ")
    if last4 is not None and number.last4 != last4:
        raise Implausible("last_digits_differ")
    return number
