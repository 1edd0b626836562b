"""Errors in Stripe's shape (https://docs.stripe.com/error-handling).

StripeError                 what the caller did cannot be done; carries status, type, code, message, parameter
├── BadParameter            found before anything was executed: not remembered under an idempotency key
└── CardError               402, the card's bank (or the test-card table) says no; a declined charge leaves a trace
"""

import re
from collections.abc import Mapping

_ID = re.compile(r"[a-z]{2,6}_[A-Za-z_]{1,40}")

Document = dict[str, object]


class StripeError(Exception):
    remembered = True  # an idempotency key replays this answer
    leaves_trace = False  # what was written before it is kept
    retry_advice: str | None = None  # the `Stripe-Should-Retry` header

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.extra = dict(extra or {})

    def document(self) -> Document:
        error: Document = {"message": self.message, "type": self.kind}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        return {"error": {**error, **self.extra}}


class BadParameter(StripeError):
    remembered = False


class CardError(StripeError):
    def __init__(
        self,
        message: str,
        *,
        code: str,
        param: str | None = None,
        extra: Mapping[str, object] | None = None,
        leaves_trace: bool = False,
    ) -> None:
        super().__init__(message, status=402, kind="card_error", code=code, param=param, extra=extra)
        self.leaves_trace = leaves_trace


class NotArrived(StripeError):
    """The request never reached the place where keys are remembered: sending it again is safe."""

    remembered = False


def missing(noun: str, identifier: str, param: str) -> StripeError:
    """What is no id of ours is neither repeated nor remembered: it may be a card number in the wrong place."""
    if _ID.fullmatch(identifier) is None:
        return BadParameter(f"No such {noun}", status=404, code="resource_missing", param=param)
    return StripeError(f"No such {noun}: '{identifier}'", status=404, code="resource_missing", param=param)


def server_error() -> StripeError:
    problem = StripeError(
        "An unknown error occurred. If the problem persists, contact support.", status=500, kind="api_error"
    )
    problem.retry_advice = "false"
    return problem


def unavailable(message: str) -> NotArrived:
    return NotArrived(message, status=503, kind="api_error")
