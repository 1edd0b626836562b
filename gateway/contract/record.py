"""The record's API."""

import msgspec


class RecordCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/checkpoint`: the newest signed tree head, as a C2SP signed note."""

    tree_size: int
    root_sha256: str
    note: str
    verifier_key: str
    """`name+key id+key` as verifiers of notes take it. Trust it from a place of your own, not from beside the note."""


class RecordInclusion(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9162 section 2.1.3: the hashes beside the way from leaf to root, lowest first."""

    tree_index: int
    path_sha256: list[str]
    checkpoint: RecordCheckpoint


class RecordEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/entries/{decision_id}`. Its leaf is SHA-256 of a zero byte and `canonical` in UTF-8."""

    decision_id: str
    canonical: str
    leaf_sha256: str
    inclusion: RecordInclusion | None
    """None in the second before it is sealed."""


class RecordVerification(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/record/verifications`: everything recomputed from the stored entries."""

    intact: bool
    tree_size: int
    unsealed: int
    findings: list[str]
