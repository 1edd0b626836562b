"""AuthZEN's endpoints (section 10). Only an enforcement point's bearer opens them; no bearer of the API does."""

from typing import Any, Final

from litestar import MediaType, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler

from gateway.authzen import wire
from gateway.authzen.points import OBLIGATIONS, STEP_UP, Points, refused
from gateway.authzen.search import Searches
from gateway.callers import Caller, CallerKind, Callers, ScopeMissing, authenticate
from infra.chassis.http import build_app
from infra.chassis.problems import BodyInvalid

SCOPE: Final = "access"
STOPS: Final = {"execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True}
"""Semantic → the decision after which no more are made (section 7.1.2.1)."""


@post("/evaluation", status_code=200)
async def evaluation(request: Request[Any, Any, Any], points: NamedDependency[Points]) -> dict[str, Any]:
    """Access Evaluation (section 6)."""
    asked = wire.typed(await wire.read(request), wire.Evaluation)
    return await points.evaluate(asked, request.state.caller)


@post("/evaluations", status_code=200)
async def evaluations(request: Request[Any, Any, Any], points: NamedDependency[Points]) -> dict[str, Any]:
    """Access Evaluations (section 7): several, in order. Without any it is an Access Evaluation."""
    plain = await wire.read(request)
    batch = wire.typed(plain, wire.Evaluations)
    if not batch.evaluations:
        return await points.evaluate(wire.typed(plain, wire.Evaluation), request.state.caller)
    semantic = batch.options.evaluations_semantic
    if semantic not in STOPS or len(batch.evaluations) > wire.EVALUATIONS_MAX:
        raise BodyInvalid(detail=f"At most {wire.EVALUATIONS_MAX} evaluations, with one of {', '.join(STOPS)}.")
    defaults: dict[str, Any] = {
        name: plain[name] for name in ("subject", "action", "resource", "context") if name in plain
    }
    answers = []
    for each in batch.evaluations:
        answers.append(await _one(points, {**defaults, **each}, request.state.caller))
        if answers[-1]["decision"] is STOPS[semantic]:
            break
    return {"evaluations": answers}


@post("/search/resource", status_code=200)
async def search_resource(request: Request[Any, Any, Any], searches: NamedDependency[Searches]) -> dict[str, Any]:
    """Resource Search (section 8.5)."""
    return await searches.resources(wire.typed(await wire.read(request), wire.ResourceSearch), request.state.caller)


@post("/search/subject", status_code=200)
async def search_subject(request: Request[Any, Any, Any], searches: NamedDependency[Searches]) -> dict[str, Any]:
    """Subject Search (section 8.4)."""
    return await searches.subjects(wire.typed(await wire.read(request), wire.SubjectSearch), request.state.caller)


@post("/search/action", status_code=200)
async def search_action(request: Request[Any, Any, Any], searches: NamedDependency[Searches]) -> dict[str, Any]:
    """Action Search (section 8.6)."""
    return await searches.actions(wire.typed(await wire.read(request), wire.ActionSearch), request.state.caller)


async def _one(points: Points, plain: dict[str, Any], point: Caller) -> dict[str, Any]:
    """What is wrong with one of several is that one's deny (section 7.2.1)."""
    try:
        return await points.evaluate(wire.typed(plain, wire.Evaluation), point)
    except BodyInvalid as error:
        return refused(error.status, error.detail)


def authzen_app(callers: Callers, points: Points, searches: Searches, url: str) -> ASGIApp:
    """`url` is where enforcement points reach this, without a path."""

    async def enforcement_point(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        caller = await authenticate(Request(connection.scope), callers)
        if caller.kind is not CallerKind.ENFORCEMENT_POINT:
            raise ScopeMissing(SCOPE)
        caller.require_scope(SCOPE)
        connection.state.caller = caller

    router = Router(
        path="/access/v1",
        guards=[enforcement_point],
        route_handlers=[evaluation, evaluations, search_resource, search_subject, search_action],
    )
    return build_app(
        service="gateway authzen",
        routes=[router, _metadata(url)],
        dependencies={"points": points, "searches": searches},
        operations=False,
        echo_request_id=True,
    )


def _metadata(url: str) -> ControllerRouterHandler:
    base = f"{url}/access/v1"
    document = {
        "policy_decision_point": url,
        "access_evaluation_endpoint": f"{base}/evaluation",
        "access_evaluations_endpoint": f"{base}/evaluations",
        "search_subject_endpoint": f"{base}/search/subject",
        "search_resource_endpoint": f"{base}/search/resource",
        "search_action_endpoint": f"{base}/search/action",
        "capabilities": [f"urn:openid:authzen:capability:{OBLIGATIONS}"],
        f"supported_{OBLIGATIONS}": [STEP_UP],
    }

    @get("/.well-known/authzen-configuration")
    async def configuration() -> Response[dict[str, Any]]:
        """Policy Decision Point Metadata (section 9)."""
        return Response(document, media_type=MediaType.JSON, headers={"Cache-Control": "public, max-age=300"})

    return configuration
