"""The listener for the processor: one route."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from vault.inbox import Inbox

SIGNATURE_HEADER = "Stripe-Signature"


@post("/webhooks/stripe", status_code=200)
async def take_event(request: Request[Any, Any, Any], inbox: NamedDependency[Inbox]) -> dict[str, bool]:
    """One signed event; the signature is over the bytes as they came."""
    await inbox.take(await request.body(), request.headers.get(SIGNATURE_HEADER))
    return {"received": True}


ROUTES = (take_event,)
