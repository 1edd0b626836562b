"""The authorization endpoint's two halves: checking what an assistant asks for, and answering it.

Between them a person logs in and decides (`gateway.browser`). The request is kept word for word and checked again when
it is answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from authlib.oauth2.rfc6749 import OAuth2Error
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contract import AssuranceLevel
from gateway.oauth.consents import Consent
from gateway.oauth.grants import server_for
from gateway.oauth.server import Answer, Parts, Request, read_parameters
from gateway.oauth.step_up import AuthenticationUnmet
from infra.chassis.engine import directory_transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A sound authorization request; `parameters` are its words."""

    client_id: str
    client_name: str
    redirect_uri: str
    scopes: frozenset[str]
    tenant_id: str
    brand_id: str
    brand_name: str
    resource_url: str
    level: AssuranceLevel
    """What the person must have proven themselves to before there is an answer."""
    parameters: Mapping[str, str]


async def check(engine: AsyncEngine, parts: Parts, pairs: list[tuple[str, str]]) -> Asked | Answer:
    """What is asked, or the answer that refuses it: with a Location only if client and redirect URI are sound."""
    try:
        parameters = read_parameters(pairs)
    except OAuth2Error as error:
        return Answer(400, {"error": error.error, "error_description": error.description})
    async with directory_transaction(engine) as tx:
        return await tx.run_sync(checked, parts, parameters)


def checked(connection: Connection, parts: Parts, parameters: Mapping[str, str]) -> Asked | Answer:
    server = server_for(connection, parts)
    request = Request("GET", parameters)
    try:
        server.get_consent_grant(request)
    except OAuth2Error as error:
        return server.error_answer(request, error)
    return Asked(
        client_id=request.client.client_id,
        client_name=request.client.client_name,
        redirect_uri=parameters["redirect_uri"],
        scopes=frozenset(request.scope.split()),
        tenant_id=request.brand["tenant_id"],
        brand_id=request.brand["brand_id"],
        brand_name=request.brand["name"],
        resource_url=request.brand["resource_url"],
        level=request.level,
        parameters=dict(parameters),
    )


def answered(connection: Connection, parts: Parts, parameters: Mapping[str, str], consent: Consent | None) -> Answer:
    """A redirect with a code, or with `access_denied` when there is no consent; `state` and `iss` in both."""
    server = server_for(connection, parts)
    request = Request("GET", parameters)
    try:
        grant = server.get_consent_grant(request)
    except OAuth2Error as error:
        return server.error_answer(request, error)
    answer: Answer = server.create_authorization_response(request, grant_user=consent, grant=grant)
    return answer


def unmet(connection: Connection, parts: Parts, parameters: Mapping[str, str]) -> Answer:
    """A redirect with `unmet_authentication_requirements`: nobody proved as much as was asked for."""
    server = server_for(connection, parts)
    request = Request("GET", parameters)
    try:
        server.get_consent_grant(request)
    except OAuth2Error as error:
        return server.error_answer(request, error)
    redirect_uri = parameters["redirect_uri"]
    return server.error_answer(request, AuthenticationUnmet(redirect_uri=redirect_uri, state=request.payload.state))
