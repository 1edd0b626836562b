"""The official SDK's low-level server for one brand, wrapped strictly.

The SDK speaks both eras of the protocol. Arguments, refusals, links and single use are ours, because its defaults are
not safe for money (facts/mcp.md lists what was reproduced).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import mcp_types as types
import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError
from mcp_types.version import LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from sqlalchemy.exc import SQLAlchemyError

from gateway.contract import LanguageTag
from infra.chassis import logs
from infra.chassis.engine import DatabaseUnreachable
from mcp_server.brands.pack import BrandPack
from mcp_server.carried import Carried, caller_of, shows_links
from mcp_server.contract import View
from mcp_server.errors import ToolRefused, Unavailable
from mcp_server.step_up import challenge_in
from mcp_server.tools.tool import Call, Links, Pause, PauseSpent, Tool

VERSION: Final = "1"
LIST_TTL_MS: Final = 300_000
"""Tools change with a release; five minutes is soon enough to notice."""
CARD_PAGE: Final = "card_page"
IN_BAND_CHALLENGE: Final = "mcp/www_authenticate"
"""Where hosts look for a challenge that a tool's result carries, one `WWW-Authenticate` value an item."""
LOCALE: Final = "openai/locale"
"""Where ChatGPT says it with every call (Apps SDK reference, "_meta fields the client provides"), in BCP 47."""
log = logs.get_logger()

Context = ServerRequestContext[Any, Any]


class BrandServer:
    """What the SDK calls. One brand, its pack, the same tools for all brands."""

    def __init__(self, pack: BrandPack, tools: Sequence[Tool[Any]], metadata_url: str) -> None:
        """`metadata_url`: of the endpoint's RFC 9728 document."""
        self._pack = pack
        self._metadata_url = metadata_url
        self._tools: Mapping[str, Tool[Any]] = {tool.name: tool for tool in tools}
        self._listed = [tool.listed() for tool in tools]

    def sdk_server(self, carried: Carried, endpoint: str) -> Server[Any]:
        brand = self._pack.brand
        server: Server[Any] = Server(
            brand.slug,
            version=VERSION,
            title=brand.name,
            instructions=_instructions(self._pack),
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )
        server.middleware.append(carried.boundary(endpoint))
        return server

    async def list_tools(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._listed, ttl_ms=LIST_TTL_MS, cache_scope="private")

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, "There is no tool of that name here; tools/list names them.")
        call = self._call(context, params)
        started = time.perf_counter()
        code = "internal_error"
        try:
            answer = await tool.call(call, params.arguments or {})
            code = "paused" if isinstance(answer, Pause) else "ok"
        except ToolRefused as refusal:
            code = refusal.code
            return _refused(refusal)
        except (DatabaseUnreachable, SQLAlchemyError, OSError) as error:
            log.error(  # noqa: TRY400 - our log keeps no tracebacks: they carry values
                "store_failed", error=type(error).__name__, tool=tool.name
            )
            code = Unavailable.code
            return _refused(Unavailable())
        except PauseSpent:
            code = "request_state_spent"
            reason = {"reason": "invalid_request_state"}
            raise MCPError(types.INVALID_PARAMS, "Invalid or expired requestState", reason) from None
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000)
            log.info("tool_called", tool=tool.name, code=code, milliseconds=milliseconds, brand_id=call.owner.brand_id)
        if isinstance(answer, Pause):
            return _paused(answer, call.links)
        return _answered(answer, challenge_in(answer, metadata_url=self._metadata_url, scopes=tool.scopes))

    def _call(self, context: Context, params: types.CallToolRequestParams) -> Call:
        responses = params.input_responses or {}
        response = responses.get(CARD_PAGE)
        links = _links(context)
        return Call(
            caller=caller_of(context),
            pack=self._pack,
            links=links,
            paused_call_id=params.request_state if links is Links.AS_INPUT else None,
            turned_away=isinstance(response, types.ElicitResult) and response.action != "accept",
            language=_language(params.meta),
        )


def _links(context: Context) -> Links:
    if not shows_links(context):
        return Links.AS_TEXT
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return Links.AS_INPUT
    return Links.AS_ERROR if context.protocol_version == LATEST_HANDSHAKE_VERSION else Links.AS_TEXT


def _language(meta: Mapping[str, Any] | None) -> str | None:
    """What the host says of its person's language, where it says it in a form of one; anything else is not said."""
    try:
        return msgspec.convert((meta or {}).get(LOCALE), LanguageTag)
    except msgspec.ValidationError:
        return None


def _answered(view: View, challenge: str | None) -> types.CallToolResult:
    """With a challenge it is an error to the host, which then lets the person sign in; the model reads the same."""
    text = msgspec.json.encode(view).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=msgspec.to_builtins(view),
        is_error=challenge is not None,
        _meta=None if challenge is None else {IN_BAND_CHALLENGE: [challenge]},
    )


def _refused(refusal: ToolRefused) -> types.CallToolResult:
    """No structured content: it would have to fit the tool's output schema."""
    text = f"{refusal.sentence} ({refusal.code})"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _paused(pause: Pause, links: Links) -> types.InputRequiredResult:
    """Raises -32042 for the era in which a pause is an error."""
    if links is Links.AS_ERROR:
        link = types.ElicitRequestURLParams(message=pause.message, url=pause.url, elicitation_id=pause.elicitation_id)
        raise UrlElicitationRequiredError([link], pause.message)
    link = types.ElicitRequestURLParams(message=pause.message, url=pause.url)
    return types.InputRequiredResult(
        input_requests={CARD_PAGE: types.ElicitRequest(params=link)}, request_state=pause.paused_call_id
    )


def _instructions(pack: BrandPack) -> str:
    brand = pack.brand
    return (
        f"You help with {brand.name}: {brand.tagline} {brand.voice.tone} Prices are in {brand.currency} minor units. "
        "Make a checkout, show the person its total, and pay only when they agree. Never ask for card details. "
        f"For anything else: {brand.support.email}."
    )
