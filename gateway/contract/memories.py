"""Remember, recall, forget."""

from datetime import datetime
from typing import Annotated

import msgspec

from gateway.contract.decisions import DecisionView, Receipt
from gateway.contract.values import ChatText, Identifier, LevelName


class RememberRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/memories`. `said_by_subject` is the caller's word; provenance keeps it so, with less confidence."""

    text: ChatText
    said_by_subject: bool = False
    conversation_id: Identifier | None = None


class RememberedView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    decision: DecisionView
    memory_id: str | None = None
    tier: int | None = None


class RecallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/recalls`."""

    query: Annotated[str, msgspec.Meta(max_length=500)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    conversation_id: Identifier | None = None
    preparation_id: Identifier | None = None
    """Of a preparation in this conversation. The answer is the same without it, or with one that is gone or foreign."""


class PreparationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/recalls/preparations`: a recall is about to be asked for. `query` is what was understood so far."""

    query: Annotated[str, msgspec.Meta(max_length=500)] = ""
    conversation_id: Identifier | None = None


class PreparationView(msgspec.Struct, frozen=True, kw_only=True):
    """The same, and as soon, whether or not the recall would be allowed and whether or not there is anything."""

    preparation_id: str
    expires_at: datetime
    receipt: Receipt


class RecalledMemory(msgspec.Struct, frozen=True, kw_only=True):
    memory_id: str
    text: str
    tier: int
    source: str
    channel: str
    confidence_percent: int
    remembered_at: datetime


class RecallView(msgspec.Struct, frozen=True, kw_only=True):
    """`remedies` name the levels that would show higher tiers, whether or not there is anything there."""

    assurance_level: LevelName
    tier_max: int
    memories: list[RecalledMemory]
    decision: DecisionView


class ForgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/erasures`: one memory, or everything the brand's tenant remembers of this subject."""

    memory_id: Identifier | None = None
    conversation_id: Identifier | None = None


class ForgetView(msgspec.Struct, frozen=True, kw_only=True):
    decision: DecisionView
    forgotten: bool
