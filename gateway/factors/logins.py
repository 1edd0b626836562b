"""Login at a brand's OpenID provider, by a link: the browser's way there and back, and whose evidence it becomes."""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.contacts import Contacts
from gateway.contract import AssuranceLevel, ChallengeMethod, ChallengeState, ContactKind
from gateway.conversations import Conversations
from gateway.errors import ContactPointInvalid, ContactPointShared, ProviderUnusable
from gateway.factors import store
from gateway.factors.id_tokens import Identified
from gateway.factors.passing import LinkOver, NotThisSubject, locked_open, passed
from gateway.factors.providers import FirstLink, Provider, provider_of
from gateway.factors.relying import Flow, RelyingParty
from gateway.factors.store import Challenge, FactorVisit, VisitPurpose
from gateway.oauth import handles
from gateway.store import conversation_facts
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import CardNumberRefused

VISIT_TTL: Final = timedelta(minutes=10)
log = logs.get_logger()


class WorthNothing(Exception):
    """The provider's word about this login is worth nothing here: its `acr` and `amr` are not mapped to a level."""


class OpenIdLogins:
    def __init__(
        self,
        engine: AsyncEngine,
        party: RelyingParty,
        conversations: Conversations,
        contacts: Contacts,
        clock: Clock,
        *,
        public_url: str,
    ) -> None:
        self._engine = engine
        self._party = party
        self._conversations = conversations
        self._contacts = contacts
        self._clock = clock
        self._public_url = public_url

    async def provider(self, challenge: Challenge) -> Provider:
        """Raises ProviderUnusable when the brand has none any more."""
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            found = await provider_of(tx, challenge.tenant_id, challenge.brand_id)
        if found is None:
            raise ProviderUnusable
        return found

    async def leave(self, challenge: Challenge, browser: str) -> str:
        """Where to send this browser. Raises PeerUnreachable, ProviderUnusable, TooManyChallenges."""
        provider = await self.provider(challenge)
        flow = new_flow(challenge.tenant_id, self._clock.now())
        url = await self._party.login_url(provider, flow, self._redirect_uri(challenge.brand_id))
        visit = FactorVisit(
            tenant_id=challenge.tenant_id,
            purpose=VisitPurpose.OPENID,
            challenge_id=challenge.challenge_id,
            nonce=flow.nonce,
            verifier=flow.verifier,
            begun_at=flow.asked_at,
        )
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            await store.begin_visit(tx, visit, handle=flow.state, browser=browser, expires_at=flow.asked_at + VISIT_TTL)
        return url

    async def returned(self, brand_id: str, state: str, browser: str | None) -> tuple[Challenge, Flow]:
        """Who comes back, once, in the browser that left, to the address made for this brand. Raises LinkOver."""
        tenant_id = handles.tenant_of(state)
        if tenant_id is None or browser is None:
            raise LinkOver
        now = self._clock.now()
        async with tenant_transaction(self._engine, tenant_id) as tx:
            visit = await store.take_visit(
                tx, tenant_id, handle=state, browser=browser, purpose=VisitPurpose.OPENID, now=now
            )
            found = None if visit is None else await store.by_id(tx, tenant_id, visit.challenge_id or "")
        if visit is None or found is None or found.brand_id != brand_id or not found.open_at(now):
            raise LinkOver
        flow = Flow(
            state=state, nonce=visit.nonce or "", verifier=visit.verifier or "", challenge="", asked_at=visit.begun_at
        )
        return found, flow

    async def refused(self, challenge: Challenge, named_issuer: str | None) -> None:
        """The person said no at the provider. Raises LoginRefused when somebody else says so."""
        await self._party.came_back(await self.provider(challenge), named_issuer)
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            await store.finish(tx, challenge, ChallengeState.REFUSED, self._clock.now())

    async def finish(self, challenge: Challenge, flow: Flow, code: str, named_issuer: str | None) -> None:
        """Raises LoginRefused, WorthNothing, NotThisSubject, LinkOver, PeerUnreachable, ProviderUnusable.

        After each of them the challenge still waits, and the person can begin again from its link.
        """
        provider = await self.provider(challenge)
        await self._party.came_back(provider, named_issuer)
        identified = await self._party.redeem(provider, flow, code, self._redirect_uri(challenge.brand_id))
        level = provider.level_of(identified.acr, identified.amr)
        if level is None:
            log.warning("login_worth_nothing", issuer=provider.issuer)
            raise WorthNothing
        await self._attach(challenge, provider, identified, level)

    async def _attach(
        self, challenge: Challenge, provider: Provider, identified: Identified, level: AssuranceLevel
    ) -> None:
        now = self._clock.now()
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            locked = await locked_open(tx, challenge, now)
            subject_id = await self._subject(tx, locked, provider, identified, now)
            await passed(tx, self._conversations, locked, subject_id=subject_id, at=identified.at, now=now, level=level)

    async def _subject(
        self, tx: AsyncConnection, challenge: Challenge, provider: Provider, identified: Identified, now: datetime
    ) -> str:
        """By the link, or by a first link if one may be made. Raises NotThisSubject."""
        known = await store.linked_subject(tx, challenge.tenant_id, identified.issuer, identified.sub)
        if known is not None:
            return known
        facts = await conversation_facts(tx, challenge.tenant_id, challenge.conversation_id)
        subject_id: str | None = None
        if facts.assurance(now).level >= AssuranceLevel.VERIFIED:
            subject_id = facts.subject_id
        elif facts.subject_id is None and provider.first_link is FirstLink.VERIFIED_EMAIL:
            subject_id = await self._owner_of(tx, challenge.tenant_id, identified.email)
        if subject_id is None or not await store.link(
            tx,
            tenant_id=challenge.tenant_id,
            issuer=identified.issuer,
            sub=identified.sub,
            subject_id=subject_id,
            now=now,
        ):
            raise NotThisSubject
        return subject_id

    async def _owner_of(self, tx: AsyncConnection, tenant_id: str, email: str | None) -> str | None:
        """The subject of an address that the provider vouches for; made if there is none."""
        if email is None:
            return None
        try:
            return await self._contacts.verified_subject(tx, tenant_id, ContactKind.EMAIL, email)
        except (ContactPointInvalid, ContactPointShared, CardNumberRefused):
            return None

    def _redirect_uri(self, brand_id: str) -> str:
        """One for each brand: an answer to one provider's request cannot be taken for another's (RFC 9700 4.4.2)."""
        return f"{self._public_url}/openid/{brand_id}/callback"


class Links:
    """Challenges as browsers find them."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def open(self, link: str) -> Challenge:
        """Raises LinkOver."""
        tenant_id = handles.tenant_of(link)
        if tenant_id is None:
            raise LinkOver
        async with tenant_transaction(self._engine, tenant_id) as tx:
            found = await store.by_link(tx, tenant_id, link)
        if found is None or not found.open_at(self._clock.now()) or found.method is ChallengeMethod.PHONE_APPROVAL:
            raise LinkOver
        return found

    async def refuse(self, challenge: Challenge) -> None:
        """Whoever opened the link did not ask for it."""
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            await store.finish(tx, challenge, ChallengeState.REFUSED, self._clock.now())


def new_flow(tenant_id: str, now: datetime) -> Flow:
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return Flow(
        state=handles.new_handle(tenant_id),
        nonce=secrets.token_urlsafe(24),
        verifier=verifier,
        challenge=challenge,
        asked_at=now,
    )
