"""Destinations: where a stored card may be sent, registered by the tenant's operator and by nobody else.

A destination is one address, one method, and the places of the body in which parts of a card may stand. All of it is
fixed; who asks for a forward names the destination and writes the rest of the body. The rules here hold twice: when a
destination is registered, and again for the row that is read when a card is about to be sent.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from infra.chassis import strict_json
from vault.contract import Identifier

HOST: Final = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
"""Names as RFC 1123 writes them, in lower case, ending in letters: so no address in whatever notation passes."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1"})
PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
"""No escapes, no dot segments, no empty segments: the path on the wire is the path in the registration."""
PORTS: Final = frozenset({443, 8443})
PORT_MAX: Final = 65535
POINTER: Final = re.compile(r"(?:/(?:[^/~\x00-\x1f]|~[01])+)+")
"""RFC 6901, without empty names."""
HEADER: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
FORBIDDEN_HEADERS: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host", "idempotency-key",
    "keep-alive", "location", "proxy-authorization", "refresh", "set-cookie", "te", "trailer", "transfer-encoding",
    "upgrade",
})  # fmt: skip
"""Neither for a credential nor to be shown: framing, places to go to, other people's secrets."""
FIELDS_MAX: Final = 16
AGENTS_MAX: Final = 50
HEADERS_MAX: Final = 8


class Method(StrEnum):
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"


class BodyKind(StrEnum):
    JSON = "json"
    FORM = "form"

    @property
    def media_type(self) -> str:
        return "application/json" if self is BodyKind.JSON else "application/x-www-form-urlencoded"


class Part(StrEnum):
    """What of a card can stand in a body: `{{card.<part>}}`."""

    NUMBER = "number"
    EXP_MONTH = "exp_month"
    """Two digits."""
    EXP_YEAR = "exp_year"
    """Four digits."""
    EXP_YEAR_SHORT = "exp_year_short"
    EXPIRY = "expiry"
    """`MM/YY`, as it is printed on the card."""
    HOLDER = "holder"
    CODE = "code"


class DestinationInvalid(ValueError):
    """The sentence says which part of a registration is not accepted."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address, taken apart. `path` goes onto the wire byte for byte."""

    scheme: str
    host: str
    port: int
    path: str


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an operator hands to `destinations add`, as JSON.

    `fields`: JSON pointer (RFC 6901; of a form `/name`) → the part of a card that may stand there. `agents`: the client
    ids that may ask; nobody else may. `credential_header`: the header that proves us to the destination; its value is a
    file (settings: FORWARD_CREDENTIALS). `answer_headers`: which headers of an answer are shown.
    """

    tenant_id: Identifier
    destination_id: Identifier
    brand_id: Identifier
    url: Annotated[str, msgspec.Meta(max_length=500)]
    method: Method
    body: BodyKind
    fields: Annotated[dict[str, Part], msgspec.Meta(min_length=1, max_length=FIELDS_MAX)]
    agents: Annotated[list[Identifier], msgspec.Meta(min_length=1, max_length=AGENTS_MAX)]
    answer_headers: Annotated[list[str], msgspec.Meta(max_length=HEADERS_MAX)] = []
    credential_header: str | None = None


def read_registration(text: bytes, *, sandbox: bool) -> Registration:
    """Raises DestinationInvalid."""
    try:
        registration = msgspec.convert(strict_json.decode(text), type=Registration, strict=True)
    except (strict_json.NotStrictJson, msgspec.ValidationError) as error:
        raise DestinationInvalid(f"not a registration: {error}") from None
    check(registration, sandbox=sandbox)
    return registration


def check(registration: Registration, *, sandbox: bool) -> None:
    """Raises DestinationInvalid for what the types alone let pass."""
    if not registration.destination_id.startswith("dst_"):
        raise DestinationInvalid("destination_id begins with dst_")
    target_of(registration.url, sandbox=sandbox)
    for pointer in registration.fields:
        if len(pointer) > 200 or POINTER.fullmatch(pointer) is None:  # noqa: PLR2004 - deeper than any card API
            raise DestinationInvalid(f"fields: {pointer[:80]!r} is not a JSON pointer")
        if registration.body is BodyKind.FORM and pointer.count("/") != 1:
            raise DestinationInvalid("fields: a form has no fields within fields")
    credential = [] if registration.credential_header is None else [registration.credential_header]
    for header in (*registration.answer_headers, *credential):
        if HEADER.fullmatch(header) is None or header in FORBIDDEN_HEADERS:
            raise DestinationInvalid(f"{header[:80]!r} is not a header for this, in lower case")


def target_of(url: str, *, sandbox: bool) -> Target:
    """Raises DestinationInvalid. In a sandbox plain HTTP to this machine is an address as well."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise DestinationInvalid("url: not an address") from None
    if not url.isascii() or any(character.isspace() or ord(character) < 32 for character in url):  # noqa: PLR2004 - controls
        raise DestinationInvalid("url: only plain ASCII")
    host = parts.hostname or ""
    local = sandbox and host in LOOPBACK
    if parts.scheme != "https" and not (local and parts.scheme == "http"):
        raise DestinationInvalid("url: must be https")
    if not local and (HOST.fullmatch(host) is None or "xn--" in host):
        raise DestinationInvalid("url: the host must be a name in lower-case ASCII, and no internationalised one")
    port = {"https": 443, "http": 80}[parts.scheme] if port is None else port
    if not (0 < port <= PORT_MAX if local else port in PORTS):
        raise DestinationInvalid("url: the port must be 443 or 8443")
    if PATH.fullmatch(parts.path) is None:
        raise DestinationInvalid("url: the path must be plain segments, without escapes, and not empty")
    target = Target(parts.scheme, host, port, parts.path)
    if url not in _spellings(target):
        raise DestinationInvalid("url: only scheme, host, port and path, in their plain spelling")
    return target


def _spellings(target: Target) -> tuple[str, str]:
    """With the port and without it, where it is the usual one; so no user, query or fragment hides in between."""
    usual = {"https": 443, "http": 80}[target.scheme] == target.port
    plain = f"{target.scheme}://{target.host}{target.path}"
    spelled = f"{target.scheme}://{target.host}:{target.port}{target.path}"
    return (plain if usual else spelled), spelled
