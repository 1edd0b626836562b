"""Asking a person to prove who they are elsewhere: `POST …/challenges` by link or by phone, and how it stands."""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.browser.cookies import digest
from gateway.callers import Caller
from gateway.confirmations import confirmable
from gateway.contract import ChallengeMethod, ChallengeRequest, ChallengeState, ChallengeView, Confirm, ConfirmPurchase
from gateway.conversations import own_conversation
from gateway.errors import MethodUnavailable
from gateway.factors import store
from gateway.factors.phone import Phones
from gateway.factors.providers import Provider, provider_of
from gateway.factors.store import Challenge
from gateway.facts import ConversationFacts
from gateway.oauth import handles
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import CardNumberRefused, FieldsInvalid, NotFound
from infra.chassis.screen import find_card_number

LINK_TTL: Final = timedelta(minutes=10)
"""As a one-time code: long enough to find one's phone, short enough to remember having asked."""
PHONE_TTL: Final = timedelta(minutes=5)
MATCH_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Nothing that is read as something else, no I, L, O, U."""
MATCH_LENGTH: Final = 4
ELSEWHERE: Final = frozenset({ChallengeMethod.OPENID_LOGIN, ChallengeMethod.PASSKEY, ChallengeMethod.PHONE_APPROVAL})
"""Methods that are answered elsewhere than in the conversation."""


class Asking:
    """`passkeys_possible`: browsers know passkeys only for a host name, not for an address."""

    def __init__(
        self, engine: AsyncEngine, phones: Phones, clock: Clock, *, public_url: str, passkeys_possible: bool
    ) -> None:
        self._engine = engine
        self._phones = phones
        self._clock = clock
        self._public_url = public_url
        self._passkeys_possible = passkeys_possible

    async def begin(self, conversation_id: str, request: ChallengeRequest, caller: Caller) -> ChallengeView:
        """Raises NotFound, MethodUnavailable, TooManyChallenges, FieldsInvalid; by phone what Phones.ask raises."""
        if request.confirm is not None and request.method is not ChallengeMethod.PASSKEY:
            raise FieldsInvalid(fields=["confirm"])
        if request.contact_point is not None:
            raise FieldsInvalid(fields=["contact_point"])
        now, link = self._clock.now(), handles.new_handle(caller.tenant_id)
        by_phone = request.method is ChallengeMethod.PHONE_APPROVAL
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            facts = await own_conversation(tx, caller, conversation_id)
            provider = await provider_of(tx, caller.tenant_id, facts.brand_id)
            self._require_possible(request.method, provider)
            challenge = new_challenge(facts, caller.client_id, request.method, now)
            if request.confirm is not None:
                challenge = await confirming(tx, challenge, request.confirm, facts)
            if by_phone and provider is not None:
                challenge = await for_phone(tx, challenge, provider, facts.person(now))
            await store.add(tx, challenge, None if by_phone else digest(link))
        if by_phone and provider is not None:
            return self._view(await self._phones.ask(challenge, provider), now)
        return self._view(challenge, now, url=f"{self._public_url}/factors/{link}")

    async def read(self, challenge_id: str, caller: Caller) -> ChallengeView:
        """How it stands; asks the provider when that is due. Raises NotFound, PeerUnreachable, ProviderUnusable."""
        async with tenant_transaction(self._engine, caller.tenant_id) as tx:
            challenge = await store.by_id(tx, caller.tenant_id, challenge_id)
            if challenge is None:
                raise NotFound
            await own_conversation(tx, caller, challenge.conversation_id)
            provider = await provider_of(tx, caller.tenant_id, challenge.brand_id)
        if challenge.method is ChallengeMethod.PHONE_APPROVAL and challenge.open_at(self._clock.now()):
            challenge = await self._phones.look(challenge, provider)
        return self._view(challenge, self._clock.now())

    def _require_possible(self, method: ChallengeMethod, provider: Provider | None) -> None:
        if method is ChallengeMethod.PASSKEY:
            possible = self._passkeys_possible
        else:
            possible = provider is not None and (method is ChallengeMethod.OPENID_LOGIN or provider.phone_approval)
        if not possible:
            raise MethodUnavailable

    def _view(self, challenge: Challenge, now: datetime, *, url: str | None = None) -> ChallengeView:
        state = challenge.state_at(now)
        waiting = state is ChallengeState.PENDING
        return ChallengeView(
            challenge_id=challenge.challenge_id,
            method=challenge.method,
            expires_at=challenge.expires_at,
            state=state,
            url=url,
            match_code=challenge.match_code,
            poll_after_seconds=(challenge.interval_seconds or store.LOOK_SECONDS) if waiting else None,
        )


def new_challenge(facts: ConversationFacts, client_id: str, method: ChallengeMethod, now: datetime) -> Challenge:
    return Challenge(
        tenant_id=facts.tenant_id,
        challenge_id=new_id("chl"),
        method=method,
        conversation_id=facts.conversation_id,
        client_id=client_id,
        brand_id=facts.brand_id,
        brand_name=facts.brand_name,
        subject_id=facts.subject_id,
        state=ChallengeState.PENDING,
        match_code="".join(secrets.choice(MATCH_ALPHABET) for _ in range(MATCH_LENGTH)),
        asked_at=now,
        expires_at=now + (PHONE_TTL if method is ChallengeMethod.PHONE_APPROVAL else LINK_TTL),
    )


async def confirming(
    tx: AsyncConnection, challenge: Challenge, confirm: Confirm, facts: ConversationFacts
) -> Challenge:
    """With what the page shows, looked up, and the hash that the decision on that request will compute.

    Only once the subject is known: to confirm is to agree to something that is one's own. Raises NotFound.
    """
    if challenge.subject_id is None:
        raise NotFound
    if isinstance(confirm, ConfirmPurchase):
        ids = {"tenant_id": challenge.tenant_id, "brand_id": challenge.brand_id, "subject_id": challenge.subject_id}
        row = (await tx.execute(_QUOTE, {**ids, **msgspec.structs.asdict(confirm)})).mappings().one_or_none()
        if row is None or row["expires_at"] <= challenge.asked_at:
            raise NotFound
        parameters = {name: row[name] for name in ("checkout_id", "cart_sha256", "amount_minor", "currency")}
        shown = {"action": "purchase", **parameters, "description": row["description"]}
    else:
        if find_card_number(confirm.query) is not None:
            raise CardNumberRefused
        parameters = {"query": confirm.query, "limit": confirm.limit}
        shown = {"action": "recall", **parameters}
    request = confirmable(str(shown["action"]), facts.conversation_id, parameters)
    return replace(challenge, confirms=shown, request_sha256=request)


async def for_phone(tx: AsyncConnection, challenge: Challenge, provider: Provider, subject_id: str | None) -> Challenge:
    """To the phone of the conversation's subject or, while no factor has named one, of whom caller id shows.

    Raises MethodUnavailable.
    """
    sub = None
    if subject_id is not None:
        sub = await store.linked_sub(tx, challenge.tenant_id, provider.issuer, subject_id)
    if sub is None:
        raise MethodUnavailable
    return replace(challenge, subject_id=subject_id, issuer=provider.issuer, sub=sub)


_QUOTE = text(
    "SELECT checkout_id, cart_sha256, amount_minor, currency, description, expires_at FROM quotes"
    " WHERE tenant_id = :tenant_id AND checkout_id = :checkout_id AND brand_id = :brand_id"
    " AND cart_sha256 = :cart_sha256 AND (subject_id IS NULL OR subject_id = :subject_id)"
)
