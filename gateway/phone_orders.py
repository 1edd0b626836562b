"""Orders by telephone: whether the card is keyed in during the call instead of typed on the card page.

Three facts decide, and what an agent writes is not enough for any: the brand takes telephone orders, as its operator
says; the conversation was opened as one by voice; and a carrier's signature that names this very person as the caller
attaches to it and still counts (gateway/caller_ids.py). That the call is not over nobody here knows: a conversation
that was closed pays for nothing, and the signature counts for four hours. Whoever is on a call that no carrier vouches
for gets a link to the page, as everybody does.

After a card that was refused, or a keyed one that never came, the next one is asked for on the page: a bank that does
not accept a telephone order wants 3-D Secure, and who cannot key a card in can still type it. A brand's policy may say
more: every decision about a purchase is told whether its card is keyed in (`keyed_by_phone`).
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.assurance import on_the_phone
from gateway.charging import note
from gateway.contract import Channel
from gateway.facts import ConversationFacts
from gateway.record.entries import Record
from gateway.store import Purchase
from vault.contract import CaptureChannel


def call_of(facts: ConversationFacts, now: datetime) -> str | None:
    """The evidence of the call in which this person may key a card in; None where there is no such call."""
    if not facts.takes_phone_orders or facts.channel != Channel.VOICE:
        return None
    return on_the_phone(facts.evidence, facts.subject_id, now)


def is_keyed_in(purchase: Purchase) -> bool:
    """Whether the card this purchase waits for is keyed in on the telephone."""
    return purchase.capture is not None and purchase.capture.channel is CaptureChannel.PHONE


async def note_call(
    record: Record, tx: AsyncConnection, purchase: Purchase, earlier: Purchase | None, call: str | None, now: datetime
) -> None:
    """Into the record: by which evidence a card may be keyed in. Once for each capture."""
    if is_keyed_in(purchase) and (earlier is None or earlier.capture_id != purchase.capture_id):
        await note(record, tx, purchase, "card_by_phone", now, reason=call)
