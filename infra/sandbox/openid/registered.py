"""Clients as they are registered at the provider: OpenID Connect Dynamic Client Registration 1.0, section 2."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote_plus

import jwt
import msgspec

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_ALGORITHMS = ("EdDSA", "ES256", "RS256")
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,60}\Z")]


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`public_jwk` for private_key_jwt, `client_secret` for client_secret_basic; exactly one of them."""

    client_id: str
    redirect_uris: list[str]
    public_jwk: dict[str, str] | None = None
    client_secret: str | None = None
    id_token_signed_response_alg: str = "RS256"  # noqa: S105 - an algorithm


class ClientsUnusable(Exception):
    """The file of registered clients is not one."""


def read_clients(path: Path) -> dict[str, list[Client]]:
    """Realm → its clients. Raises ClientsUnusable."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[Slug, list[Client]])
    except (OSError, msgspec.MsgspecError) as problem:
        raise ClientsUnusable(f"the file of OpenID clients cannot be used ({type(problem).__name__})") from None
    if any((client.public_jwk is None) == (client.client_secret is None) for own in found.values() for client in own):
        raise ClientsUnusable("an OpenID client has either a public_jwk or a client_secret")
    return found


class ClientRefused(Exception):
    """`invalid_client` of RFC 6749 section 5.2."""


@dataclass(slots=True)
class ClientRegister:
    """Who may ask this realm. `now` gives Unix seconds; assertions are good once."""

    clients: Mapping[str, Client]
    audiences: tuple[str, ...]
    spent: dict[str, float] = field(default_factory=dict)

    def authenticated(self, form: Mapping[str, str], authorization: str | None, now: float) -> Client:
        """Raises ClientRefused."""
        if form.get("client_assertion_type") == ASSERTION_TYPE:
            return self._by_assertion(form.get("client_assertion", ""), now)
        return self._by_secret(authorization or "")

    def _by_assertion(self, assertion: str, now: float) -> Client:
        try:
            claimed = jwt.decode(assertion, options={"verify_signature": False})
            client = self.clients[str(claimed.get("iss"))]
            if client.public_jwk is None:
                raise ClientRefused
            key = jwt.PyJWK(client.public_jwk)
            claims: dict[str, Any] = jwt.decode(
                assertion,
                key,
                algorithms=[name for name in ASSERTION_ALGORITHMS if name == key.algorithm_name],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "require": ["exp", "jti"]},
            )
        except (jwt.PyJWTError, KeyError):
            raise ClientRefused from None
        wanted = (claims.get("sub") == client.client_id, claims.get("aud") in self.audiences, claims["exp"] > now)
        if not all(wanted) or claims["jti"] in self.spent:
            raise ClientRefused
        self.spent[claims["jti"]] = now
        return client

    def _by_secret(self, authorization: str) -> Client:
        scheme, _, encoded = authorization.partition(" ")
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            client = self.clients[unquote_plus(name)]
        except (ValueError, KeyError):
            raise ClientRefused from None
        right = hmac.compare_digest(unquote_plus(secret).encode(), (client.client_secret or "").encode())
        if scheme.lower() != "basic" or client.client_secret is None or not right:
            raise ClientRefused
        return client
