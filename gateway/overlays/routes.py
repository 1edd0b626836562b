"""The API of a tenant's own rules, for its agents with the scope `policy`. Another tenant's versions are not found."""

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from gateway.callers import Caller, authenticate
from gateway.contract import (
    PolicyActivation,
    PolicyChange,
    PolicyDifferenceList,
    PolicyUpload,
    PolicyVersion,
    PolicyVersionList,
)
from gateway.overlays.versions import Policies


@post("", status_code=200)
async def upload_version(
    data: JSONBody[PolicyUpload], caller: NamedDependency[Caller], policies: NamedDependency[Policies]
) -> PolicyVersion:
    """Check rules, say what is known about them, keep them. Nothing is decided by them yet."""
    return await policies.upload(data, caller)


@get("")
async def list_versions(caller: NamedDependency[Caller], policies: NamedDependency[Policies]) -> PolicyVersionList:
    """Every version of the tenant's, and which stand."""
    return await policies.all(caller)


@get("/{version_sha256:str}")
async def read_version(
    version_sha256: FromPath[str], caller: NamedDependency[Caller], policies: NamedDependency[Policies]
) -> PolicyVersion:
    """One version with its texts and its analysis."""
    return await policies.one(version_sha256, caller)


@post("/{version_sha256:str}/shadow", status_code=200)
async def begin_shadow(
    version_sha256: FromPath[str], caller: NamedDependency[Caller], policies: NamedDependency[Policies]
) -> PolicyChange:
    """Ask it beside what is active, and keep where it would have said otherwise."""
    return await policies.shadow(version_sha256, caller)


@delete("/{version_sha256:str}/shadow", status_code=200)
async def end_shadow(
    version_sha256: FromPath[str], caller: NamedDependency[Caller], policies: NamedDependency[Policies]
) -> PolicyChange:
    """Ask it no more. Its differences stay."""
    return await policies.end_shadow(version_sha256, caller)


@post("/{version_sha256:str}/activations", status_code=200)
async def activate_version(
    version_sha256: FromPath[str],
    data: JSONBody[PolicyActivation],
    caller: NamedDependency[Caller],
    policies: NamedDependency[Policies],
) -> PolicyChange:
    """Decide by it from the next request on."""
    return await policies.activate(version_sha256, data, caller)


@post("/rollbacks", status_code=200)
async def roll_back(
    data: JSONBody[PolicyActivation], caller: NamedDependency[Caller], policies: NamedDependency[Policies]
) -> PolicyChange:
    """Decide again by what was active before."""
    return await policies.roll_back(data, caller)


@get("/{version_sha256:str}/differences")
async def list_differences(
    version_sha256: FromPath[str],
    caller: NamedDependency[Caller],
    policies: NamedDependency[Policies],
    after: Annotated[str, QueryParameter()] = "0",
) -> PolicyDifferenceList:
    """Decisions that this version, as a shadow, would have made otherwise."""
    return await policies.differences(version_sha256, after, caller)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/v1/policies",
        dependencies={"caller": Provide(authenticate)},
        route_handlers=[
            upload_version,
            list_versions,
            read_version,
            begin_shadow,
            end_shadow,
            activate_version,
            roll_back,
            list_differences,
        ],
    )
]
