"""Dynamic client registration (RFC 7591): anybody may register a public client; it is worth nothing by itself.

What the server cannot or will not do is replaced and told (section 3.2.1): no secret, code flow, our scopes. Names are
self-declared and shown as such.
"""

import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.oauth import redirects
from gateway.oauth.clients import ASSISTANT_PREFIX
from gateway.oauth.scopes import SCOPES
from gateway.oauth.server import Answer
from infra.chassis import strict_json
from infra.chassis.clock import Clock
from infra.chassis.ids import new_id
from infra.chassis.screen import find_card_number

REDIRECTS_MAX = 5
"""Real clients register one or two."""
NAME_LENGTH_MAX = 60
UNUSED_TTL = timedelta(hours=24)
"""A registration that nobody consented to within a day is forgotten."""
UNUSED_PER_HOUR_MAX = 600
"""Registering is open to the world; this bounds what the world can make us store to a few megabytes."""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What we read of RFC 7591's metadata; the rest is ignored, as section 2 asks."""

    redirect_uris: Annotated[list[str], msgspec.Meta(min_length=1, max_length=REDIRECTS_MAX)]
    client_name: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    grant_types: list[str] = msgspec.field(default_factory=lambda: ["authorization_code"])
    response_types: list[str] = msgspec.field(default_factory=lambda: ["code"])


async def register(tx: AsyncConnection, body: bytes, clock: Clock) -> Answer:
    try:
        asked = msgspec.convert(strict_json.decode(body, floats=True), type=Registration)
    except (msgspec.MsgspecError, strict_json.NotStrictJson):
        return _refused("invalid_client_metadata", "The metadata is not what RFC 7591 describes.")
    if not all(redirects.registrable(uri) for uri in asked.redirect_uris):
        return _refused("invalid_redirect_uri", "Redirect URIs are https, loopback http, or a reversed-domain scheme.")
    if "authorization_code" not in asked.grant_types or asked.response_types != ["code"]:
        return _refused("invalid_client_metadata", "Only the code flow can be registered for.")
    name = plain_name(asked.client_name or "")
    if find_card_number(name) is not None:
        return _refused("invalid_client_metadata", "The name looks like it holds a card number.")
    return await _store(tx, asked, name, clock)


def plain_name(name: str) -> str:
    """Nothing invisible, nothing that turns the reading direction, one line."""
    normal = unicodedata.normalize("NFKC", name)
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in normal)
    return " ".join(visible.split())[:NAME_LENGTH_MAX].strip()


async def _store(tx: AsyncConnection, asked: Registration, name: str, clock: Clock) -> Answer:
    now = clock.now()
    await tx.execute(_FORGET_UNUSED, {"before": now - UNUSED_TTL})
    recent = (await tx.execute(_COUNT_UNUSED, {"after": now - timedelta(hours=1)})).scalar_one()
    if recent >= UNUSED_PER_HOUR_MAX:
        answer = _refused("temporarily_unavailable", "Too many registrations; try again later.")
        return Answer(429, answer.body, {"Retry-After": "600"})
    refreshes = "refresh_token" in asked.grant_types
    client_id = new_id(ASSISTANT_PREFIX.rstrip("_"))
    row = {"client_id": client_id, "name": name, "uris": asked.redirect_uris, "refreshes": refreshes, "now": now}
    await tx.execute(_INSERT, row)
    return Answer(201, _information(client_id, name, asked.redirect_uris, refreshes=refreshes, at=int(now.timestamp())))


def _information(client_id: str, name: str, uris: Sequence[str], *, refreshes: bool, at: int) -> dict[str, Any]:
    named = {"client_name": name} if name else {}
    return named | {
        "client_id": client_id,
        "client_id_issued_at": at,
        "redirect_uris": list(uris),
        "grant_types": ["authorization_code", *(["refresh_token"] if refreshes else [])],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": " ".join(SCOPES),
    }


def _refused(error: str, description: str) -> Answer:
    return Answer(400, {"error": error, "error_description": description})


_FORGET_UNUSED = text("DELETE FROM assistant_clients WHERE used_at IS NULL AND registered_at < :before")
_COUNT_UNUSED = text("SELECT count(*) FROM assistant_clients WHERE used_at IS NULL AND registered_at > :after")
_INSERT = text(
    "INSERT INTO assistant_clients (client_id, client_name, redirect_uris, refreshes, registered_at)"
    " VALUES (:client_id, :name, :uris, :refreshes, :now)"
)
