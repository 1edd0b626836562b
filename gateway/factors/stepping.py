"""The way from a login to a consent that asks for more: a passkey here, or an approval on the phone.

Both are challenges of the conversation that the consent will have, bound to the visit's browser and to the person who
logged in; what is proven becomes its evidence, as anywhere else. Whether it is enough the consent looks up itself.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.browser import reaching
from gateway.browser.cookies import digest
from gateway.browser.login import VisitOver
from gateway.browser.visits import Visit
from gateway.contract import ChallengeMethod, ChallengeState
from gateway.conversations import Conversations
from gateway.errors import MethodUnavailable
from gateway.factors import passkey_store, store
from gateway.factors.asking import for_phone, new_challenge
from gateway.factors.ceremonies import Host
from gateway.factors.passing import LinkOver
from gateway.factors.passkeys import Offer, Passkeys
from gateway.factors.phone import Phones
from gateway.factors.providers import Provider, provider_of
from gateway.factors.store import Challenge
from gateway.oauth import handles
from gateway.store import conversation_facts
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import PeerUnreachable

ANSWERED_NO: Final = frozenset({ChallengeState.REFUSED, ChallengeState.EXPIRED, ChallengeState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What the page offers this person. `waiting`: their phone was asked and has not answered."""

    visit: Visit
    offer: Offer | None
    can_use_phone: bool
    can_enrol: bool
    waiting: Challenge | None
    phone_said_no: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """Looked up at once, in the transaction that holds the visit."""

    visit: Visit
    provider: Provider | None
    linked: bool
    has_passkey: bool
    passkey: Challenge | None
    phone: Challenge | None


class Stepping:
    def __init__(
        self,
        engine: AsyncEngine,
        *,
        conversations: Conversations,
        passkeys: Passkeys,
        phones: Phones,
        host: Host,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._conversations = conversations
        self._passkeys = passkeys
        self._phones = phones
        self._host = host
        self._clock = clock

    async def ways(self, visit: Visit, browser: str, *, other: bool = False) -> Ways | None:
        """What the page shows; None when the phone has just approved. `other`: not the phone, which was asked.

        Raises VisitOver, TooManyChallenges, ProviderUnusable.
        """
        known = await self._known(visit, browser)
        phone = known.phone
        if phone is not None and phone.open_at(self._clock.now()):
            phone = await self._looked(phone, known.provider)
        state = None if phone is None else phone.state_at(self._clock.now())
        if state is ChallengeState.PASSED:
            return None
        waiting = phone if state is ChallengeState.PENDING and not other else None
        offered = known.passkey if waiting is None else None
        return Ways(
            visit=known.visit,
            offer=None if offered is None else await self._passkeys.offer(offered, browser),
            can_use_phone=known.linked and state is not ChallengeState.PENDING,
            can_enrol=self._host.has_name and not known.has_passkey,
            waiting=waiting,
            phone_said_no=state in ANSWERED_NO,
        )

    async def use_passkey(self, visit: Visit, browser: str, taken: str, posted: str) -> None:
        """Raises VisitOver, LinkOver, PasskeyRefused, NotThisSubject."""
        known = await self._known(visit, browser)
        if known.passkey is None:
            raise LinkOver
        await self._passkeys.finish(known.passkey, taken, browser, posted)

    async def ask_phone(self, visit: Visit, browser: str) -> None:
        """Once: who presses twice is asked once. Raises VisitOver, MethodUnavailable, TooManyChallenges.

        And what Phones.ask raises.
        """
        now = self._clock.now()
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            found = await reaching.held(tx, visit, browser, now)
            conversation_id = await reaching.conversation_of(tx, self._conversations, found)
            earlier = await store.newest(tx, visit.tenant_id, conversation_id, ChallengeMethod.PHONE_APPROVAL)
            if earlier is not None and earlier.open_at(now):
                return
            provider = await provider_of(tx, visit.tenant_id, found.brand_id or "")
            if provider is None or not provider.phone_approval:
                raise MethodUnavailable
            facts = await conversation_facts(tx, visit.tenant_id, conversation_id)
            challenge = new_challenge(facts, found.client_id or "", ChallengeMethod.PHONE_APPROVAL, now)
            challenge = await for_phone(tx, challenge, provider, found.subject_id)
            await store.add(tx, challenge, None)
        await self._phones.ask(challenge, provider)

    async def _known(self, visit: Visit, browser: str) -> _Known:
        """Raises VisitOver, TooManyChallenges."""
        now = self._clock.now()
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            found = await reaching.held(tx, visit, browser, now)
            if found.subject_id is None or found.brand_id is None:
                raise VisitOver
            conversation_id = await reaching.conversation_of(tx, self._conversations, found)
            provider = await provider_of(tx, visit.tenant_id, found.brand_id)
            own = await passkey_store.of_subject(tx, visit.tenant_id, found.subject_id)
            usable = self._host.has_name and any(not passkey.suspended for passkey in own)
            return _Known(
                visit=found,
                provider=provider,
                linked=await _linked(tx, provider, found.subject_id),
                has_passkey=usable,
                passkey=await self._passkey_challenge(tx, found, conversation_id) if usable else None,
                phone=await store.newest(tx, visit.tenant_id, conversation_id, ChallengeMethod.PHONE_APPROVAL),
            )

    async def _passkey_challenge(self, tx: AsyncConnection, visit: Visit, conversation_id: str) -> Challenge:
        """The open one, or a new one. It has no link that anybody knows: this page is where it is answered."""
        now = self._clock.now()
        found = await store.newest(tx, visit.tenant_id, conversation_id, ChallengeMethod.PASSKEY)
        if found is not None and found.open_at(now):
            return found
        facts = await conversation_facts(tx, visit.tenant_id, conversation_id)
        challenge = new_challenge(facts, visit.client_id or "", ChallengeMethod.PASSKEY, now)
        await store.add(tx, challenge, digest(handles.new_handle(visit.tenant_id)))
        return challenge

    async def _looked(self, phone: Challenge, provider: Provider | None) -> Challenge:
        """A provider that does not answer may still: the person goes on waiting. Raises ProviderUnusable."""
        try:
            return await self._phones.look(phone, provider)
        except PeerUnreachable:
            return phone


async def _linked(tx: AsyncConnection, provider: Provider | None, subject_id: str) -> bool:
    if provider is None or not provider.phone_approval:
        return False
    return await store.linked_sub(tx, provider.tenant_id, provider.issuer, subject_id) is not None
