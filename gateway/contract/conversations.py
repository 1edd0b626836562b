"""Dialogues, and how a person shows who they are."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.contract.factors import ChallengeState, Confirm
from gateway.contract.values import ChallengeMethod, Channel, Code, ContactKind, Identifier, LevelName


class ContactPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    kind: ContactKind
    value: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


class ConversationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations` by an agent. The contact point is a claim: whom to challenge. It proves nothing."""

    brand_id: Identifier
    channel: Channel
    contact_point: ContactPoint | None = None


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """Says nothing about whether the claimed contact point is known."""

    conversation_id: str
    assurance_level: LevelName
    level_expires_at: datetime | None = None


class CallerIdRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations/{conversation_id}/caller-id` by an agent: SIP's `Identity` header as it came.

    Or the PASSporT in it alone, as carriers' APIs hand it on. The conversation is by voice and began with the number.
    """

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class ChallengeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations/{conversation_id}/challenges`.

    `contact_point` is where to, as the person named it, when it is another one than the conversation began with. It is
    a claim like that one: a code to somebody else's contact point shows who somebody else is. Agents only.
    `confirm`: this very request, with a passkey.
    """

    method: ChallengeMethod
    contact_point: ContactPoint | None = None
    confirm: Confirm | None = None


class ChallengeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a code: `sent_to`, `tries_left`. Of a challenge that is answered elsewhere: the rest; read it again by id."""

    challenge_id: str
    method: ChallengeMethod
    expires_at: datetime
    sent_to: str | None = None
    """Masked as the caller named it, e.g. `a•••@example.com`."""
    tries_left: int | None = None
    state: ChallengeState | None = None
    url: str | None = None
    """For the person's own browser; given once. It proves nothing by itself."""
    match_code: str | None = None
    """Tell the person: the page or the phone must show the same."""
    poll_after_seconds: int | None = None


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/challenges/{challenge_id}/answers`."""

    code: Code
