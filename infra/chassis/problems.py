"""Problem details (RFC 9457): every refusal is a document with a code and one sentence."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from infra.chassis import logs, trace

MEDIA_TYPE = "application/problem+json"
log = logs.get_logger()


class Problem(Exception):
    """An answer other than success. Subclasses in a service's `errors.py` fix status, code and sentence.

    `extra` members are sent to the caller; what only we should know goes to the log instead.
    """

    status: int = 400
    code: str = "bad_request"
    detail: str = "The request cannot be answered."

    def __init__(
        self,
        *,
        status: int | None = None,
        code: str | None = None,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        self.status = self.status if status is None else status
        self.code = self.code if code is None else code
        self.detail = self.detail if detail is None else detail
        self.headers = dict(headers or {})
        self.extra = extra
        super().__init__(self.code)


class NotFound(Problem):
    """Missing and foreign alike: the two answers are the same bytes but for the request id."""

    status = 404
    code = "not_found"
    detail = "There is nothing here that you may see."


class FieldsInvalid(Problem):
    """Names the fields, never their values."""

    status = 422
    code = "fields_invalid"
    detail = "Some fields are missing, unknown or of the wrong kind."


class BodyInvalid(Problem):
    status = 400
    code = "body_invalid"


class BodyTooLarge(Problem):
    status = 413
    code = "body_too_large"
    detail = "The body is larger than this route accepts."


class CardNumberRefused(Problem):
    status = 422
    code = "card_number_refused"
    detail = "The text looks like it holds a card number; nothing was stored. Use the card page instead."


class PeerUnreachable(Problem):
    """A service behind this one did not answer. The code names which."""

    status = 503
    code = "peer_unreachable"
    detail = "A service needed for this is not answering; try again."


class InternalError(Problem):
    """Whatever is not ours to explain; what happened is in the log."""

    status = 500
    code = "internal_error"
    detail = "Something went wrong here; it was not you."


def body_of(problem: Problem) -> bytes:
    here = trace.current.get()
    document = {
        "type": f"urn:undercroft:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": here.request_id if here else None,
        **problem.extra,
    }
    return json.dumps(document, separators=(",", ":"), default=str).encode()


def _respond(problem: Problem) -> Response[bytes]:
    return Response(
        content=body_of(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def _on_problem(_request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    return _respond(problem)


def _on_validation(_request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    return _respond(FieldsInvalid(fields=_field_names(error)))


def _field_names(error: ValidationException) -> list[str]:
    """Where it is wrong: our own field names only, because a key can be an attacker's text."""
    items = error.extra if isinstance(error.extra, list) else []
    keys = {str(item.get("key", "")) for item in items if isinstance(item, dict)}
    return sorted(key for key in keys if key.replace("_", "").replace(".", "").isalpha() and len(key) < 80)  # noqa: PLR2004 - longer than any field of ours


def _on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND:
        return _respond(NotFound())
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _respond(BodyTooLarge())
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    headers = {k: v for k, v in (error.headers or {}).items() if k.lower() in {"allow", "retry-after"}}
    return _respond(Problem(status=status, code=code, detail=f"{status.phrase}.", headers=headers))


def _on_anything(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error(
        "unexpected_error", error=type(error).__name__, where=where(error), path=request.scope.get("path_template")
    )
    return _respond(InternalError())


def where(error: BaseException) -> list[str]:
    """File, line and function of each frame of ours; no values, no messages."""
    frames = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{step.tb_lineno}:{code.co_name}")
        step = step.tb_next
    return frames[-12:]


HANDLERS: ExceptionHandlersMap = {
    Problem: _on_problem,
    ValidationException: _on_validation,
    HTTPException: _on_http,
    Exception: _on_anything,
}
