"""Acts that are one statement: a function of the database, which names its tenant first (its migrations from 0007 on).

One round trip and one commit each. For what is asked on every request; everything else is a transaction (`store.py`).
No parameter is ever a card number or a verification code.
"""

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Any, Final

import msgspec

from infra.chassis.engine import StatementRefused
from infra.chassis.grants import Grant, GrantReplayed
from infra.chassis.ids import new_id
from vault.outbox.events import Kind
from vault.outbox.telling import card_event
from vault.store import Store
from vault.tables import CaptureRow, CardRow

UNIQUE_VIOLATION: Final = "23505"
STORED: Final = (
    "token_id",
    "fingerprint",
    "fingerprint_version",
    "wrapped_key",
    "sealed_number",
    "sealed_details",
    "sealed_fingerprint",
    "good_through",
    "card_brand",
    "last4",
    "terms",
    "created_at",
    "generation",
)
"""What a new card's row is made of; tenant, brand and subject are its capture's."""


class Taken(StrEnum):
    """What became of a card that was handed in."""

    TAKEN = "taken"
    COMPLETED = "completed"
    """The capture has a card already; this one was not kept."""
    GONE = "gone"
    """The capture takes no card any more, or not from this browser."""
    OVERTAKEN = "overtaken"
    """The card that was to be replaced was replaced by another one meanwhile, or shredded; this one was not kept."""


async def redeem(store: Store, grant: Grant) -> None:
    """Use the grant and its proof up, durably, whatever is done with it. Raises GrantReplayed.

    As `infra.chassis.grants.redeem`, in a transaction of its own.
    """
    given = (grant.tenant_id, grant.issuer, grant.jti, grant.sender, grant.proof_jti, grant.expires_at)
    try:
        await store.at_once("SELECT redeem_grant($1, $2, $3, $4, $5, $6)", *given)
    except StatementRefused as refused:
        if refused.sqlstate == UNIQUE_VIOLATION:
            raise GrantReplayed from None
        raise


async def enter_capture(store: Store, grant: Grant, capture_id: str, browser_hash: bytes) -> bool:
    """Make a browser the capture's. False when there is none, or not of the grant's brand and subject."""
    given = (grant.tenant_id, capture_id, grant.brand_id, grant.subject_id, browser_hash)
    return bool((await store.at_once("SELECT enter_capture($1, $2, $3, $4, $5)", *given))[0][0])


async def open_capture(store: Store, tenant_id: str, capture_id: str) -> CaptureRow | None:
    """A capture as it stands, without the card it may have."""
    found = await store.at_once("SELECT * FROM capture_of($1, $2)", tenant_id, capture_id)
    return CaptureRow(**found[0], card_brand=None, last4=None) if found else None


async def stored_card(store: Store, tenant_id: str, token_id: str) -> CardRow | None:
    """As `Tx.card`, where nothing else is asked in the same transaction."""
    found = await store.at_once("SELECT (f.card).*, f.key_destroyed_at FROM card_of($1, $2) f", tenant_id, token_id)
    return CardRow(**found[0]) if found else None


async def take_card(
    store: Store, capture: CaptureRow, card: CardRow, fingerprints: Sequence[bytes], attempts_max: int
) -> Taken:
    """Store a card, tell of it and complete its capture, if this still is the capture's browser; counts the attempt.

    Where the capture replaces a card, this one takes the place of that one, whose shredding is ordered with it.
    `fingerprints`: all that the same card may have been stored with; its first token is noted with this one. Of two
    stored at the same moment neither is earlier.
    Raises StatementRefused, also when the key the card is sealed under was retired meanwhile; nothing is then kept.
    """
    new = capture.replaces_card_of is None
    kind = Kind.CARD_STORED if new else Kind.CARD_UPDATED
    answer = await store.at_once(
        f"SELECT {'take_card' if new else 'replace_card'}($1, $2, $3, $4, $5, $6, $7)",
        capture.tenant_id,
        capture.capture_id,
        capture.browser_hash,
        attempts_max,
        card.created_at,
        _as_json(card, fingerprints),
        msgspec.json.encode(card_event(kind, card, card.created_at)).decode(),
    )
    return Taken(answer[0][0])


async def update_card(store: Store, card: CardRow, fingerprints: Sequence[bytes], month: date) -> Taken:
    """Put a card that the updater told of in the place of the one before it, which stays on file, and end its inquiry.

    TAKEN or OVERTAKEN. Raises as `take_card`.
    """
    answer = await store.at_once(
        "SELECT update_card($1, $2, $3, $4, $5, $6, $7)",
        card.tenant_id,
        card.brand_id,
        card.subject_id,
        month,
        card.created_at,
        _as_json(card, fingerprints),
        msgspec.json.encode(card_event(Kind.CARD_UPDATED, card, card.created_at)).decode(),
    )
    return Taken(answer[0][0])


def _as_json(card: CardRow, fingerprints: Sequence[bytes]) -> str:
    return msgspec.json.encode(columns(card, fingerprints)).decode()


def columns(card: CardRow, fingerprints: Sequence[bytes]) -> dict[str, Any]:
    """The row's columns by name, bytes as PostgreSQL writes them; besides them `known_as`.

    And an id for the shredding of the card whose place this one takes.
    """
    values = ((name, getattr(card, name)) for name in STORED)
    plain = {name: _bytea(value) if isinstance(value, bytes) else value for name, value in values}
    besides: dict[str, Any] = {"known_as": [_bytea(one) for one in fingerprints]}
    if card.generation > 1:
        besides["shredding_id"] = new_id("shd")
    return {**plain, **besides}


def _bytea(value: bytes) -> str:
    return f"\\x{value.hex()}"
