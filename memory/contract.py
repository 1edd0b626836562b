"""What the memory's API takes and answers.

Every call carries a grant (header `Undercroft-Grant`) whose `params_sha256` is the hash of the exact body, and whose
`tenant` and `sub` agree with the body's. The tier a caller may see is decided by the gateway and arrives as
`tier_max`, inside the hashed body.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

IDENTIFIER_PATTERN = r"^[a-z]{3}_(?![a-z0-9_]*[0-9](?:_*[0-9]){12})[a-z0-9_]+\Z"
"""It is kept in clear: thirteen digits, as many as the shortest card number has, do not stand in it."""
Identifier = Annotated[str, msgspec.Meta(min_length=5, max_length=64, pattern=IDENTIFIER_PATTERN)]
MemoryText = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
"""2,000 characters: a fact or a wish; longer text is a document and belongs elsewhere."""
Query = Annotated[str, msgspec.Meta(max_length=500)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
RECALL_LIMIT_MAX = 50
PREPARATION_TTL_SECONDS = 15
"""A turn of speech and the pause after it; what was prepared and not asked for by then is forgotten."""


class Action(StrEnum):
    """The purpose of a grant for the memory; one grant, one action."""

    REMEMBER = "remember"
    RECALL = "recall"
    FORGET = "forget"
    PREPARE = "prepare"
    RELEASE = "release"


class Tier(IntEnum):
    """How sensitive a memory is. FORBIDDEN is refused at the door and never stored."""

    PUBLIC = 0
    LOW = 1
    PERSONAL = 2
    SENSITIVE = 3
    RESTRICTED = 4
    FORBIDDEN = 5


class Source(StrEnum):
    """Who said it."""

    SUBJECT = "subject"
    AGENT = "agent"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who said it, where, and how sure we are. Written by the gateway from what it knows, not by a model."""

    source: Source
    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    conversation_id: Identifier
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    confidence_percent: Percent


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every order to the memory says about whose it is."""

    tenant_id: Identifier
    brand_id: Identifier
    subject_id: Identifier


class RememberOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/memories`. Repeating it with the same id and text answers the stored memory; another text is a 409.

    The tier is computed by the memory from the text; `tier_min` can only raise it.
    """

    memory_id: Identifier
    text: MemoryText
    tier_min: Tier = Tier.PUBLIC
    provenance: Provenance


class MemoryView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    memory_id: str
    text: str
    tier: Tier
    provenance: Provenance
    remembered_at: datetime


class RememberView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    memory_id: str
    tier: Tier
    remembered_at: datetime


class RecallOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/recalls`: the best matches at or under `tier_max`; an empty query means the newest."""

    query: Query
    tier_max: Tier
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] = 10


class RecallView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was withheld is not counted and not hinted at: the answer is the same whether it exists or not."""

    memories: list[MemoryView]


class PrepareOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/preparations`: open what a recall at `tier_max` would open, and hold it for PREPARATION_TTL_SECONDS.

    Held in the process's memory only, one for a subject at a brand; a newer one takes its place. `query` is what has
    been said so far: should the final query come to the same words, the ranking is done as well.
    """

    preparation_id: Identifier
    query: Query
    tier_max: Tier


class PreparedView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same whether or not there is anything."""

    accepted: bool = True


class ReleaseOrder(RecallOrder, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/releases`: a recall that may use what was prepared; answers as the recall would, only sooner.

    A preparation is used once. One that is missing, past its time, made for less than `tier_max` or no longer what is
    stored is thrown away, and the recall is done in full.
    """

    preparation_id: Identifier


class ForgetOrder(Order, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/erasures`: one memory, or, with no id, everything: the subject's key is shredded."""

    memory_id: Identifier | None = None


class ForgetView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Says that nothing of it remains, not what there was: an unknown id gets the same answer."""

    forgotten: bool = True
