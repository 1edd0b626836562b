"""We as a relying party: what is sent to a provider's endpoints, and what of its answers is believed.

OpenID Connect Core 1.0 section 3.1 with PKCE (RFC 7636), and CIBA Core 1.0 in poll mode. No transaction is open here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from gateway.errors import ProviderUnusable
from gateway.factors import id_tokens
from gateway.factors.credentials import Credentials
from gateway.factors.id_tokens import Expected, Identified, IdTokenRefused
from gateway.factors.metadata import OK, PROVIDER, Published, document_of
from gateway.factors.providers import FirstLink, Provider
from infra.chassis import logs, strict_json
from infra.chassis.client import Answer, AnswerLost, PeerClient
from infra.chassis.clock import Clock

CIBA_GRANT: Final = "urn:openid:params:grant-type:ciba"
INTERVAL_SECONDS: Final = 5
"""CIBA Core 1.0 section 7.3, where the provider names none."""
EXPIRY_SECONDS_MAX: Final = 600
"""Whatever the provider says: nobody wants to approve something they asked for a quarter of an hour ago."""
AUTH_REQ_ID_MAX: Final = 2_048
FORM: Final = "application/x-www-form-urlencoded"
log = logs.get_logger()


class LoginRefused(Exception):
    """The provider's answer shows nobody; asking again from the start may. Why is in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The secrets of one browser's way to the provider and back. `state` is a handle; it names its tenant."""

    state: str
    nonce: str
    verifier: str
    challenge: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is now on somebody's phone."""

    auth_req_id: str
    expires_in: timedelta
    interval_seconds: int


class PollState(StrEnum):
    """RFC 6749 and CIBA Core 1.0 section 11, as far as they differ for us."""

    APPROVED = "approved"
    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    EXPIRED = "expired_token"
    REFUSED = "access_denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Polled:
    state: PollState
    identified: Identified | None = None


