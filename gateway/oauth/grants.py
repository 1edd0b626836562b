"""The four grants: Authlib's own with our storage behind them, and token exchange (RFC 8693), which it leaves to us."""

import hmac
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, OAuth2Error, UnauthorizedClientError
from authlib.oauth2.rfc6749 import grants as authlib_grants
from authlib.oauth2.rfc6749.grants.base import BaseGrant, TokenEndpointMixin
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from sqlalchemy import Connection, RowMapping, text

from gateway.bearers import EXCHANGED_TTL_SECONDS, LENGTH_MAX, Bearer, BearerRefused
from gateway.oauth import consents, handles
from gateway.oauth.clients import TOKEN_EXCHANGE
from gateway.oauth.server import Parts, Request, Server
from gateway.oauth.step_up import wanted_level
from infra.chassis.compact import NotCompact, read_compact

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type (RFC 8693 section 3)


class TargetRefused(OAuth2Error):  # type: ignore[misc]  # authlib has no types
    """RFC 8707 section 2: no such resource, or another than the one consented to."""

    error = "invalid_target"
    description = "The resource is missing or is not the endpoint of a brand here."


def _matches_s256(verifier: str, challenge: str) -> bool:
    return hmac.compare_digest(create_s256_code_challenge(verifier), challenge)


