"""What a client carries for us between two of its calls: sealed, because the client may be anyone's.

Two things: the pause of a call that waits for the person (the protocol's `requestState`, sealed by the SDK under the
keys made here, made single-use by `paused_calls`), and what a 2025 client declared when it initialized. That era has no
capabilities on later calls, and we keep no sessions, so its `Mcp-Session-Id` is the sealed declaration itself.
"""

from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mcp.server.context import ServerRequestContext
from mcp.server.request_state import (
    AESGCMRequestStateCodec,
    InvalidRequestState,
    RequestStateBoundary,
    RequestStateSecurity,
)

from infra.chassis.secret import Secret
from mcp_server.errors import HandshakeUnknown
from mcp_server.identity import Caller

PAUSE_SECONDS = 15 * 60
"""As long as the gateway keeps the money reserved for a card that is still to come."""
SEALED_LENGTH_MAX = 2_048
CALLER = "undercroft.caller"
URL_ELICITATION = "undercroft.url_elicitation"
"""Where the endpoint puts, in the ASGI scope, who calls and whether links may be shown through elicitation."""


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url_elicitation: bool
    endpoint: str
    principal: str


class Carried:
    def __init__(self, state_key: Secret[bytes]) -> None:
        self._pause_key = _derived(state_key, b"undercroft mcp_server paused call")
        self._handshakes = AESGCMRequestStateCodec([_derived(state_key, b"undercroft mcp_server handshake")])

    def boundary(self, endpoint: str) -> RequestStateBoundary:
        """Binds a `requestState` to endpoint, tool, arguments, principal and time; all else is refused (-32602)."""
        security = RequestStateSecurity(
            keys=[self._pause_key], ttl=PAUSE_SECONDS, bind_principal=_principal, audience=endpoint
        )
        return RequestStateBoundary(security, default_audience=endpoint)

    def seal_handshake(self, *, url_elicitation: bool, endpoint: str, caller: Caller) -> str:
        declared = _Declared(url_elicitation=url_elicitation, endpoint=endpoint, principal=caller.principal)
        return self._handshakes.seal(msgspec.json.encode(declared))

    def open_handshake(self, sealed: str, *, endpoint: str, caller: Caller) -> bool:
        """Whether the client declared URL elicitation. Raises HandshakeUnknown for what we did not give this caller."""
        if len(sealed) > SEALED_LENGTH_MAX:
            raise HandshakeUnknown
        try:
            declared = msgspec.json.decode(self._handshakes.unseal(sealed), type=_Declared)
        except (InvalidRequestState, msgspec.DecodeError):
            raise HandshakeUnknown from None
        if (declared.endpoint, declared.principal) != (endpoint, caller.principal):
            raise HandshakeUnknown
        return declared.url_elicitation


def caller_of(context: ServerRequestContext[Any, Any]) -> Caller:
    caller = context.request.scope[CALLER] if context.request is not None else None
    if not isinstance(caller, Caller):
        msg = "a request came past the endpoint that authenticates it"
        raise TypeError(msg)
    return caller


def shows_links(context: ServerRequestContext[Any, Any]) -> bool:
    return context.request is not None and context.request.scope[URL_ELICITATION] is True


def _principal(context: ServerRequestContext[Any, Any]) -> str:
    return caller_of(context).principal


def _derived(key: Secret[bytes], purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key.reveal())
