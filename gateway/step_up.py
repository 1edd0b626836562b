"""Step-up on the wire (RFC 9470): a deny that a better proof would turn carries a `WWW-Authenticate` challenge.

The deny is an answer and keeps its 200, because a caller that reads bodies has all it needs; the challenge rides along
(RFC 9110 section 11.6.1 allows it on any answer). Who speaks RFC 9470 says `Prefer: challenge=401` and gets the same
body under the status that it knows. A 401 says nothing about the bearer: that one was good.
"""

from typing import Any, Final

from litestar import Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.contract import DecisionView, Outcome, RemedyKind, step_up_challenge

PREFERENCE: Final = b"challenge=401"
"""RFC 7240: a preference of ours."""
OK, UNAUTHORIZED = 200, 401
CHALLENGE: Final = b"www-authenticate"


def challenge_of(decision: DecisionView) -> str | None:
    if decision.outcome is not Outcome.DENY:
        return None
    levels = [remedy.level for remedy in decision.remedies if remedy.kind is RemedyKind.STEP_UP and remedy.level]
    return step_up_challenge(levels)


async def add_challenge(response: Response[Any]) -> Response[Any]:
    """An `after_request` hook: whatever is answered says what its decision lacks. Litestar runs others in a thread."""
    content = response.content
    decision = content if isinstance(content, DecisionView) else getattr(content, "decision", None)
    challenge = challenge_of(decision) if isinstance(decision, DecisionView) else None
    if challenge is not None:
        response.headers["WWW-Authenticate"] = f"Bearer {challenge}"
        response.headers["Vary"] = "Prefer"
    return response


def preferring(app: ASGIApp) -> ASGIApp:
    """Middleware: 401 instead of 200 for a challenge, for who prefers it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _prefers(scope["headers"]):
            await app(scope, receive, send)
            return

        async def send_preferred(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == OK:
                names = {name.lower() for name, _ in message["headers"]}
                if CHALLENGE in names:
                    message["status"] = UNAUTHORIZED
                    message["headers"] = [*message["headers"], (b"preference-applied", PREFERENCE)]
            await send(message)

        await app(scope, receive, send_preferred)

    return answer


def _prefers(headers: Any) -> bool:
    given = [value for name, value in headers if name.lower() == b"prefer"]
    return any(item.strip().lower() == PREFERENCE for value in given for item in value.split(b","))