class _S256(CodeChallenge):  # type: ignore[misc]  # authlib has no types
    """RFC 7636 with one method, and required: of a request without a challenge Authlib thinks nothing."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {"S256": _matches_s256}  # noqa: RUF012 - Authlib's name and type

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("A 'code_challenge' with method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class _KnownResource:
    """RFC 8707: the resource is required and is a brand's endpoint; the same one again at the token endpoint.

    And what nobody could reach at that brand is refused before a person is bothered with it.
    """

    def __call__(self, grant: Any) -> None:
        grant.register_hook("after_validate_authorization_request_payload", self.find_brand)
        grant.register_hook("after_validate_token_request", self.check_same)

    def find_brand(self, grant: Any, _redirect_uri: str) -> None:
        resource = grant.request.payload.data.get("resource")
        brand = find_brand(grant.server.connection, resource) if resource else None
        if brand is None:
            raise TargetRefused
        grant.request.brand = brand
        grant.request.level = wanted_level(grant.request.payload.data, lambda: _can_be_strong(grant.server, brand))

    def check_same(self, grant: Any, _result: Any) -> None:
        _check_same_resource(grant.request, grant.request.authorization_code.consent)


class CodeGrant(authlib_grants.AuthorizationCodeGrant):  # type: ignore[misc]  # authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    server: Server

    def generate_authorization_code(self) -> str:
        return handles.new_handle(self.request.user.tenant_id)

    def save_authorization_code(self, code: str, request: Request) -> None:
        consents.save_code(self.server.connection, code, request.user, request.payload.data, self.server.now)

    def query_authorization_code(self, code: str, client: Any) -> consents.Credential | None:
        return consents.live_code(self.server.connection, code, client.client_id, self.server.now)

    def delete_authorization_code(self, authorization_code: consents.Credential) -> None:
        consents.use_code(self.server.connection, authorization_code, self.server.now)

    def authenticate_user(self, authorization_code: consents.Credential) -> consents.Consent:
        return authorization_code.consent


class RefreshGrant(authlib_grants.RefreshTokenGrant):  # type: ignore[misc]  # authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: Server

    def authenticate_refresh_token(self, refresh_token: str) -> consents.Credential | None:
        found = consents.live_refresh(
            self.server.connection, refresh_token, self.request.client.client_id, self.server.now
        )
        if found is not None:
            _check_same_resource(self.request, found.consent)
        return found

    def authenticate_user(self, refresh_token: consents.Credential) -> consents.Consent:
        return refresh_token.consent

    def revoke_old_credential(self, refresh_token: consents.Credential) -> None:
        consents.use_refresh(self.server.connection, refresh_token, self.server.now)


class MachineGrant(authlib_grants.ClientCredentialsGrant):  # type: ignore[misc]  # authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)

    def validate_requested_scope(self) -> None:
        asked = self.request.payload.scope
        if asked and not self.request.client.machine.scopes.issuperset(asked.split()):
            raise InvalidScopeError


class ExchangeGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]  # authlib has no types
    """RFC 8693: an mcp_server turns an assistant's bearer for a brand's endpoint into one for the gateway.

    The subject stays, the actor is named in `act`, the scope can only shrink, and the consent must still stand: so
    a revoked assistant is out at its next call, whatever its bearer says.
    """

    GRANT_TYPE = TOKEN_EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)
    server: Server

    def validate_token_request(self) -> None:
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError("The client may not exchange bearers.")
        self.request.client = client
        form = self.request.form
        if form.get("subject_token_type") != ACCESS_TOKEN or "actor_token" in form:
            raise InvalidRequestError("Only a 'subject_token' of type access_token can be exchanged.")
        if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise InvalidRequestError("Only an access_token can be asked for.")
        if form.get("audience", self.server.parts.bearers.issuer) != self.server.parts.bearers.issuer:
            raise TargetRefused
        self.request.credential = self._subject_bearer(form.get("subject_token", ""))

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        bearer: Bearer = self.request.credential
        left = int((_end_of(bearer) - self.server.now).total_seconds())
        answer = self.server.answer_with(self._exchanged(bearer), min(EXCHANGED_TTL_SECONDS, left))
        return 200, answer | {"issued_token_type": ACCESS_TOKEN}, self.TOKEN_RESPONSE_HEADER

    def _subject_bearer(self, compact: str) -> Bearer:
        """The bearer, if it is for the endpoint of a brand this mcp_server serves and its consent still stands."""
        brand = find_brand(self.server.connection, _claimed_audience(compact))
        if brand is None or brand["brand_id"] not in self.request.client.machine.brand_ids:
            raise InvalidRequestError("The 'subject_token' cannot be exchanged.")
        try:
            bearer = self.server.parts.bearers.check(compact, audience=brand["resource_url"])
        except BearerRefused:
            raise InvalidRequestError("The 'subject_token' cannot be exchanged.") from None
        consent = consents.live_consent(
            self.server.connection, brand["tenant_id"], bearer.conversation_id or "", self.server.now
        )
        if consent is None or (consent.client_id, consent.subject_id) != (bearer.client_id, bearer.subject_id):
            raise InvalidRequestError("The 'subject_token' cannot be exchanged.")
        return bearer

    def _exchanged(self, bearer: Bearer) -> Bearer:
        asked = self.request.payload.scope
        scopes = frozenset(asked.split()) if asked else bearer.scopes
        if not bearer.scopes.issuperset(scopes):
            raise InvalidScopeError
        return Bearer(
            kind=bearer.kind,
            client_id=bearer.client_id,
            audience=self.server.parts.bearers.issuer,
            scopes=scopes,
            subject_id=bearer.subject_id,
            tenant_id=bearer.tenant_id,
            brand_id=bearer.brand_id,
            conversation_id=bearer.conversation_id,
            act_client_id=self.request.client.client_id,
        )


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # authlib has no types
    """RFC 7009: either half of a pair ends the whole consent. Unknown values are answered like revoked ones."""

    CLIENT_AUTH_METHODS = ("none",)
    server: Server

    def query_token(self, token_string: str, _token_type_hint: str | None) -> consents.Credential | None:
        consent = consents.find_refresh(self.server.connection, token_string) or self._of_bearer(token_string)
        return None if consent is None else consents.Credential(consent=consent, sha256=b"")

    def revoke_token(self, token: consents.Credential, _request: Request) -> None:
        held = token.consent
        consents.revoke(
            self.server.connection, held.tenant_id, held.consent_id, because="client_asked", now=self.server.now
        )

    def _of_bearer(self, compact: str) -> consents.Consent | None:
        brand = find_brand(self.server.connection, _claimed_audience(compact))
        if brand is None:
            return None
        try:
            bearer = self.server.parts.bearers.check(compact, audience=brand["resource_url"])
        except BearerRefused:
            return None
        return consents.live_consent(
            self.server.connection, brand["tenant_id"], bearer.conversation_id or "", self.server.now
        )


def server_for(connection: Connection, parts: Parts) -> Server:
    """Bound to this transaction, with everything this authorization server can do."""
    server = Server(connection, parts)
    server.register_grant(CodeGrant, [_S256(required=True), _KnownResource()])
    server.register_grant(RefreshGrant)
    server.register_grant(MachineGrant)
    server.register_grant(ExchangeGrant)
    server.register_endpoint(Revocation)
    return server


def find_brand(connection: Connection, resource_url: str) -> RowMapping | None:
    """From the directory, which has no wall: the tenant is not known yet. Exact comparison."""
    return connection.execute(_BRAND_BY_RESOURCE, {"resource_url": resource_url}).mappings().one_or_none()


def _can_be_strong(server: Server, brand: RowMapping) -> bool:
    """Whether anybody could: by a passkey, for which this house needs a host name, or on the phone."""
    if server.parts.passkeys_possible:
        return True
    consents.enter(server.connection, brand["tenant_id"])
    row = {"tenant_id": brand["tenant_id"], "brand_id": brand["brand_id"]}
    return bool(server.connection.execute(_ASKS_PHONES, row).scalar_one())


def _claimed_audience(compact: str) -> str:
    """Whom the bearer says it is for; nothing is believed yet."""
    try:
        _header, claims = read_compact(compact, length_max=LENGTH_MAX)
    except NotCompact:
        return ""
    audience = claims.get("aud")
    return audience if isinstance(audience, str) and audience.isascii() and audience.isprintable() else ""


def _check_same_resource(request: Request, consent: consents.Consent) -> None:
    resource = request.payload.data.get("resource")
    if resource is not None and resource != consent.resource_url:
        raise TargetRefused


def _end_of(bearer: Bearer) -> Any:
    return bearer.expires_at


_ASKS_PHONES = text(
    "SELECT EXISTS (SELECT FROM openid_providers WHERE tenant_id = :tenant_id AND brand_id = :brand_id"
    " AND withdrawn_at IS NULL AND phone_approval)"
)
_BRAND_BY_RESOURCE = text(
    "SELECT brand_id, tenant_id, name, resource_url FROM brand_directory WHERE resource_url = :resource_url"
)
