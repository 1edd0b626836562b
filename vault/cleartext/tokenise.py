"""Cards in and out of storage: sealed under a record key of their own at intake, revealed for one call to a processor.

The record key is sealed under the tenant's key, that one is wrapped by the key service. Number and details are sealed
apart, so that the details can be read one day without the number.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Final

from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from vault.at_once import Taken, stored_card, take_card, update_card
from vault.canary_marks import CanaryMarks
from vault.captures import attempts_max
from vault.cleartext.fingerprint_renewal import FingerprintRenewal
from vault.cleartext.intake import CardIntake
from vault.cleartext.opening import UNREADABLE, CardClosed, CardReplaced, CardShredded, Opener, details_of
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors import CardRefused, Processor, ProcessorRefused, ProcessorSilent
from vault.cleartext.sealing import CardSealer, Place
from vault.codes import Codes
from vault.counters import Counters
from vault.fingerprint import Fingerprints
from vault.keys import rows
from vault.keys.ring import KeyRing
from vault.keys.states import KeyRetired
from vault.store import Store
from vault.tables import CaptureRow, CardRow
from vault.terms import sealed_terms
from vault.unreadable import raise_alarm

SEALINGS_MAX: Final = 5
"""Rotations in a row that one card may be overtaken by; one a year is usual, so the second try does already."""


class CodeMissing(Exception):
    """The first charge of a card needs its verification code, and there is none any more."""


class Cards:
    """The one place where stored digits come back: to hand them to the processor, or for one forward."""

    def __init__(
        self,
        *,
        store: Store,
        ring: KeyRing,
        fingerprints: Fingerprints,
        marks: CanaryMarks,
        codes: Codes,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._store = store
        self._ring = ring
        self._opener = Opener(store, ring)
        self._sealer = CardSealer(ring, fingerprints, clock)
        self._marks = marks
        self._renewal = FingerprintRenewal(store, ring, fingerprints)
        self._codes = codes
        self._clock = clock
        self._counters = counters

    async def tokenise(self, capture: CaptureRow, intake: CardIntake) -> Taken:
        """Store the card and complete the capture, which counts the attempt. Unless `TAKEN`, nothing is kept.

        A card that replaces another one takes its place under its token; the code of that one is destroyed.
        The digits in `intake` are overwritten in any case.
        """
        try:
            tries = attempts_max(capture)
            place_taken, taken = await self._sealed_and_stored(
                intake.details,
                lambda: self._place_for(capture),
                lambda card, known_as: take_card(self._store, capture, card, known_as, tries),
            )
            if place_taken is not None and taken is Taken.TAKEN:
                self._counters.tokenised.inc()
                self._codes.keep(capture.tenant_id, place_taken.token_id, intake.code.reveal(), place_taken.generation)
            return taken
        finally:
            intake.details.number.wipe()
            intake.code.wipe()

    async def renew(self, former: CardRow, details: CardDetails, month: date) -> Taken:
        """Put what the updater told of a stored card in its place, under its terms, as which it was opened just now.

        It stays on file: no code is asked for. `month` is its inquiry's. Its digits are overwritten in any case.
        Raises KeyRetired as `tokenise`.
        """
        whose = (former.tenant_id, former.brand_id, former.subject_id)
        to_be = Place(*whose, former.token_id, former.generation + 1, former.terms)

        async def there() -> Place:
            return to_be

        try:
            _, taken = await self._sealed_and_stored(
                details, there, lambda card, known_as: update_card(self._store, card, known_as, month)
            )
            return taken
        finally:
            details.number.wipe()

    async def _sealed_and_stored(
        self,
        details: CardDetails,
        find_place: Callable[[], Awaitable[Place | None]],
        store: Callable[[CardRow, list[bytes]], Awaitable[Taken]],
    ) -> tuple[Place | None, Taken]:
        """Raises KeyRetired when the key was rotated between sealing and storing each time; nothing is then kept."""
        overtaken = 0
        while True:
            to_be = await find_place()
            if to_be is None:
                return None, Taken.OVERTAKEN
            card, fingerprints = await self._sealer.sealed(to_be, details)
            reach("card_sealed")
            try:
                with rows.telling_refusals():
                    taken = await store(card, fingerprints)
            except KeyRetired:  # the next key is there
                self._ring.give_up_reserved(to_be.tenant_id)
                overtaken += 1
                if overtaken == SEALINGS_MAX:
                    raise
            else:
                reach("card_stored")
                return to_be, taken

    async def _place_for(self, capture: CaptureRow) -> Place | None:
        """A new token, or the one whose card is replaced; None when the card that was to be replaced is not there.

        That one's details are opened first: this shows its terms to be those it was sealed with. Without that, terms
        somebody widened in the database would be sealed with the new card, and so become the right ones.
        Raises those of UNREADABLE, and the alarm with them.
        """
        whose = (capture.tenant_id, capture.brand_id, capture.subject_id)
        if capture.replaces_card_of is None:
            return Place(*whose, self._marks.new_token(capture.tenant_id), 1, sealed_terms(capture))
        former = await stored_card(self._store, capture.tenant_id, capture.replaces_card_of)
        if former is None or former.generation != capture.replaces_generation:
            return None
        try:
            former, record_key = await self._opener.record_key(former)
            details_of(former, record_key)
        except (CardReplaced, CardShredded):
            return None
        except UNREADABLE:
            of_card = {"tenant_id": former.tenant_id, "token_id": former.token_id}
            raise_alarm(self._counters, act="replace", reference=capture.capture_id, **of_card)
            raise
        return Place(*whose, former.token_id, former.generation + 1, former.terms)

    def key_at_hand(self, card: CardRow) -> bool:
        """Whether the card can be opened, or refused, without asking the key service."""
        return self._opener.key_at_hand(card)

    async def fetch_key(self, card: CardRow) -> None:
        """Raises KeyServiceUnreachable."""
        await self._opener.fetch_key(card)

    async def check(self, card: CardRow) -> None:
        """That it opens, under its terms, and is not closed; the number stays sealed. Raises as `present` does."""
        card, record_key = await self._opener.record_key(card)
        details_of(card, record_key)
        _refuse_closed(card)

    async def try_to_open(self, card: CardRow) -> None:
        """As `check`, the number included; it goes nowhere."""
        (await self._opener.reveal(card)).details.number.wipe()

    async def present(self, card: CardRow, key: str, processor: Processor, *, others_follow: bool = False) -> str:
        """Hand a stored card to a processor for one charge; its reference for the card comes back.

        The code is used up by it, unless the processor did nothing with it and `others_follow`, who will need it.
        Raises CodeMissing, CardShredded, CardReplaced, CardClosed, those of UNREADABLE, KeyServiceUnreachable, and what
        the processor raises.
        """
        revealed = await self._opener.reveal(card)  # first, so that a key service that is away does not cost the code
        try:
            _refuse_closed(revealed.card)
            until = self._codes.until(card.tenant_id, card.token_id)
            code = await self._first_code(revealed.card)
            self._counters.revealed.inc()
            try:
                ref = await processor.present_card(key, revealed.details, code)
            except CardRefused:
                raise
            except (ProcessorRefused, ProcessorSilent):
                if others_follow and code is not None and until is not None:
                    self._codes.give_back(card.tenant_id, card.token_id, code.reveal(), until, card.generation)
                raise
            finally:
                if code is not None:
                    code.wipe()
            await self._renewal.keep_up(revealed.card, revealed.record_key, revealed.details.number)
            return ref
        finally:
            revealed.details.number.wipe()

    async def refuse_replaced(self, card: CardRow) -> None:
        """Raises CardReplaced once another card is under the token: what was presented of this one is not used."""
        await self._opener.refuse_replaced(card)

    @asynccontextmanager
    async def lend(
        self, card: CardRow, *, with_code: bool
    ) -> AsyncIterator[tuple[CardDetails, VerificationCode | None]]:
        """A stored card for one forward or inquiry, overwritten afterwards. A code is taken, and gone in any case.

        Raises CodeMissing, CardShredded, CardReplaced, CardClosed, those of UNREADABLE and KeyServiceUnreachable.
        """
        revealed = await self._opener.reveal(card)
        try:
            _refuse_closed(revealed.card)
            await self.refuse_replaced(card)
            code = self._taken_code(revealed.card) if with_code else None
            self._counters.revealed.inc()
            try:
                yield revealed.details, code
            finally:
                if code is not None:
                    code.wipe()
        finally:
            revealed.details.number.wipe()

    async def _first_code(self, card: CardRow) -> VerificationCode | None:
        """Raises CodeMissing, or CardReplaced where the code went with the card."""
        try:
            return self._taken_code(card) if card.on_file_since is None else None
        except CodeMissing:
            await self.refuse_replaced(card)
            raise

    def _taken_code(self, card: CardRow) -> VerificationCode:
        digits = self._codes.take(card.tenant_id, card.token_id, card.generation)
        if digits is None:
            raise CodeMissing
        try:
            return VerificationCode(digits)
        finally:
            digits[:] = bytes(len(digits))


def _refuse_closed(card: CardRow) -> None:
    if card.closed_at is not None:
        raise CardClosed
