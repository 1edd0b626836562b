"""The door of one brand: an ASGI handler for exactly one path, in front of the SDK.

In this order: Host and Origin; no bearer in the address; a bearer for this very endpoint; POST; one JSON-RPC message,
strictly; the scopes of the tool. Only then does the SDK see the request.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import mcp_types as types
from litestar.types import Receive, Scope, Send
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request

from infra.chassis.strict_json import NotStrictJson, decode
from mcp_server.brands.pack import BrandPack
from mcp_server.carried import CALLER, URL_ELICITATION, Carried
from mcp_server.errors import BearerInUrl, BearerRefused, MethodNotAllowed, ScopesMissing
from mcp_server.identity import BearerCheck, BearerNotValid, Caller

BODY_BYTES_MAX = 64 * 1024
"""The largest tool call of ours is a checkout of twenty lines: 3 KiB. The rest is room for a client's `_meta`."""
METHOD_LENGTH_MAX = 100
ID_LENGTH_MAX = 200
MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})
SESSION_HEADER = b"mcp-session-id"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a brand's endpoint is, from `public_url` and the brand's slug. `url` is also every bearer's audience."""

    public_url: str
    slug: str

    @property
    def path(self) -> str:
        return f"/brands/{self.slug}/mcp"

    @property
    def url(self) -> str:
        return f"{self.public_url}{self.path}"

    @property
    def metadata_path(self) -> str:
        """RFC 9728 section 3.1: the well-known name goes before the resource's path."""
        return f"/.well-known/oauth-protected-resource{self.path}"

    @property
    def metadata_url(self) -> str:
        return f"{self.public_url}{self.metadata_path}"


def transport_security(public_url: str) -> TransportSecuritySettings:
    """Only our own name as Host, and only our own origin, if a browser names one: no DNS rebinding."""
    parts = urlsplit(public_url)
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[parts.netloc],
        allowed_origins=[f"{parts.scheme}://{parts.netloc}"],
    )


class MessageRefused(Exception):
    """The body is not one JSON-RPC request or notification; `code` is JSON-RPC's."""

    def __init__(self, code: int, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(sentence)


class Endpoint:
    def __init__(
        self,
        *,
        pack: BrandPack,
        address: Address,
        sessions: StreamableHTTPSessionManager,
        bearers: BearerCheck,
        carried: Carried,
        scopes_of_tools: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._pack = pack
        self._address = address
        self._sessions = sessions
        self._bearers = bearers
        self._carried = carried
        self._scopes_of_tools = dict(scopes_of_tools)
        self._all_scopes = sorted({scope for scopes in scopes_of_tools.values() for scope in scopes})
        self._security = TransportSecurityMiddleware(transport_security(address.public_url))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem for every refusal that has an HTTP status of its own."""
        request = Request(cast("Any", scope), cast("Any", receive))
        foreign = await self._security.validate_request(request)
        if foreign is not None:
            await foreign(cast("Any", scope), cast("Any", receive), cast("Any", send))
            return
        caller = await self._authenticate(request)
        if request.method != "POST":
            raise MethodNotAllowed
        body = await request.body()
        try:
            message = read_message(body)
        except MessageRefused as refusal:
            await _send_refusal(refusal, send)
            return
        self._require_scopes(caller, message)
        scope[CALLER] = caller  # type: ignore[literal-required]  # the scope is a copy, and ASGI allows own keys
        scope[URL_ELICITATION] = self._shows_links(request, message, caller)  # type: ignore[literal-required]  # as above
        forward = self._with_handshake(send, message, caller) if message["method"] == "initialize" else send
        await self._sessions.handle_request(
            cast("Any", scope), cast("Any", _replay(body, receive)), cast("Any", forward)
        )

    async def _authenticate(self, request: Request) -> Caller:
        if any(name == "access_token" for name, _ in parse_qsl(request.url.query, keep_blank_values=True)):
            raise BearerInUrl
        headers = request.headers.getlist("authorization")
        scheme, _, compact = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not compact:
            raise self._bearer_refused(presented=bool(headers))
        brand = self._pack.brand
        try:
            return await self._bearers.caller(
                compact, audience=self._address.url, tenant_id=brand.tenant_id, brand_id=brand.brand_id
            )
        except BearerNotValid:
            raise self._bearer_refused(presented=True) from None

    def _bearer_refused(self, *, presented: bool) -> BearerRefused:
        return BearerRefused(metadata_url=self._address.metadata_url, scopes=self._all_scopes, presented=presented)

    def _require_scopes(self, caller: Caller, message: Mapping[str, Any]) -> None:
        if message["method"] != "tools/call":
            return
        name = message.get("params", {}).get("name")
        needed = self._scopes_of_tools.get(name, ()) if isinstance(name, str) else ()
        if not caller.scopes.issuperset(needed):
            raise ScopesMissing(metadata_url=self._address.metadata_url, scopes=needed)

    def _shows_links(self, request: Request, message: Mapping[str, Any], caller: Caller) -> bool:
        """Whether the client declared URL elicitation: on this call (2026), or when it initialized (2025)."""
        version = request.headers.get("mcp-protocol-version")
        params = message.get("params", {})
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            meta = params.get("_meta")
            return declares_links(meta.get(types.CLIENT_CAPABILITIES_META_KEY) if isinstance(meta, dict) else None)
        if message["method"] == "initialize":
            return declares_links(params.get("capabilities"))
        sealed = request.headers.get("mcp-session-id")
        if sealed is None:
            return False
        return self._carried.open_handshake(sealed, endpoint=self._address.url, caller=caller)

    def _with_handshake(self, send: Send, message: Mapping[str, Any], caller: Caller) -> Send:
        """Add the sealed declaration as `Mcp-Session-Id` to the answer of `initialize`."""
        declared = declares_links(message.get("params", {}).get("capabilities"))
        sealed = self._carried.seal_handshake(url_elicitation=declared, endpoint=self._address.url, caller=caller)

        async def send_with(event: Any) -> None:
            if event["type"] == "http.response.start" and event["status"] == 200:  # noqa: PLR2004 - HTTP OK
                event["headers"] = [*event["headers"], (SESSION_HEADER, sealed.encode())]
            await send(event)

        return send_with


def declares_links(capabilities: Any) -> bool:
    """An empty `elicitation` means forms only; links need `url`."""
    elicitation = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    return isinstance(elicitation, dict) and isinstance(elicitation.get("url"), dict)


def read_message(body: bytes) -> dict[str, Any]:
    """One JSON-RPC request or notification, `params` an object if present.

    Raises MessageRefused. Checked before the SDK does, whose own answers repeat what was sent.
    """
    try:
        message = decode(body, floats=True)
    except NotStrictJson as error:
        raise MessageRefused(types.PARSE_ERROR, f"{str(error).capitalize()}.") from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not MEMBERS.issuperset(message):
        raise MessageRefused(types.INVALID_REQUEST, "The body must be a single JSON-RPC request or notification.")
    method = message.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_LENGTH_MAX:
        raise MessageRefused(types.INVALID_REQUEST, "The method must be a short string.")
    if "id" in message and not _is_id(message["id"]):
        raise MessageRefused(types.INVALID_REQUEST, "The id must be a whole number or a short string.")
    if not isinstance(message.get("params", {}), dict):
        raise MessageRefused(types.INVALID_REQUEST, "The params must be an object.")
    return message


def _is_id(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and len(value) <= ID_LENGTH_MAX)


async def _send_refusal(refusal: MessageRefused, send: Send) -> None:
    error = {"code": refusal.code, "message": refusal.sentence}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever the connection does next: the SDK watches for the client going away."""
    sent = False

    async def again() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