class RelyingParty:
    def __init__(self, client: PeerClient, published: Published, credentials: Credentials, clock: Clock) -> None:
        self._client = client
        self._published = published
        self._credentials = credentials
        self._clock = clock

    async def login_url(self, provider: Provider, flow: Flow, redirect_uri: str) -> str:
        """Where to send the browser. Raises PeerUnreachable, ProviderUnusable."""
        metadata = await self._published.of(provider.issuer)
        by_email = provider.first_link is FirstLink.VERIFIED_EMAIL
        query = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email" if by_email else "openid",
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
            "max_age": str(provider.max_age_seconds),
        }
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{joint}{urlencode(query)}"

    async def came_back(self, provider: Provider, named_issuer: str | None) -> None:
        """RFC 9207: whoever answered is whom we asked. Raises LoginRefused, PeerUnreachable, ProviderUnusable."""
        metadata = await self._published.of(provider.issuer)
        if named_issuer is None and not metadata.names_issuer:
            return
        if named_issuer != provider.issuer:
            log.warning("login_refused", issuer=provider.issuer, why="another issuer answered")
            raise LoginRefused

    async def redeem(self, provider: Provider, flow: Flow, code: str, redirect_uri: str) -> Identified:
        """Who logged in. Raises LoginRefused, PeerUnreachable, ProviderUnusable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": flow.verifier,
        }
        answer = await self._post(provider, (await self._published.of(provider.issuer)).token_endpoint, form)
        error = _error_of(answer)
        if error is not None:
            log.warning("login_refused", issuer=provider.issuer, why="no token for the code")
            if error == "invalid_client":
                raise ProviderUnusable
            raise LoginRefused
        try:
            return await self._identified(
                provider,
                document_of(answer),
                nonce=flow.nonce,
                issued_after=flow.asked_at,
                max_age=timedelta(seconds=provider.max_age_seconds),
            )
        except IdTokenRefused as refusal:
            log.warning("login_refused", issuer=provider.issuer, why=str(refusal))
            raise LoginRefused from None

    async def ask_phone(self, provider: Provider, *, login_hint: str, binding_message: str, seconds: int) -> Asked:
        """CIBA Core 1.0 section 7.1. Raises LoginRefused when the provider will not ask this person, and as above."""
        metadata = await self._published.of(provider.issuer)
        if metadata.backchannel_endpoint is None:
            raise ProviderUnusable
        form = {
            "scope": "openid",
            "login_hint": login_hint,
            "binding_message": binding_message,
            "requested_expiry": str(seconds),
        }
        answer = await self._post(provider, metadata.backchannel_endpoint, form)
        error = _error_of(answer)
        if error is not None:
            log.warning("phone_not_asked", issuer=provider.issuer, error=error)
            raise ProviderUnusable if error == "invalid_client" else LoginRefused
        return _asked(document_of(answer), seconds)

    async def poll(self, provider: Provider, auth_req_id: str, asked_at: datetime) -> Polled:
        """CIBA Core 1.0 section 10.1. Raises PeerUnreachable, ProviderUnusable; the request is then still out."""
        metadata = await self._published.of(provider.issuer)
        form = {"grant_type": CIBA_GRANT, "auth_req_id": auth_req_id}
        answer = await self._post(provider, metadata.token_endpoint, form)
        error = _error_of(answer)
        if error is not None:
            known = error in PollState.__members__.values() and error != PollState.APPROVED
            return Polled(PollState(error) if known else PollState.FAILED)
        try:
            identified = await self._identified(
                provider, document_of(answer), nonce=None, issued_after=asked_at, max_age=None
            )
        except IdTokenRefused as refusal:
            log.warning("approval_refused", issuer=provider.issuer, why=str(refusal))
            return Polled(PollState.FAILED)
        if identified.auth_req_id not in {None, auth_req_id}:
            return Polled(PollState.FAILED)
        return Polled(PollState.APPROVED, identified)

    async def _identified(
        self,
        provider: Provider,
        document: Mapping[str, Any],
        *,
        nonce: str | None,
        issued_after: datetime,
        max_age: timedelta | None,
    ) -> Identified:
        compact, access = document.get("id_token"), document.get("access_token")
        if not isinstance(compact, str):
            raise IdTokenRefused("no ID token")
        key_id = id_tokens.key_id_of(compact, provider.signing_alg)
        jwk = await self._published.key(provider.issuer, key_id, provider.signing_alg)
        expected = Expected(
            issuer=provider.issuer,
            client_id=provider.client_id,
            algorithm=provider.signing_alg,
            nonce=nonce,
            issued_after=issued_after,
            max_age=max_age,
            access_token=access if isinstance(access, str) else None,
        )
        return id_tokens.checked(compact, jwk, expected, self._clock.now())

    async def _post(self, provider: Provider, url: str, form: Mapping[str, str]) -> Answer:
        proof = self._credentials.proof(provider, provider.issuer, self._clock.now())
        return await self._client.request(
            "POST",
            url,
            content=urlencode({"client_id": provider.client_id, **form, **proof.fields}).encode(),
            content_type=FORM,
            headers={"Accept": "application/json", **proof.headers},
        )


def _error_of(answer: Answer) -> str | None:
    """The OAuth error code of a refusal; None for success. Raises AnswerLost for 5xx and 429."""
    if answer.status == OK:
        return None
    if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004 - the server's fault, or too many requests
        raise AnswerLost(PROVIDER)
    try:
        document = strict_json.decode(answer.body, floats=True)
    except strict_json.NotStrictJson:
        return "not_an_error"
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) and error.isascii() and len(error) < 64 else "not_an_error"  # noqa: PLR2004 - longer than any registered error


def _asked(document: Mapping[str, Any], seconds: int) -> Asked:
    auth_req_id, expires, interval = (document.get(name) for name in ("auth_req_id", "expires_in", "interval"))
    if not isinstance(auth_req_id, str) or not 0 < len(auth_req_id) <= AUTH_REQ_ID_MAX:
        raise ProviderUnusable
    lasting = min(expires, EXPIRY_SECONDS_MAX) if type(expires) is int and expires > 0 else seconds
    every = interval if type(interval) is int and interval > 0 else INTERVAL_SECONDS
    if every > lasting:
        raise ProviderUnusable
    return Asked(auth_req_id, timedelta(seconds=lasting), every)
