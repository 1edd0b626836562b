"""Our refusals in the OpenAPI document: what Litestar cannot see, because handlers raise it, added once for everybody.

What every operation may answer follows from its shape: a body can be no JSON, too big or of the wrong fields; an id in
the path can name nothing; whatever is needed can be away. What else a service refuses it says by path.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from http import HTTPStatus
from typing import Any, Final, get_args, get_type_hints

import msgspec
from litestar import Litestar
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    Schema,
    SecurityScheme,
)

from infra.chassis import problems
from infra.chassis.problems import MEDIA_TYPE, Problem

Refusals = Mapping[str, Sequence[type[Problem]]]
"""Path prefix → what each operation below it may be refused with besides what follows from its shape."""
PROBLEM: Final = "Problem"
BEARER: Final = "bearer"
ENDS: Final = r"$(?!\n)"
r"""The end of the text, for readers of the document: ECMA-262, which JSON Schema speaks, has no `\Z`, and in Python `$`
takes a line break after it. This form says the same in both."""
TEXT: Final = Schema(type=OpenAPIType.STRING)
MEMBERS: Final = {
    "type": Schema(type=OpenAPIType.STRING, description="`urn:undercroft:problem:` and the code."),
    "title": TEXT,
    "status": Schema(type=OpenAPIType.INTEGER),
    "code": Schema(type=OpenAPIType.STRING, description="What programs compare; never reworded."),
    "detail": Schema(type=OpenAPIType.STRING, description="One sentence for a person."),
    "request_id": Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL]),
}
HEADERS: Final[Mapping[HTTPStatus, Sequence[str]]] = {
    HTTPStatus.UNAUTHORIZED: ["WWW-Authenticate"],
    HTTPStatus.FORBIDDEN: ["WWW-Authenticate"],
    HTTPStatus.TOO_MANY_REQUESTS: ["Retry-After"],
    HTTPStatus.SERVICE_UNAVAILABLE: ["Retry-After"],
}
"""Of a status: what may come with it; some refusals of the same status do without."""


def publish(app: Litestar, refusals: Refusals) -> None:
    """Complete the document of `app` before it is first served. Below a prefix of `refusals` a bearer is needed."""
    document = app.openapi_schema
    components = document.components
    components.schemas[PROBLEM] = Schema(
        type=OpenAPIType.OBJECT,
        description="Problem details (RFC 9457). A refusal may have further members of its own.",
        properties=dict(MEMBERS),
        required=list(MEMBERS),
    )
    components.security_schemes = {BEARER: SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
    for name in _closed(app):
        for schema in components.schemas.values():
            if schema.title == name:
                schema.additional_properties = False
    for path, item in (document.paths or {}).items():
        for operation in (item.get, item.put, item.post, item.delete, item.patch):
            if operation is not None:
                _complete(operation, path, refusals)
    for schema in _schemas(document):
        if schema.pattern is not None:
            schema.pattern = schema.pattern.replace(r"\Z", ENDS)


def _schemas(value: Any) -> Iterator[Schema]:
    """Every schema in the document, wherever it stands; one that stands in two places comes twice."""
    if isinstance(value, Schema):
        yield value
    parts: Sequence[Any] = ()
    if is_dataclass(value):
        parts = [getattr(value, member.name) for member in fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        yield from _schemas(part)


def _closed(app: Litestar) -> set[str]:
    """The bodies, and what they are made of, in which an unknown field is refused; Litestar's document does not say."""
    found: set[str] = set()
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            field = handler.parsed_data_field
            if field is not None:
                found |= {
                    kind.__name__ for kind in _structs(field.annotation) if kind.__struct_config__.forbid_unknown_fields
                }
    return found


def _structs(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
        for hint in get_type_hints(annotation).values():
            yield from _structs(hint)
    for argument in get_args(annotation):
        yield from _structs(argument)


def _complete(operation: Operation, path: str, refusals: Refusals) -> None:
    own = [refused for prefix, listed in refusals.items() if path.startswith(prefix) for refused in listed]
    if any(refused.status == HTTPStatus.UNAUTHORIZED for refused in own):
        operation.security = [{BEARER: []}]
    answers = operation.responses = dict(operation.responses or {})
    answers.pop(str(HTTPStatus.BAD_REQUEST.value), None)  # Litestar's own validation answer, which we replace
    by_status: dict[int, list[type[Problem]]] = {}
    for refused in [*_by_shape(operation), *own]:
        by_status.setdefault(refused.status, []).append(refused)
    for status, listed in sorted(by_status.items()):
        if str(status) not in answers:
            answers[str(status)] = _answer(HTTPStatus(status), listed)


def _by_shape(operation: Operation) -> Iterator[type[Problem]]:
    if operation.request_body is not None:
        yield from (problems.BodyInvalid, problems.BodyTooLarge, problems.FieldsInvalid)
    elif operation.parameters:
        yield problems.FieldsInvalid
    if any(not isinstance(given, Reference) and given.param_in == "path" for given in operation.parameters or ()):
        yield problems.NotFound
    yield problems.InternalError
    yield problems.PeerUnreachable


def _answer(status: HTTPStatus, listed: Sequence[type[Problem]]) -> OpenAPIResponse:
    content = OpenAPIMediaType(
        schema=Reference(ref=f"#/components/schemas/{PROBLEM}"),
        examples={refused.code: Example(value=_example(refused)) for refused in listed},
    )
    headers = {name: OpenAPIHeader(schema=TEXT, required=False) for name in HEADERS.get(status, ())}
    return OpenAPIResponse(description=status.phrase, headers=dict(headers) or None, content={MEDIA_TYPE: content})


def _example(refused: type[Problem]) -> dict[str, object]:
    return {
        "type": f"urn:undercroft:problem:{refused.code}",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "code": refused.code,
        "detail": refused.detail,
        "request_id": "req_0fk3m2v7q1",
    }
