"""Using a passkey: a browser is asked, its answer is checked once, and becomes evidence or the way to add another."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.conversations import Conversations
from gateway.factors import ceremonies, passkey_store, store
from gateway.factors.ceremonies import Answered, CeremonyRefused, Host
from gateway.factors.passing import LinkOver, locked_open, passed
from gateway.factors.passkey_store import Passkey
from gateway.factors.store import Challenge, FactorVisit, VisitPurpose
from gateway.oauth import handles
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction

CHALLENGE_BYTES: Final = 32
"""Twice what level 3 section 13.4.3 asks for at least."""
VISIT_TTL: Final = timedelta(minutes=10)
log = logs.get_logger()


class PasskeyRefused(Exception):
    """Not known here, removed, suspended, or its answer does not hold; the person learns only that it did not work."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a page asks the browser: `visit` names the one try that its answer is for."""

    visit: str
    options: str


class Passkeys:
    def __init__(self, engine: AsyncEngine, conversations: Conversations, host: Host, clock: Clock) -> None:
        self._engine = engine
        self._conversations = conversations
        self._host = host
        self._clock = clock

    async def offer(self, challenge: Challenge, browser: str) -> Offer:
        """For the page of a link. Raises TooManyChallenges."""
        return await self._offer(
            challenge.tenant_id, browser, VisitPurpose.PASSKEY, challenge_id=challenge.challenge_id
        )

    async def offer_proof(self, tenant_id: str, subject_id: str, browser: str) -> Offer:
        """For the page where passkeys are managed: prove yourself with one you have."""
        return await self._offer(tenant_id, browser, VisitPurpose.PROVE, subject_id=subject_id)

    async def finish(self, challenge: Challenge, visit: str, browser: str | None, posted: str) -> None:
        """The answer becomes evidence. Raises LinkOver, PasskeyRefused, NotThisSubject."""
        taken = await self._take(challenge.tenant_id, visit, browser, VisitPurpose.PASSKEY)
        if taken.challenge_id != challenge.challenge_id:
            raise LinkOver
        answer = _answered(posted)
        now = self._clock.now()
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            locked = await locked_open(tx, challenge, now)
            passkey = await self._checked(tx, taken, answer, now)
            if passkey is not None:
                await passed(tx, self._conversations, locked, subject_id=passkey.subject_id, at=now, now=now)
        if passkey is None:
            raise PasskeyRefused

    async def prove(self, tenant_id: str, visit: str, browser: str | None, posted: str) -> str:
        """Whose passkey that was. Raises LinkOver, PasskeyRefused."""
        taken = await self._take(tenant_id, visit, browser, VisitPurpose.PROVE)
        answer = _answered(posted)
        async with tenant_transaction(self._engine, tenant_id) as tx:
            passkey = await self._checked(tx, taken, answer, self._clock.now())
        if passkey is None or passkey.subject_id != taken.subject_id:
            raise PasskeyRefused
        return passkey.subject_id

    async def _checked(
        self, tx: AsyncConnection, visit: FactorVisit, answer: Answered, now: datetime
    ) -> Passkey | None:
        """The passkey if its answer holds, with its counter moved on; None otherwise. What it writes must commit."""
        passkey = await passkey_store.for_update(tx, visit.tenant_id, answer.credential_id)
        if passkey is None or passkey.suspended:
            log.warning("passkey_refused", why="not known here" if passkey is None else "suspended")
            return None
        if answer.handle not in {None, ceremonies.handle_of(passkey.tenant_id, passkey.subject_id)}:
            log.warning("passkey_refused", why="another person's handle")
            return None
        try:
            use = ceremonies.used(self._host, answer, visit.webauthn_challenge or b"", passkey.public_key)
        except CeremonyRefused as refusal:
            log.warning("passkey_refused", why=str(refusal))
            return None
        if (use.sign_count or passkey.sign_count) and use.sign_count <= passkey.sign_count:
            log.warning("passkey_suspended", passkey_id=passkey.passkey_id)
            await passkey_store.suspend(tx, passkey, now)
            return None
        await passkey_store.note_use(tx, passkey, use, now)
        return passkey

    async def _offer(
        self,
        tenant_id: str,
        browser: str,
        purpose: VisitPurpose,
        *,
        challenge_id: str | None = None,
        subject_id: str | None = None,
    ) -> Offer:
        nonce = secrets.token_bytes(CHALLENGE_BYTES)
        visit = await begin(
            self._engine,
            FactorVisit(
                tenant_id=tenant_id,
                purpose=purpose,
                challenge_id=challenge_id,
                subject_id=subject_id,
                webauthn_challenge=nonce,
                begun_at=self._clock.now(),
            ),
            browser,
        )
        return Offer(visit, ceremonies.assertion_options(self._host, nonce))

    async def _take(self, tenant_id: str, visit: str, browser: str | None, purpose: VisitPurpose) -> FactorVisit:
        return await take(self._engine, tenant_id, visit, browser, purpose, self._clock.now())


async def begin(engine: AsyncEngine, visit: FactorVisit, browser: str) -> str:
    """The handle of a new try of this browser. Raises TooManyChallenges."""
    handle = handles.new_handle(visit.tenant_id)
    async with tenant_transaction(engine, visit.tenant_id) as tx:
        await store.begin_visit(tx, visit, handle=handle, browser=browser, expires_at=visit.begun_at + VISIT_TTL)
    return handle


async def take(
    engine: AsyncEngine, tenant_id: str, visit: str, browser: str | None, purpose: VisitPurpose, now: datetime
) -> FactorVisit:
    """Used up whatever becomes of it. Raises LinkOver."""
    if browser is None or handles.tenant_of(visit) != tenant_id:
        raise LinkOver
    async with tenant_transaction(engine, tenant_id) as tx:
        taken = await store.take_visit(tx, tenant_id, handle=visit, browser=browser, purpose=purpose, now=now)
    if taken is None:
        raise LinkOver
    return taken


def _answered(posted: str) -> Answered:
    try:
        return ceremonies.answered(posted)
    except CeremonyRefused as refusal:
        log.warning("passkey_refused", why=str(refusal))
        raise PasskeyRefused from None
