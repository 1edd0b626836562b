"""The job that asks a card updater about stored cards, and puts what it says under the old tokens.

    tx1  the inquiry, noted             killed after it: asked again after an hour, three times a month at most
    →    the card goes to the updater   killed after it: as above; asking changes nothing
    tx2  the new card, sealed under the token, with the inquiry's end, the event and the old card's shredding

No transaction is held while it is asked. A tenant's cards are somebody's alone while they are gone through, in whatever
process. Off for every tenant that has not turned it on (`undercroft tokens updater`).
"""

import asyncio
import contextlib
from datetime import date, timedelta
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.keys import KeyServiceUnreachable
from infra.chassis.problems import where
from vault.at_once import Taken
from vault.canaries import Canaries
from vault.cleartext.opening import UNREADABLE, CardClosed, CardReplaced, CardShredded
from vault.cleartext.tokenise import Cards
from vault.cleartext.updaters import CardUpdater, Implausible, Outcome, UpdaterBusy, UpdaterSilent
from vault.cleartext.updaters.checking import successor
from vault.counters import Counters
from vault.settings import Settings
from vault.store import Store
from vault.tables import CardRow
from vault.unreadable import raise_alarm
from vault.updating import rows
from vault.updating.rows import Due
from vault.updating.settings import UpdaterSettings, build_updater

PAGE: Final = 100
A_ROUND: Final = 20
"""Inquiries about one tenant's cards in a round, one after the other: no burst at somebody else's door."""
SILENCES_MAX: Final = 3
"""In a row; then the round is over."""
AGAIN_AFTER: Final = timedelta(hours=1)

log = logs.get_logger()


