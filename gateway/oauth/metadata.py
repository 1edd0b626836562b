"""What clients discover: RFC 8414 metadata."""

from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from gateway.oauth.assertions import ALGORITHMS
from gateway.oauth.clients import TOKEN_EXCHANGE
from gateway.oauth.scopes import SCOPES
from gateway.oauth.step_up import REACHED

WELL_KNOWN = "/.well-known/oauth-authorization-server"


def describe(issuer: str) -> dict[str, Any]:
    """The document, checked against RFC 8414. Raises ValueError, so that a process with a bad issuer does not start."""
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "registration_endpoint": f"{issuer}/oauth/register",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", TOKEN_EXCHANGE],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": sorted(ALGORITHMS.values()),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": list(REACHED),
        "authorization_response_iss_parameter_supported": True,
    }
    AuthorizationServerMetadata(document).validate()
    return document


def well_known_paths(issuer: str) -> list[str]:
    """RFC 8414 3.1: the issuer's path follows the well-known name. Without it too, for clients that drop it."""
    path = urlsplit(issuer).path.rstrip("/")
    return [WELL_KNOWN, WELL_KNOWN + path] if path else [WELL_KNOWN]
