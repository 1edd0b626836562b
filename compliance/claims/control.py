"""What a control says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`claim` and `not_claimed` are whole sentences that a security officer may quote."""

    id: str
    title: str
    sources: tuple[str, ...]
    claim: str
    not_claimed: str
