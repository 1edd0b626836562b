"""What every tool is made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

import mcp_types as types

from mcp_server.arguments import schema_of, take
from mcp_server.brands.pack import BrandPack
from mcp_server.contract import Arguments, View
from mcp_server.identity import Caller
from mcp_server.store import Owner

A = TypeVar("A", bound=Arguments)


class Links(Enum):
    """How this client can be handed a page for its person."""

    AS_INPUT = "as_input"
    """2026-07-28: the call pauses with a URL elicitation and is sent again."""
    AS_ERROR = "as_error"
    """2025-11-25: error -32042 carries the URL elicitation."""
    AS_TEXT = "as_text"
    """The client declared neither: the link stands in the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool.

    `paused_call_id` comes back from an earlier pause of this very call, unsealed but not yet used up; `turned_away`
    says that the person declined or closed what was shown. `language` is the one their client is set to, if it says.
    """

    caller: Caller
    pack: BrandPack
    links: Links = Links.AS_TEXT
    paused_call_id: str | None = None
    turned_away: bool = False
    language: str | None = None

    @property
    def owner(self) -> Owner:
        return Owner(tenant_id=self.caller.tenant_id, brand_id=self.caller.brand_id, subject_id=self.caller.subject_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """In place of a view: the person must open `url` first. `elicitation_id` names this link, unguessably."""

    url: str
    message: str
    elicitation_id: str
    paused_call_id: str


class PauseSpent(Exception):
    """The pause was resumed before, ran out, or belongs to another checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[A]):
    """`scopes` are all that it needs. The three hints are always given: some hosts take a missing one amiss."""

    name: str
    title: str
    description: str
    scopes: tuple[str, ...]
    arguments: type[A]
    view: type[View]
    run: Callable[[Call, A], Awaitable[View | Pause]]
    reads_only: bool
    destroys: bool
    repeatable: bool

    async def call(self, call: Call, raw: dict[str, Any]) -> View | Pause:
        """Raises ToolRefused."""
        return await self.run(call, take(self.arguments, raw))

    def listed(self) -> types.Tool:
        return types.Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schema_of(self.arguments),
            output_schema=schema_of(self.view),
            annotations=types.ToolAnnotations(
                title=self.title,
                read_only_hint=self.reads_only,
                destructive_hint=self.destroys,
                idempotent_hint=self.repeatable,
                open_world_hint=False,
            ),
            _meta={"securitySchemes": [{"type": "oauth2", "scopes": list(self.scopes)}]},
        )
