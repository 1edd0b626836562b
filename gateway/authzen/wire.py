"""What AuthZEN sends and is answered (Authorization API 1.0, sections 5 to 8): unknown fields ignored, errors are 400.

`properties` and `context` are accepted and are no facts. Read from them are an action's parameters (`amount_minor` of a
refund, `cart_sha256` of a purchase: what a body of our own API says too) and what the enforcement point can enforce.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Request

from infra.chassis.problems import BodyInvalid
from infra.chassis.strict_json import NotStrictJson, decode

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
EVALUATIONS_MAX: Final = 50
"""In one request: each is a decision with its own facts and its own entry in the record."""
LIMIT_MAX: Final = 50
T = TypeVar("T")


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """A subject or a resource."""

    type: Name
    id: Name
    properties: dict[str, Any] = {}


class EntityType(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for; an id is ignored (sections 8.4 and 8.5)."""

    type: Name


class Action(msgspec.Struct, frozen=True, kw_only=True):
    name: Name
    properties: dict[str, Any] = {}


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    subject: Entity
    action: Action
    resource: Entity
    context: dict[str, Any] = {}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    evaluations_semantic: str = "execute_all"


class Evaluations(msgspec.Struct, frozen=True, kw_only=True):
    """Each of `evaluations` is an Evaluation of which parts may stand beside it instead, as defaults."""

    evaluations: list[dict[str, Any]] = []
    options: Options = Options()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    token: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] = LIMIT_MAX


class ResourceSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: Entity
    action: Action
    resource: EntityType
    context: dict[str, Any] = {}
    page: Page = Page()


class SubjectSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: EntityType
    action: Action
    resource: Entity
    context: dict[str, Any] = {}
    page: Page = Page()


class ActionSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: Entity
    resource: Entity
    context: dict[str, Any] = {}
    page: Page = Page()


async def read(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The body, an object. Raises BodyInvalid. Fractions are allowed: they stand in properties, which are no facts."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BodyInvalid(detail="The body must be application/json.")
    try:
        plain = decode(await request.body(), floats=True)
    except NotStrictJson:
        raise BodyInvalid(detail="The body is not JSON with one meaning.") from None
    if not isinstance(plain, dict):
        raise BodyInvalid(detail="The body must be an object.")
    return plain


def typed(plain: Mapping[str, Any], kind: type[T]) -> T:
    """Raises BodyInvalid, without repeating what was sent."""
    try:
        return msgspec.convert(plain, kind, strict=True)
    except msgspec.ValidationError:
        raise BodyInvalid(detail="A field is missing or of the wrong kind.") from None
