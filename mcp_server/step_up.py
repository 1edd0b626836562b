"""The in-band challenge: a tool's answer that a new sign-in of the person would turn says so to the host (RFC 9470)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gateway.contract import LevelName, Reason, RemedyKind, step_up_challenge
from mcp_server.contract import RemedyView, View


@runtime_checkable
class Refusable(Protocol):
    """An answer that may be a no; its reasons are empty when it is not."""

    @property
    def reasons(self) -> list[Reason]: ...

    @property
    def remedies(self) -> list[RemedyView]: ...


def challenge_in(view: View, *, metadata_url: str, scopes: Sequence[str]) -> str | None:
    """A `WWW-Authenticate` value, or None for an answer that is no deny, or that no sign-in would turn.

    Confirming one request is no sign-in: its remedy says where that is done.
    """
    if not isinstance(view, Refusable) or not view.reasons:
        return None
    levels = [LevelName(remedy.level) for remedy in view.remedies if remedy.kind == RemedyKind.STEP_UP and remedy.level]
    levels = [level for level in levels if level is not LevelName.CONFIRMED]
    challenge = step_up_challenge(levels)
    if challenge is None:
        return None
    return f'Bearer {challenge}, resource_metadata="{metadata_url}", scope="{" ".join(scopes)}"'
