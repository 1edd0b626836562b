"""Approval on the phone: OpenID CIBA Core 1.0, poll mode. What is out is in the database, so it survives a restart."""

from dataclasses import replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contract import ChallengeState
from gateway.conversations import Conversations
from gateway.errors import MethodUnavailable
from gateway.factors import store
from gateway.factors.passing import LinkOver, NotThisSubject, locked_open, passed
from gateway.factors.providers import Provider
from gateway.factors.relying import LoginRefused, Polled, PollState, RelyingParty
from gateway.factors.store import Challenge
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction
from infra.chassis.problems import Problem

SLOWER_SECONDS: Final = 5
"""CIBA Core 1.0 section 11: `slow_down` asks for at least five more."""
NAME_LENGTH_MAX: Final = 40
"""Of the brand on a lock screen; section 7.1 asks for short, plain text."""
ENDS: Final = {
    PollState.EXPIRED: ChallengeState.EXPIRED,
    PollState.REFUSED: ChallengeState.REFUSED,
    PollState.FAILED: ChallengeState.FAILED,
}
log = logs.get_logger()


class Phones:
    def __init__(self, engine: AsyncEngine, party: RelyingParty, conversations: Conversations, clock: Clock) -> None:
        self._engine = engine
        self._party = party
        self._conversations = conversations
        self._clock = clock

    async def ask(self, challenge: Challenge, provider: Provider) -> Challenge:
        """`challenge` is stored already: what the phone is asked for is never unknown to us.

        Raises MethodUnavailable (the provider will not ask this person), PeerUnreachable, ProviderUnusable; the
        challenge has then failed.
        """
        seconds = int((challenge.expires_at - challenge.asked_at).total_seconds())
        try:
            asked = await self._party.ask_phone(
                provider, login_hint=challenge.sub or "", binding_message=_message(challenge), seconds=seconds
            )
        except LoginRefused:
            await self._end(challenge, ChallengeState.FAILED)
            raise MethodUnavailable from None
        except Problem:
            await self._end(challenge, ChallengeState.FAILED)
            raise
        now = self._clock.now()
        ends = min(challenge.expires_at, now + asked.expires_in)
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            kept = await store.phone_asked(tx, challenge, asked.auth_req_id, asked.interval_seconds, now, ends)
        if not kept:
            log.warning("phone_request_repeated", issuer=provider.issuer)
            return await self._end(challenge, ChallengeState.FAILED)
        return replace(challenge, expires_at=ends, interval_seconds=asked.interval_seconds)

    async def look(self, challenge: Challenge, provider: Provider | None) -> Challenge:
        """How it stands now. Asks the provider only when its interval is over, whichever process asked last.

        Raises PeerUnreachable, ProviderUnusable; the challenge is then still pending.
        """
        if provider is None or provider.issuer != challenge.issuer or not provider.phone_approval:
            return await self._end(challenge, ChallengeState.FAILED)
        if challenge.auth_req_id is None:
            return challenge
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            mine = await store.claim_poll(tx, challenge, self._clock.now())
        if not mine:
            return challenge
        return await self._learned(
            challenge, await self._party.poll(provider, challenge.auth_req_id, challenge.asked_at)
        )

    async def _learned(self, challenge: Challenge, polled: Polled) -> Challenge:
        if polled.state is PollState.PENDING:
            return challenge
        if polled.state is PollState.SLOW_DOWN:
            async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
                await store.slow_down(tx, challenge, SLOWER_SECONDS, self._clock.now())
            return replace(challenge, interval_seconds=(challenge.interval_seconds or 0) + SLOWER_SECONDS)
        if polled.state is not PollState.APPROVED or polled.identified is None:
            return await self._end(challenge, ENDS.get(polled.state, ChallengeState.FAILED))
        if polled.identified.sub != challenge.sub or challenge.subject_id is None:
            log.warning("approval_refused", issuer=challenge.issuer, why="another person approved")
            return await self._end(challenge, ChallengeState.FAILED)
        return await self._approved(challenge, challenge.subject_id)

    async def _approved(self, challenge: Challenge, subject_id: str) -> Challenge:
        """The approval was given just now: no older than since it was asked for, whatever `auth_time` says."""
        now = self._clock.now()
        try:
            async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
                locked = await locked_open(tx, challenge, now)
                await passed(tx, self._conversations, locked, subject_id=subject_id, at=now, now=now)
        except (LinkOver, NotThisSubject):
            return await self._end(challenge, ChallengeState.FAILED)
        return replace(challenge, state=ChallengeState.PASSED)

    async def _end(self, challenge: Challenge, state: ChallengeState) -> Challenge:
        """Unless somebody was faster: then as they left it."""
        async with tenant_transaction(self._engine, challenge.tenant_id) as tx:
            await store.finish(tx, challenge, state, self._clock.now())
            found = await store.by_id(tx, challenge.tenant_id, challenge.challenge_id)
        return found or replace(challenge, state=state)


def _message(challenge: Challenge) -> str:
    """`Larkspur: 7K4M`, in characters every phone shows; the agent says the same code."""
    plain = "".join(mark for mark in challenge.brand_name if mark.isascii() and (mark.isalnum() or mark in " -.&"))
    return f"{plain[:NAME_LENGTH_MAX].strip()}: {challenge.match_code}".removeprefix(": ")
