"""One issuer of the provider: who is signing in, which codes are out, which approvals a telephone is asked for.

All of it is in memory and ends with the process, the keys too: to those who ask, a restart is a key rotation. What must
not change does not: a person's `sub` follows from realm and e-mail address.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.sandbox.openid.registered import Client, ClientRegister, read_clients
from infra.sandbox.openid.tokens import LIFETIME_SECONDS, TOKEN_FAULTS, Signer, half_hash, spoiled

CODE_SECONDS = 60
APPROVAL_SECONDS = 120
INTERVAL_SECONDS = 5
SLOWER_SECONDS = 5  # CIBA 11: at least five seconds more
CIBA_GRANT = "urn:openid:params:grant-type:ciba"
WAYS: Mapping[str, dict[str, Any]] = {
    "password": {"acr": "urn:sandbox:password", "amr": ["pwd"]},
    "two_factors": {"acr": "urn:sandbox:two-factors", "amr": ["pwd", "otp", "mfa"]},
    "unsaid": {},
}
"""How a person signs in here, and what the ID token then says of it."""
FAULTS = TOKEN_FAULTS | frozenset({
    "callback_other_issuer", "callback_no_issuer", "callback_other_state", "discovery_other_issuer",
    "unavailable", "slow_down", "replayed_auth_req_id", "long_expiry",
})  # fmt: skip


class OAuthRefusal(Exception):
    """RFC 6749 section 5.2: a JSON error with a status."""

    def __init__(self, error: str, status: int = 400) -> None:
        self.error = error
        self.status = status
        super().__init__(error)


@dataclass(slots=True)
class Code:
    client_id: str
    redirect_uri: str
    challenge: str
    claims: dict[str, Any]
    ends_at: float


@dataclass(slots=True)
class Approval:
    """One backchannel request. `answer` is None while the telephone waits."""

    auth_req_id: str
    client_id: str
    sub: str
    binding_message: str
    ends_at: float
    interval: int
    polled_at: float
    answer: bool | None = None
    spent: bool = False


@dataclass(slots=True)
class Realm:
    name: str
    issuer: str
    register: ClientRegister
    now: Callable[[], float]
    signer: Signer = field(default_factory=Signer)
    codes: dict[str, Code] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    polls: int = 0
    last_auth_req_id: str = ""

    def take_fault(self, *names: str) -> str | None:
        """The next ordered fault if it is one of these; it happens once."""
        if self.faults and self.faults[0] in names:
            return self.faults.pop(0)
        return None

    def sub_of(self, email: str) -> str:
        plain = email.strip().lower()
        sub = hashlib.sha256(f"{self.name} {plain}".encode()).hexdigest()[:24]
        self.emails[sub] = plain
        return sub

    def discovery(self) -> dict[str, Any]:
        other = self.take_fault("discovery_other_issuer")
        return {
            "issuer": "https://evil.example" if other else self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "backchannel_authentication_endpoint": f"{self.issuer}/bc-authorize",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
            "token_endpoint_auth_signing_alg_values_supported": ["EdDSA", "ES256", "RS256"],
            "grant_types_supported": ["authorization_code", CIBA_GRANT],
            "scopes_supported": ["openid", "email"],
            "claims_supported": ["sub", "iss", "acr", "amr", "auth_time", "email", "email_verified"],
            "acr_values_supported": [way["acr"] for way in WAYS.values() if way],
            "code_challenge_methods_supported": ["S256"],
            "backchannel_token_delivery_modes_supported": ["poll"],
            "authorization_response_iss_parameter_supported": True,
        }

    def client(self, client_id: str, redirect_uri: str) -> Client | None:
        client = self.register.clients.get(client_id)
        return client if client is not None and redirect_uri in client.redirect_uris else None

    def new_code(self, asked: Mapping[str, str], email: str, way: str) -> str:
        """The person signed in; what they asked to be told is in the code's ID token."""
        now = int(self.now())
        told = {"email": email.strip().lower(), "email_verified": True} if "email" in asked["scope"].split() else {}
        claims = {"sub": self.sub_of(email), "nonce": asked.get("nonce"), "auth_time": now, **WAYS[way], **told}
        code = secrets.token_urlsafe(24)
        self.codes[code] = Code(
            asked["client_id"], asked["redirect_uri"], asked["code_challenge"], claims, now + CODE_SECONDS
        )
        return code

    def redeem(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        code = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proof = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if code is None or code.ends_at <= self.now() or code.client_id != client.client_id:
            raise OAuthRefusal("invalid_grant")
        if code.redirect_uri != form.get("redirect_uri") or not hmac.compare_digest(proof, code.challenge):
            raise OAuthRefusal("invalid_grant")
        return self._tokens(client, code.claims)

    def ask_telephone(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        """CIBA 7.1 to 7.3; the hint is a `sub` of this realm or an e-mail address."""
        hint, message = form.get("login_hint", ""), form.get("binding_message", "")
        if "openid" not in form.get("scope", "").split() or not hint:
            raise OAuthRefusal("invalid_request")
        sub = self.sub_of(hint) if "@" in hint else hint
        if sub not in self.emails:
            raise OAuthRefusal("unknown_user_id")
        if not message.isascii() or len(message) > 64:  # noqa: PLR2004 - what fits a lock screen
            raise OAuthRefusal("invalid_binding_message")
        replayed = self.take_fault("replayed_auth_req_id")
        seconds = 86_400 if self.take_fault("long_expiry") else APPROVAL_SECONDS
        made = self.last_auth_req_id if replayed else secrets.token_urlsafe(24)
        self.last_auth_req_id = made
        now = self.now()
        self.approvals[made] = Approval(made, client.client_id, sub, message, now + seconds, INTERVAL_SECONDS, now)
        return {"auth_req_id": made, "expires_in": seconds, "interval": INTERVAL_SECONDS}

    def poll(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        """CIBA 10.1 and 11."""
        self.polls += 1
        approval, now = self.approvals.get(form.get("auth_req_id", "")), self.now()
        if approval is None or approval.client_id != client.client_id or approval.spent:
            raise OAuthRefusal("invalid_grant")
        if approval.ends_at <= now:
            raise OAuthRefusal("expired_token")
        too_soon = now < approval.polled_at + approval.interval - 0.5
        approval.polled_at = now
        if too_soon or self.take_fault("slow_down"):
            approval.interval += SLOWER_SECONDS
            raise OAuthRefusal("slow_down")
        if approval.answer is None:
            raise OAuthRefusal("authorization_pending")
        approval.spent = True
        if not approval.answer:
            raise OAuthRefusal("access_denied")
        return self._tokens(client, {"sub": approval.sub, "auth_time": int(now), **WAYS["two_factors"]})

    def answer(self, auth_req_id: str, *, approved: bool) -> bool:
        """What the person pressed on the telephone; False when there is nothing to answer (any more)."""
        approval = self.approvals.get(auth_req_id)
        if approval is None or approval.answer is not None or approval.ends_at <= self.now():
            return False
        approval.answer = approved
        return True

    def waiting(self, email: str = "") -> list[Approval]:
        """Unanswered requests, newest first, of one person or of all."""
        sub = self.sub_of(email) if email else None
        own = [one for one in self.approvals.values() if sub is None or one.sub == sub]
        return [one for one in reversed(own) if one.answer is None and one.ends_at > self.now()]

    def _tokens(self, client: Client, claims: dict[str, Any]) -> dict[str, Any]:
        access, now = secrets.token_urlsafe(24), int(self.now())
        whole = {
            "iss": self.issuer,
            "aud": client.client_id,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "at_hash": half_hash(access),
            **claims,
        }
        fault = self.take_fault(*TOKEN_FAULTS)
        token = self.signer.id_token(spoiled(whole, fault), client.id_token_signed_response_alg, fault)
        return {"access_token": access, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS, "id_token": token}


def realm_of(name: str, clients: Sequence[Client], url: str, now: Callable[[], float]) -> Realm:
    """`url` is the listener's; the issuer is below it. `now` gives Unix seconds."""
    issuer = f"{url}/openid/{name}"
    audiences = (issuer, f"{issuer}/token", f"{issuer}/bc-authorize")
    return Realm(name, issuer, ClientRegister({client.client_id: client for client in clients}, audiences), now)


def open_realms(clients: Path, url: str) -> dict[str, Realm]:
    """The realms of a file of registered clients. Raises ClientsUnusable."""
    return {name: realm_of(name, own, url, time.time) for name, own in read_clients(clients).items()}
