"""What a token may be used for, and how that stands in the rows.

Terms are ordered with the capture and stand in clear beside the card, where every charge asks them; the card's number
and details are sealed with them as associated data. So whoever can write to the database can make a token useless by
changing its terms, and cannot widen them: the number then does not open, and nothing is charged. Brand and subject are
in there too, whatever else was ordered, and that a card was keyed in on the telephone. What has been used is told by
the charges, which no role of ours can unsay.
"""

import msgspec

from infra.chassis.canonical import canonical_json
from vault.contract import CaptureChannel, CaptureOrder, TokenTerms
from vault.envelope import SealBroken
from vault.tables import CaptureRow, CardRow


class SealedTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What stands beside a card, as RFC 8785 text."""

    brand_id: str
    subject_id: str
    terms: TokenTerms | None = None
    channel: CaptureChannel = CaptureChannel.PAGE


def ordered(order: CaptureOrder) -> str | None:
    """As the capture's row keeps them; the same terms are the same text. None when none were ordered."""
    return None if order.terms is None else canonical_json(order.terms).decode()


def sealed_terms(capture: CaptureRow) -> str:
    """What the card of a capture is sealed with."""
    terms = None if capture.terms is None else msgspec.json.decode(capture.terms, type=TokenTerms)
    sealed = SealedTerms(
        brand_id=capture.brand_id,
        subject_id=capture.subject_id,
        terms=terms,
        channel=CaptureChannel(capture.channel),
    )
    return as_text(sealed)


def as_text(sealed: SealedTerms) -> str:
    return canonical_json(sealed).decode()


def terms_of(card: CardRow) -> TokenTerms:
    """Believed for a refusal only: that they are the ones ordered is shown when the number opens with them.

    Raises SealBroken when they cannot be the ones.
    """
    sealed = _sealed_beside(card)
    return TokenTerms() if sealed is None else sealed.terms or TokenTerms()


def is_order_by_phone(card: CardRow) -> bool:
    """Whether a charge of this card that begins now is the order its holder gave by telephone.

    That is the first one, for which the card was keyed in. A later one is of a card on file, as any other's, and a card
    that took the keyed one's place was typed on the page. Terms that cannot be right say nothing; such a card is not
    charged at all.
    """
    try:
        sealed = _sealed_beside(card)
    except SealBroken:
        return False
    is_first = card.generation == 1 and card.on_file_since is None
    return is_first and sealed is not None and sealed.channel is CaptureChannel.PHONE


def _sealed_beside(card: CardRow) -> SealedTerms | None:
    if card.terms is None:  # sealed before there were terms
        return None
    try:
        sealed = msgspec.json.decode(card.terms, type=SealedTerms)
    except msgspec.MsgspecError:
        raise SealBroken from None
    if (sealed.brand_id, sealed.subject_id) != (card.brand_id, card.subject_id):
        raise SealBroken
    return sealed
