"""Authlib's authorization server, run inside our transaction.

Authlib's hooks are synchronous and are handed no context, so each request gets its own `Server`, bound to the
connection of its own transaction, and runs inside `AsyncConnection.run_sync`: SQLAlchemy's bridge, in which a
synchronous statement yields to the event loop. An OAuth error is an answer and not an exception there, so what it had
to write (a revoked family, a spent assertion) is committed.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidClientError,
    InvalidRequestError,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc9207 import IssuerParameter
from sqlalchemy import Connection

from gateway.bearers import TTL_SECONDS, Bearer, Bearers, CallerKind
from gateway.factors.ceremonies import Host
from gateway.oauth import consents, handles
from gateway.oauth.assertions import ASSERTION_TYPE, AssertionRefused, AssertionRules, check_assertion
from gateway.oauth.clients import AssistantClient, MachineAsClient, find_client
from gateway.oauth.scopes import SCOPES
from infra.chassis.clock import Clock

VALUE_LENGTH_MAX = 4096

logging.getLogger("authlib").setLevel(logging.INFO)
"""Its grants write whole bearers to the debug log."""


@dataclass(slots=True)
class Answer:
    """What an endpoint answers. Not frozen: Authlib's RFC 9207 extension adds `iss` to `location`."""

    status: int
    body: dict[str, Any] | str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def location(self) -> str | None:
        return self.headers.get("Location")

    @location.setter
    def location(self, url: str) -> None:
        self.headers["Location"] = url


class Request(OAuth2Request):  # type: ignore[misc]  # authlib has no types
    """Parameters that were already read, each at most once. Whether plain http is fine is the settings' business."""

    def __init__(self, method: str, parameters: Mapping[str, str]) -> None:
        super().__init__(method, "https://checked-by-settings.invalid/")
        self.payload = BasicOAuth2Payload(dict(parameters))

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every request's server is made from."""

    bearers: Bearers
    clock: Clock

    @property
    def passkeys_possible(self) -> bool:
        return Host(self.bearers.issuer).has_name

    @property
    def token_url(self) -> str:
        return f"{self.bearers.issuer}/oauth/token"


class _Issuer(IssuerParameter):  # type: ignore[misc]  # authlib has no types
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


class Server(AuthorizationServer):  # type: ignore[misc]  # authlib has no types
    """One request's authorization server. Grants are registered by `gateway.oauth.grants`."""

    def __init__(self, connection: Connection, parts: Parts) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.connection = connection
        self.parts = parts
        self.now = parts.clock.now()
        self.issuer_parameter = _Issuer(parts.bearers.issuer)
        self.register_extension(self.issuer_parameter)
        self.register_client_auth_method("private_key_jwt", self._by_private_key)

    def query_client(self, client_id: str) -> AssistantClient | MachineAsClient | None:
        return find_client(self.connection, client_id)

    def generate_token(self, *, client: Any, **wanted: Any) -> dict[str, Any]:
        """RFC 6749 5.1. `user` is the consent (assistants) or nobody (machines)."""
        consent = wanted.get("user")
        if isinstance(consent, consents.Consent):
            return self._for_assistant(consent, wanted)
        machine = client.machine
        scopes = frozenset(wanted["scope"].split()) if wanted.get("scope") else machine.scopes
        bearer = Bearer(
            kind=machine.kind,
            client_id=machine.client_id,
            audience=self.parts.bearers.issuer,
            scopes=scopes,
            tenant_id=machine.tenant_id,
        )
        return self.answer_with(bearer, TTL_SECONDS)

    def answer_with(self, bearer: Bearer, ttl_seconds: int) -> dict[str, Any]:
        return {
            "access_token": self.parts.bearers.mint(bearer, ttl_seconds=ttl_seconds),
            "token_type": "Bearer",
            "expires_in": ttl_seconds,
            "scope": " ".join(sorted(bearer.scopes)),
        }

    def save_token(self, token: Mapping[str, Any], request: Request) -> None:
        """Bearers are not stored; of a refresh bearer, the hash is."""
        if "refresh_token" in token:
            consents.save_refresh(self.connection, token["refresh_token"], request.user, self.now)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Authlib announces its steps; nobody listens here."""

    def create_oauth2_request(self, request: Request) -> Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        return Answer(status, body, dict(headers))

    def error_answer(self, request: Request, error: Any) -> Answer:
        """An error of the authorization endpoint; sent to the client only if Authlib found its redirect URI sound."""
        answer: Answer = self.handle_error_response(request, error)
        self.issuer_parameter.add_issuer_parameter(self, answer)
        return answer

    def _for_assistant(self, consent: consents.Consent, wanted: Mapping[str, Any]) -> dict[str, Any]:
        bearer = Bearer(
            kind=CallerKind.ASSISTANT,
            client_id=consent.client_id,
            audience=consent.resource_url,
            scopes=frozenset(wanted["scope"].split()),
            subject_id=consent.subject_id,
            tenant_id=consent.tenant_id,
            brand_id=consent.brand_id,
            conversation_id=consent.conversation_id,
        )
        answer = self.answer_with(bearer, TTL_SECONDS)
        if wanted["include_refresh_token"]:
            answer["refresh_token"] = handles.new_handle(consent.tenant_id)
        return answer

    def _by_private_key(self, _query_client: Any, request: Request) -> MachineAsClient | None:
        form = request.form
        if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
            return None
        issuer = self.parts.bearers.issuer
        rules = AssertionRules(audiences=(issuer, self.parts.token_url), now=self.now)
        try:
            machine = check_assertion(self.connection, form["client_assertion"], rules)
        except AssertionRefused:
            raise InvalidClientError(description="The client was not authenticated.") from None
        if not secrets.compare_digest(form.get("client_id", machine.client_id), machine.client_id):
            raise InvalidClientError(description="The client was not authenticated.")
        return MachineAsClient(machine)


def read_parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Each parameter once (RFC 6749 3.1), printable ASCII, and without what may not stand in an error's text.

    Raises InvalidRequestError.
    """
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name in parameters:
            raise InvalidRequestError("A parameter is given twice.")
        if len(value) > VALUE_LENGTH_MAX or not value.isascii() or not value.isprintable():
            raise InvalidRequestError("A parameter has characters or a length that are not allowed.")
        if name != "state" and ('"' in value or "\\" in value):
            raise InvalidRequestError("A parameter has characters that are not allowed.")
        if value:
            parameters[name] = value
    return parameters
