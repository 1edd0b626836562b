"""The public halves of our keys, for those who check what we sign (RFC 7517)."""

from typing import Any, Final

from litestar import Response, get
from litestar.types import ControllerRouterHandler

from gateway.bearers import Bearers
from infra.chassis.clock import Clock
from infra.chassis.ring import SigningRing

BEARERS: Final = "/.well-known/jwks.json"
GRANTS: Final = "/.well-known/grant-jwks.json"
FRESH_SECONDS: Final = 60
"""Shorter than the time a next key waits before it signs (gateway.rotation)."""
MEDIA_TYPE: Final = "application/jwk-set+json"


def key_routes(bearers: Bearers, grant_key: SigningRing, clock: Clock) -> list[ControllerRouterHandler]:
    @get(BEARERS)
    async def bearer_keys() -> Response[dict[str, Any]]:
        """The keys that bearers are checked with: current, next, and retiring until their last bearer has ended."""
        return _answer(bearers.jwks())

    @get(GRANTS)
    async def grant_keys() -> Response[dict[str, Any]]:
        """The keys that grants are checked with, for those who keep vault's and memory's key files."""
        return _answer(grant_key.now().jwks(clock.now()))

    return [bearer_keys, grant_keys]


def _answer(keys: dict[str, list[dict[str, Any]]]) -> Response[dict[str, Any]]:
    headers = {"Cache-Control": f"public, max-age={FRESH_SECONDS}"}
    return Response(keys, headers=headers, media_type=MEDIA_TYPE)