class Updating:
    def __init__(
        self,
        *,
        store: Store,
        cards: Cards,
        updater: CardUpdater | None,
        canaries: Canaries,
        clock: Clock,
        counters: Counters,
        settings: UpdaterSettings,
    ) -> None:
        self._store = store
        self._cards = cards
        self._updater = updater
        self._canaries = canaries
        self._clock = clock
        self._counters = counters
        self._every_seconds = settings.updater_every_seconds
        self._daily_max = settings.updater_daily_max
        self._rests_until = clock.now()

    async def run(self, stop: asyncio.Event) -> None:
        """Does nothing where no updater is connected."""
        while not stop.is_set():
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001 - what fails, for want of a database say, is tried again
                log.warning("updating_round_failed", error=type(error).__name__, where=where(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_seconds)

    async def run_once(self) -> int:
        """One round over all tenants; how many cards were asked about. What fails for one keeps no other waiting."""
        if self._updater is None:
            return 0
        asked = 0
        for tenant_id in await self._store.tenants():
            try:
                asked += await self._update(tenant_id, self._updater)
            except Exception as error:  # noqa: BLE001 - see above
                log.warning("updating_of_tenant_failed", tenant_id=tenant_id, error=type(error).__name__)
        return asked

    async def close(self) -> None:
        if self._updater is not None:
            await self._updater.close()

    async def _update(self, tenant_id: str, updater: CardUpdater) -> int:
        async with self._store.transaction(tenant_id) as tx:
            wanted = await rows.is_on(tx)
        if not wanted:
            return 0
        async with self._store.alone(f"updating {tenant_id}") as ours:
            return await self._ask_about_all(tenant_id, updater) if ours else 0

    async def _ask_about_all(self, tenant_id: str, updater: CardUpdater) -> int:
        """A round's worth of the tenant's cards, within its budget."""
        asked = silences = 0
        after = ""
        while True:
            now = self._clock.now()
            async with self._store.transaction(tenant_id) as tx:
                left = min(A_ROUND - asked, self._daily_max - await rows.asked_since(tx, now - rows.BUDGET_WINDOW))
                found = await rows.due(tx, now, after=after, limit=max(0, min(PAGE, left)))
            if not found:
                return asked
            for one in found:
                if silences >= SILENCES_MAX or self._clock.now() < self._rests_until:
                    return asked
                silences = 0 if await self._ask(tenant_id, one, updater) else silences + 1
                asked += 1
            after = found[-1].token_id

    async def _ask(self, tenant_id: str, one: Due, updater: CardUpdater) -> bool:
        """Whether there was an answer."""
        now = self._clock.now()
        async with self._store.transaction(tenant_id) as tx:
            card = await rows.claim(tx, one, now, now + AGAIN_AFTER)
        if card is None:
            return True
        reach("inquiry_noted")
        month = rows.month_of(now)
        try:
            outcome = await self._outcome(card, month, updater)
        except (UpdaterSilent, UpdaterBusy, KeyServiceUnreachable) as failure:
            await self._unanswered(card, month, failure)
            return False
        await self._end(card, month, outcome)
        return True

    async def _outcome(self, card: CardRow, month: date, updater: CardUpdater) -> Outcome:
        """Raises UpdaterSilent, UpdaterBusy and KeyServiceUnreachable."""
        if self._canaries.is_canary(card.tenant_id, card.token_id):
            return Outcome.UP_TO_DATE  # has no number; without an inquiry the table would tell which ones they are
        try:
            return await self._asked(card, month, updater)
        except Implausible as refused:
            log.warning("update_implausible", token_id=card.token_id, doubt=refused.doubt)
            return Outcome.IMPLAUSIBLE
        except (CardReplaced, CardShredded, CardClosed):
            return Outcome.OVERTAKEN
        except UNREADABLE:
            whose = {"tenant_id": card.tenant_id, "token_id": card.token_id}
            raise_alarm(self._counters, act="update", reference=card.token_id, **whose)
            return Outcome.UNREADABLE

    async def _asked(self, card: CardRow, month: date, updater: CardUpdater) -> Outcome:
        async with self._cards.lend(card, with_code=False) as (details, _):
            answer = await updater.ask(details)
            if isinstance(answer, Outcome):
                return answer
            try:
                renewed = successor(details, answer, self._clock.now())
            finally:
                answer.wipe()
        reach("inquiry_answered")
        taken = await self._cards.renew(card, renewed, month)
        return Outcome.UPDATED if taken is Taken.TAKEN else Outcome.OVERTAKEN

    async def _end(self, card: CardRow, month: date, outcome: Outcome) -> None:
        now = self._clock.now()
        async with self._store.transaction(card.tenant_id) as tx:
            if outcome is Outcome.CLOSED and not await rows.close_card(tx, card, now):
                outcome = Outcome.OVERTAKEN
            await rows.answered(tx, card.token_id, month, outcome, now)
        reach("inquiry_ended")
        self._counters.inquiries.labels(outcome.value).inc()
        log.info("card_asked_about", tenant_id=card.tenant_id, token_id=card.token_id, outcome=outcome.value)

    async def _unanswered(
        self, card: CardRow, month: date, failure: UpdaterSilent | UpdaterBusy | KeyServiceUnreachable
    ) -> None:
        """A silence was a try, and stands until it may be asked again. Who is sent away rests, and it was none."""
        log.warning("updater_unanswered", token_id=card.token_id, error=type(failure).__name__)
        self._counters.inquiries.labels("unanswered").inc()
        if isinstance(failure, UpdaterSilent):
            return
        now = self._clock.now()
        again_at = now + AGAIN_AFTER
        if isinstance(failure, UpdaterBusy):
            self._rests_until = again_at = now + timedelta(seconds=failure.seconds)
        async with self._store.transaction(card.tenant_id) as tx:
            await rows.not_asked(tx, card.token_id, month, again_at)


def build_updating(
    settings: Settings, store: Store, cards: Cards, canaries: Canaries, clock: Clock, counters: Counters
) -> Updating:
    return Updating(
        store=store,
        cards=cards,
        updater=build_updater(settings.updater, settings.processor_timeout_seconds, clock),
        canaries=canaries,
        clock=clock,
        counters=counters,
        settings=settings.updater,
    )
