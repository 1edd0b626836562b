"""The record's API, and the lines of an exported record."""

from datetime import datetime

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


class RecordInclusionPath(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/inclusion`: RFC 9162 section 2.1.3, in the tree as it was at `tree_size`."""

    tree_index: int
    tree_size: int
    path_sha256: list[str]


class RecordConsistency(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/record/consistency`: RFC 9162 section 2.1.4. The roots are those of two checkpoints you hold."""

    from_size: int
    to_size: int
    path_sha256: list[str]


class CosignatureRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/record/cosignatures`: a checkpoint of this record with cosignatures of configured witnesses below."""

    note: str


class CosignatureView(msgspec.Struct, frozen=True, kw_only=True):
    tree_size: int
    witnesses: list[str]
    """Whose cosignature of this checkpoint the request held; each is kept."""


class ExportHead(msgspec.Struct, frozen=True, kw_only=True, tag="head"):
    """First line of `GET /v1/record/export`. The file holds the places below `tree_size`."""

    version: int
    origin: str
    verifier_key: str
    """Trust it from a place of your own, not from this file."""
    tree_size: int
    exported_at: datetime


class ExportBatch(msgspec.Struct, frozen=True, kw_only=True, tag="batch"):
    """Places `first` up to the size that `note` signs; their entries follow, a line each.

    The leaf hashes added to the right edge before them lead to the signed root, which proves edge and hashes at once:
    so each line that follows can be judged by itself.
    """

    first: int
    left_edge_sha256: list[str]
    """Roots of the complete subtrees that the `first` leaves before split into, largest first."""
    leaves_sha256: list[str]
    note: str
    """With the cosignatures there are."""


class ExportEntry(msgspec.Struct, frozen=True, kw_only=True, tag="entry"):
    """`canonical` in UTF-8 is what the leaf hashes: SHA-256 of a zero byte and it."""

    place: int
    canonical: str
