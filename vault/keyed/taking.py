"""One card for one capture by telephone. Each try is counted in the database before it is answered."""

from collections.abc import Iterable

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.grants import Grant
from vault.at_once import Taken
from vault.captures import Captures, attempts_max
from vault.cleartext.hpke import PageKeys, SealedForm, SealedFormReplayed
from vault.cleartext.intake import CardFormRefused, CardIntake
from vault.cleartext.keyed import place_of, take_keyed
from vault.cleartext.tokenise import Cards
from vault.contract import CaptureChannel, CaptureState
from vault.counters import Counters
from vault.errors import CaptureClosed, CaptureNotByPhone
from vault.keyed.wire import KeyedCard, KeyedFlaw, KeyedView, SealingKey, SealingKeys
from vault.tables import CaptureRow

log = logs.get_logger()


class KeyedCards:
    def __init__(self, *, captures: Captures, cards: Cards, keys: PageKeys, clock: Clock, counters: Counters) -> None:
        self._captures = captures
        self._cards = cards
        self._keys = keys
        self._clock = clock
        self._counters = counters

    async def offer_keys(self, capture_id: str, grant: Grant) -> SealingKeys:
        """Raises NotFound, CaptureNotByPhone and CaptureClosed."""
        row = await self._by_phone(capture_id, grant)
        if self._captures.state_of(row) is not CaptureState.OPEN:
            raise CaptureClosed
        offered = self._keys.offered(place_of(row.tenant_id, row.capture_id), self._clock.now())
        return SealingKeys(
            capture_id=row.capture_id,
            keys=[
                SealingKey(suite=key.suite, key_id=key.key_id, public_key=key.public_key, info=key.info)
                for key in offered
            ],
        )

    async def take(self, capture_id: str, grant: Grant, keyed: KeyedCard) -> KeyedView:
        """Store the card, or say what is wrong with it. Raises NotFound and CaptureNotByPhone.

        A capture that takes no card any more answers as it stands, with its token if it has one.
        """
        row = await self._by_phone(capture_id, grant)
        if self._captures.state_of(row) is not CaptureState.OPEN:
            return self._view(row)
        try:
            intake = self._open(row, keyed)
        except SealedFormReplayed:
            log.warning("keyed_card_replayed", capture_id=row.capture_id)
            return await self._refuse(row, grant, [KeyedFlaw.SEALED_REPLAYED])
        except CardFormRefused as refused:
            return await self._refuse(row, grant, [KeyedFlaw(flaw.value) for flaw in refused.flaws])
        taken = await self._cards.tokenise(row, intake)
        reach("keyed_card_taken")
        if taken is Taken.TAKEN:
            self._counters.keyed.labels("taken").inc()
            log.info("keyed_card_taken", capture_id=row.capture_id, suite=intake.suite)
        return self._view(await self._captures.own(capture_id, grant))

    async def _by_phone(self, capture_id: str, grant: Grant) -> CaptureRow:
        row = await self._captures.own(capture_id, grant)
        if row.channel != CaptureChannel.PHONE:
            raise CaptureNotByPhone
        return row

    def _open(self, row: CaptureRow, keyed: KeyedCard) -> CardIntake:
        sealed = SealedForm(key_id=keyed.key_id, enc=keyed.enc, ct=keyed.ct)
        place = place_of(row.tenant_id, row.capture_id)
        return take_keyed(sealed, place=place, keys=self._keys, now=self._clock.now())

    async def _refuse(self, row: CaptureRow, grant: Grant, flaws: list[KeyedFlaw]) -> KeyedView:
        """Of tries at the same moment each is counted, and one too many is told nothing of its card."""
        self._counters.keyed.labels("refused").inc()
        counted = await self._captures.count_attempt(row)
        return self._view(await self._captures.own(row.capture_id, grant), flaws if counted else ())

    def _view(self, row: CaptureRow, flaws: Iterable[KeyedFlaw] = ()) -> KeyedView:
        state = self._captures.state_of(row)
        return KeyedView(
            capture_id=row.capture_id,
            state=state,
            tries_left=attempts_max(row) - row.attempts if state is CaptureState.OPEN else 0,
            flaws=list(flaws),
            token_id=row.token_id,
            card_brand=row.card_brand,
            last4=row.last4,
        )
