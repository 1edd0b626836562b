"""The listener for the processors: one route each. The signature is over the bytes as they came."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from vault.inbox import Inbox
from vault.processors import AIRWALLEX, STRIPE

SIGNATURE_HEADER = "Stripe-Signature"
AnyRequest = Request[Any, Any, Any]


@post("/webhooks/stripe", status_code=200)
async def take_event(request: AnyRequest, inbox: NamedDependency[Inbox]) -> dict[str, bool]:
    """One signed event."""
    await inbox.take(STRIPE, await request.body(), request.headers.get(SIGNATURE_HEADER))
    return {"received": True}


@post("/webhooks/airwallex", status_code=200)
async def take_airwallex_event(request: AnyRequest, inbox: NamedDependency[Inbox]) -> dict[str, bool]:
    """One signed event, whose time and signature stand in headers of their own."""
    signed = f"t={request.headers.get('x-timestamp', '')},v1={request.headers.get('x-signature', '')}"
    await inbox.take(AIRWALLEX, await request.body(), signed)
    return {"received": True}


ROUTES = (take_event, take_airwallex_event)
