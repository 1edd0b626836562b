"""What providers publish: their endpoints (OpenID Connect Discovery 1.0) and their keys (RFC 7517), cached per process.

Fetched when first needed, refreshed by a background task, and once more for a key id that is not known, at most once a
minute: whoever sends made-up key ids cannot make us hammer a provider.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.errors import ProviderUnusable
from gateway.factors.id_tokens import KEY_TYPES, IdTokenRefused
from infra.chassis import logs, strict_json
from infra.chassis.client import Answer, AnswerLost, PeerClient
from infra.chassis.clock import Clock
from infra.chassis.problems import Problem

REFRESH_AFTER: Final = timedelta(minutes=10)
UNKNOWN_KEY_EVERY: Final = timedelta(minutes=1)
KEPT_MAX: Final = timedelta(hours=24)
"""A provider that cannot be reached for longer is not believed by its old keys."""
KEYS_MAX: Final = 50
ROUND_SECONDS: Final = 60
PROVIDER: Final = "provider"
OK: Final = 200
log = logs.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    backchannel_endpoint: str | None
    names_issuer: bool
    """RFC 9207: its authorization responses carry `iss`."""
    keys: tuple[Mapping[str, Any], ...]
    fetched_at: datetime
    asked_at: datetime
    """When the keys were last asked for because of a key id that was not known."""


class Published:
    """`plain_http` lets issuers be http, which only a sandbox does."""

    def __init__(self, client: PeerClient, clock: Clock, *, plain_http: bool) -> None:
        self._client = client
        self._clock = clock
        self._plain_http = plain_http
        self._known: dict[str, Metadata] = {}
        self._fetching: dict[str, asyncio.Lock] = {}

    async def of(self, issuer: str) -> Metadata:
        """Raises PeerUnreachable (nobody answers), ProviderUnusable (what it answers cannot be used)."""
        known = self._known.get(issuer)
        if known is not None and self._clock.now() - known.fetched_at < KEPT_MAX:
            return known
        async with self._fetching.setdefault(issuer, asyncio.Lock()):
            known = self._known.get(issuer)
            if known is None or self._clock.now() - known.fetched_at >= KEPT_MAX:
                known = self._known[issuer] = await self._fetched(issuer)
        return known

    async def key(self, issuer: str, key_id: str | None, algorithm: str) -> Mapping[str, Any]:
        """The one key that may have signed. Raises IdTokenRefused when there is none, and as `of` does."""
        found = _key_in(await self.of(issuer), key_id, algorithm)
        if found is None:
            found = _key_in(await self._refreshed_keys(issuer), key_id, algorithm)
        if found is None:
            raise IdTokenRefused("no such key")
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what is known fresh until `stop`; what cannot be fetched stays as it was."""
        while not stop.is_set():
            await self.refresh()
            try:
                await asyncio.wait_for(stop.wait(), ROUND_SECONDS)
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        now = self._clock.now()
        for issuer in [name for name, known in self._known.items() if now - known.fetched_at >= REFRESH_AFTER]:
            try:
                self._known[issuer] = await self._fetched(issuer)
            except Problem as problem:
                log.warning("provider_not_refreshed", issuer=issuer, code=problem.code)

    async def _refreshed_keys(self, issuer: str) -> Metadata:
        """The keys once more, unless that was tried within the last minute."""
        async with self._fetching.setdefault(issuer, asyncio.Lock()):
            known = self._known[issuer]
            now = self._clock.now()
            if now - known.asked_at < UNKNOWN_KEY_EVERY:
                return known
            self._known[issuer] = dataclasses.replace(known, asked_at=now)
            keys = await self._keys(known.jwks_uri)
            self._known[issuer] = dataclasses.replace(known, asked_at=now, keys=keys)
            return self._known[issuer]

    async def _fetched(self, issuer: str) -> Metadata:
        self._require_safe(issuer)
        document = await self._document(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            log.warning("provider_contradicts_itself", issuer=issuer)
            raise ProviderUnusable
        backchannel = document.get("backchannel_authentication_endpoint")
        now = self._clock.now()
        jwks_uri = self._endpoint(document, "jwks_uri")
        return Metadata(
            issuer=issuer,
            authorization_endpoint=self._endpoint(document, "authorization_endpoint"),
            token_endpoint=self._endpoint(document, "token_endpoint"),
            jwks_uri=jwks_uri,
            backchannel_endpoint=None if backchannel is None else self._require_safe(backchannel),
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            keys=await self._keys(jwks_uri),
            fetched_at=now,
            asked_at=now - UNKNOWN_KEY_EVERY,
        )

    async def _keys(self, jwks_uri: str) -> tuple[Mapping[str, Any], ...]:
        keys = (await self._document(jwks_uri)).get("keys")
        if not isinstance(keys, list) or len(keys) > KEYS_MAX:
            raise ProviderUnusable
        return tuple(key for key in keys if isinstance(key, dict))

    async def _document(self, url: str) -> Mapping[str, Any]:
        answer = await self._client.request("GET", url, headers={"Accept": "application/json"})
        return document_of(answer)

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        return self._require_safe(document.get(name))

    def _require_safe(self, url: object) -> str:
        if isinstance(url, str) and url.startswith(("https://", "http://") if self._plain_http else "https://"):
            return url
        log.warning("provider_not_https")
        raise ProviderUnusable


def document_of(answer: Answer) -> Mapping[str, Any]:
    """A provider's JSON object. Raises AnswerLost for its 5xx and 429, ProviderUnusable for what is no answer."""
    if answer.status >= 500 or answer.status == 429:  # noqa: PLR2004 - the server's fault, or too many requests
        raise AnswerLost(PROVIDER)
    try:
        document = strict_json.decode(answer.body, floats=True)
    except strict_json.NotStrictJson:
        raise ProviderUnusable from None
    if answer.status != OK or not isinstance(document, dict):
        raise ProviderUnusable
    return document


def _key_in(metadata: Metadata, key_id: str | None, algorithm: str) -> Mapping[str, Any] | None:
    """By `kid`; without one in the token, only where a single key fits (section 10.1 of OpenID Connect Core 1.0)."""
    fitting = [
        key
        for key in metadata.keys
        if key.get("kty") == KEY_TYPES[algorithm]
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and (key_id is None or key.get("kid") == key_id)
    ]
    return fitting[0] if len(fitting) == 1 else None
