"""Which card is to pay for a purchase, and what its token will be good for. Pure; nothing here is asked of a model.

A card that was remembered pays as long as the terms of its token allow the purchase. Where there is none, or the person
wants another, they are asked for one, and the terms of its token are settled then: one payment of exactly this amount,
unless the person said on the consent page that their card is remembered; then as much as the mandate says. The vault
holds every charge to the terms (ADR 0034), and so does not depend on what is worked out here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from gateway.callers import Caller, CallerKind
from gateway.facts import QUOTE_TTL, MandateFacts, QuoteFacts
from vault.contract import CaptureChannel, CaptureState, PageLanguage, TokenTerms, TokenUses, refusals

CHARGE_MINOR_MAX: Final = 99_999_999
"""Of one charge (vault.contract.AmountMinor): a mandate with a higher cap limits no charge."""
ANY_AGENT: Final = ""
"""For whom a card is kept that the brand's own agents asked for, or that was kept before tokens had terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One that is on file. `terms` are its token's; None for one that was kept before there were any.

    `unusable`: the last charge showed that it has expired, was lost or is otherwise of no use.
    """

    token_id: str
    card_brand: str
    last4: str
    terms: TokenTerms | None = None
    unusable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A card to be asked for. With `replaces_card_of` the vault leaves that token its terms, and has no use for these.

    They are kept all the same: for another capture, should that token turn out to be gone.
    """

    channel: CaptureChannel
    terms: TokenTerms | None
    replaces_card_of: str | None
    language: PageLanguage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Wanted):
    """A card that was asked for. `token_id` once the person has given it. Without terms: from before there were any."""

    capture_id: str
    state: CaptureState
    amount_minor: int
    currency: str
    token_id: str | None

    @property
    def is_remembered(self) -> bool:
        """Whether its card is to be put on file once it has paid."""
        return self.terms is None or self.terms.uses is TokenUses.MULTI


@dataclass(frozen=True, slots=True)
class CardPlan:
    """One of the three: what is on file, a capture that stays as it is, or a new one."""

    card: Card | None = None
    capture: Capture | None = None
    wanted: Wanted | None = None

    @property
    def keyed_by_phone(self) -> bool:
        asked = self.capture or self.wanted
        return asked is not None and asked.channel is CaptureChannel.PHONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Paying:
    """What a plan is made from: looked up, but for `new_card` and `language`, which only ask for a page.

    `remembers`: the mandate lets cards be put on file, and those on file be used. `typed`: the purchase is not to be
    paid with the card on file, because that was refused or the person wants another. `call`: the evidence of the call
    in which a card may be keyed in.
    """

    quote: QuoteFacts
    caller: Caller
    mandate: MandateFacts | None
    remembers: bool
    card: Card | None
    capture: Capture | None
    typed: bool
    call: str | None
    language: PageLanguage | None
    now: datetime


def planned(paying: Paying) -> CardPlan:
    on_file = _on_file(paying)
    if on_file is not None and not on_file.unusable and not paying.typed:
        return CardPlan(card=on_file)
    by_phone = paying.call is not None and not paying.typed
    wanted = Wanted(
        channel=CaptureChannel.PHONE if by_phone else CaptureChannel.PAGE,
        terms=terms_for(paying),
        replaces_card_of=on_file.token_id if on_file is not None and not by_phone else None,
        language=paying.language,
    )
    if paying.capture is not None and _stays(paying.capture, wanted, paying):
        return CardPlan(capture=paying.capture)
    return CardPlan(wanted=wanted)


def again(capture: Capture) -> Wanted:
    """The same once more, on the page: what was not keyed in is typed."""
    return Wanted(
        channel=CaptureChannel.PAGE,
        terms=capture.terms,
        replaces_card_of=capture.replaces_card_of,
        language=capture.language,
    )


def terms_for(paying: Paying) -> TokenTerms:
    """Of a card that is given now.

    An assistant is named by itself in a mandate, the brand's agents by their brand: so an assistant's card is for it
    alone. A card given to the brand's own agents may go on to a destination, for which they need a stronger proof
    (gateway/forwards.py).
    """
    quote, mandate = paying.quote, paying.mandate
    if mandate is None or not paying.remembers:
        return TokenTerms(
            uses=TokenUses.SINGLE,
            good_until=paying.now + QUOTE_TTL,
            agent_id=paying.caller.client_id,
            currency=quote.currency,
            amount_exact_minor=quote.amount_minor,
        )
    own_agents = paying.caller.kind is CallerKind.AGENT
    capped = mandate.payment_cap_minor <= CHARGE_MINOR_MAX
    return TokenTerms(
        good_until=mandate.expires_at,
        agent_id=None if own_agents else paying.caller.client_id,
        currency=mandate.currency,
        amount_max_minor=mandate.payment_cap_minor if capped else None,
        forwards=own_agents,
    )


def kept_for(terms: TokenTerms | None) -> str:
    return ANY_AGENT if terms is None or terms.agent_id is None else terms.agent_id


def _on_file(paying: Paying) -> Card | None:
    """If the mandate lets it be used, and its token the purchase be paid."""
    card, quote = paying.card, paying.quote
    if card is None or not paying.remembers:
        return None
    against = refusals(
        card.terms or TokenTerms(),
        amount_minor=quote.amount_minor,
        currency=quote.currency,
        agent_id=paying.caller.client_id,
        now=paying.now,
    )
    return None if any(against) else card


def _stays(capture: Capture, wanted: Wanted, paying: Paying) -> bool:
    """Whether what was asked for is what would be asked for at this moment; no other page is to be filled in."""
    terms = capture.terms
    if capture.state is CaptureState.EXPIRED or terms is None or wanted.terms is None:
        return False
    if (capture.amount_minor, capture.currency) != (paying.quote.amount_minor, paying.quote.currency):
        return False
    if capture.channel is CaptureChannel.PHONE and (paying.call is None or paying.typed):
        return False
    if capture.replaces_card_of not in {None, wanted.replaces_card_of}:
        return False
    in_time = terms.good_until is None or paying.now < terms.good_until
    return in_time and terms == replace(wanted.terms, good_until=terms.good_until)
