"""OAuth clients as Authlib wants to ask them: registered assistants (public) and machines (by key)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from gateway.bearers import CallerKind
from gateway.oauth import redirects
from gateway.oauth.machines import MACHINE_BY_ID, MachineClient, machine_of
from gateway.oauth.scopes import SCOPES

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant (RFC 8693)
ASSISTANT_PREFIX = "ast_"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantClient:
    """Authlib's `ClientMixin` in shape. Everything but the id and the redirect URIs is self-declared."""

    client_id: str
    client_name: str
    redirect_uris: tuple[str, ...]
    refreshes: bool

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: an authorization request names its redirect URI (OAuth 2.1)."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """What it asks for, or everything: anyone may register for anything, so the person's answer is the limit."""
        return scope or " ".join(SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return any(redirects.matches(redirect_uri, known) for known in self.redirect_uris)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none" and endpoint in {"token", "revocation"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code" or (grant_type == "refresh_token" and self.refreshes)


@dataclass(frozen=True, slots=True)
class MachineAsClient:
    """A machine as Authlib asks clients: it has a key, no redirect URI, and never a public way in."""

    machine: MachineClient

    @property
    def client_id(self) -> str:
        return self.machine.client_id

    def get_client_id(self) -> str:
        return self.machine.client_id

    def get_default_redirect_uri(self) -> None:
        """None: nobody's browser is ever sent to a machine."""

    def get_allowed_scope(self, _scope: str | None) -> str:
        return ""

    def check_redirect_uri(self, _redirect_uri: str) -> bool:
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "private_key_jwt" and endpoint == "token"

    def check_response_type(self, _response_type: str) -> bool:
        return False

    def check_grant_type(self, grant_type: str) -> bool:
        if grant_type == TOKEN_EXCHANGE:
            return self.machine.kind is CallerKind.MCP_SERVER and "exchange" in self.machine.scopes
        return grant_type == "client_credentials"


def find_client(connection: Connection, client_id: str) -> AssistantClient | MachineAsClient | None:
    if client_id.startswith(ASSISTANT_PREFIX):
        row = connection.execute(_ASSISTANT_BY_ID, {"client_id": client_id}).mappings().one_or_none()
        return None if row is None else _assistant_of(dict(row))
    row = connection.execute(MACHINE_BY_ID, {"client_id": client_id}).mappings().one_or_none()
    return None if row is None else MachineAsClient(machine_of(row))


def _assistant_of(row: Mapping[str, Any]) -> AssistantClient:
    return AssistantClient(
        client_id=row["client_id"],
        client_name=row["client_name"],
        redirect_uris=tuple(row["redirect_uris"]),
        refreshes=row["refreshes"],
    )


_ASSISTANT_BY_ID = text(
    "SELECT client_id, client_name, redirect_uris, refreshes FROM assistant_clients WHERE client_id = :client_id"
)
