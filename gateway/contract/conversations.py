"""Dialogues, and how a person shows who they are."""

from datetime import datetime
from typing import Annotated

import msgspec

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


class ChallengeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/conversations/{conversation_id}/challenges`.

    `contact_point` is where to, as the person named it, when it is another one than the conversation began with. It is
    a claim like that one: a code to somebody else's contact point shows who somebody else is. Agents only.
    """

    method: ChallengeMethod
    contact_point: ContactPoint | None = None


class ChallengeView(msgspec.Struct, frozen=True, kw_only=True):
    challenge_id: str
    method: ChallengeMethod
    sent_to: str
    """Masked as the caller named it, e.g. `a•••@example.com`."""
    expires_at: datetime
    tries_left: int


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/challenges/{challenge_id}/answers`."""

    code: Code
