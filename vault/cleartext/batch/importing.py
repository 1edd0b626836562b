"""A sealed file becomes cards on file: each line once, whatever happens in between, and a result for each.

The file is gone through twice. The first time every chunk is opened and nothing is kept: a file that was cut, changed,
or sealed for somebody else is refused before there is a row. The second time its lines are taken, LINES_AT_ONCE in one
statement; which were taken before is asked of the database. So a killed import is gone on with by giving the same
command again, and one that was through changes nothing. The result is written anew each time, from what the database
says and the references in the file.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from infra.chassis import durable
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.secret import Secret
from vault.at_once import columns
from vault.batch import rows
from vault.batch.import_keys import ImportKeys
from vault.batch.rows import Outcome
from vault.canary_marks import CanaryMarks
from vault.cleartext.batch.lines import CardLine, LineRefused, read_line, read_shape
from vault.cleartext.batch.sealed_file import Head, SealedFileRefused, lines_of, open_key, read_head
from vault.cleartext.sealing import CardSealer, Place
from vault.keys.acts import note
from vault.keys.ring import KeyRing, KeyUnavailable
from vault.keys.rows import telling_refusals
from vault.keys.states import KeyRetired
from vault.outbox.events import Kind
from vault.outbox.telling import card_event
from vault.store import Store
from vault.terms import SealedTerms, as_text

LINES_AT_ONCE: Final = 100
"""One statement and one commit. A killed import seals at most so many anew."""
SEALINGS_MAX: Final = 5
"""Rotations in a row that one lot of cards may be overtaken by."""


class ImportBusy(Exception):
    """Another import of this tenant is under way."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which file, whose cards they become, and of which brand where a line names none; where the result goes.

    `digest`: the file's SHA-256, as its sender told it or custodians approved it. Another file is not opened.
    """

    file: Path
    digest: bytes
    tenant_id: str
    brand_id: str
    result: Path
    actor: str


@dataclass(slots=True)
class Imported:
    """How many lines came to what, in this file and whenever they did."""

    batch_id: str
    digest: str
    lines: int
    stored: int = 0
    there: int = 0
    refused: int = 0

    def count(self, outcome: Outcome) -> None:
        if outcome.reasons is not None:
            self.refused += 1
        elif outcome.was_there:
            self.there += 1
        else:
            self.stored += 1


class Importing:
    def __init__(
        self, *, store: Store, ring: KeyRing, sealer: CardSealer, marks: CanaryMarks, keys: ImportKeys, clock: Clock
    ) -> None:
        self._store = store
        self._ring = ring
        self._sealer = sealer
        self._marks = marks
        self._keys = keys
        self._clock = clock

    async def run(self, order: Order, tell: Callable[[Imported], None]) -> Imported:
        """`tell` is called after each lot. What was taken stays, and the same command goes on from there.

        Raises SealedFileRefused, ImportBusy, KeyUnavailable, OSError, and what key service and database raise.
        """
        with order.file.open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != order.digest:
                raise SealedFileRefused("the file is not the one whose SHA-256 was told")
            file.seek(0)
            head = read_head(file)
            key = open_key(head, await self._keys.open(head, order.tenant_id))
            begins = file.tell()
            count = sum(1 for _ in lines_of(file, head, key))
            file.seek(begins)
            async with self._store.alone(f"card import {order.tenant_id}") as ours:
                if not ours:
                    raise ImportBusy
                await self._begin(order, head)
                imported = Imported(head.notice.batch_id, order.digest.hex(), count)
                with durable.replacing(order.result) as result:
                    numbered = enumerate(_same(file, head, key, count), 1)
                    while lot := list(islice(numbered, LINES_AT_ONCE)):
                        await self._take(order, imported, lot, result)
                        tell(imported)
                    reach("import_all_taken")
                    await self._finish(order, imported)
        return imported

    async def _begin(self, order: Order, head: Head) -> None:
        now, batch_id = self._clock.now(), head.notice.batch_id
        async with self._store.transaction(order.tenant_id) as tx:
            begun = await rows.begin_import(tx, batch_id, order.brand_id, order.digest, now)
        if begun.file_digest != order.digest:
            raise SealedFileRefused("another file with this id was imported before")
        if begun.brand_id != order.brand_id:
            raise SealedFileRefused("this file was begun to be imported for another brand")
        reach("import_begun")

    async def _finish(self, order: Order, imported: Imported) -> None:
        now = self._clock.now()
        counts = {"stored": imported.stored, "there": imported.there, "refused": imported.refused}
        async with self._store.transaction(order.tenant_id) as tx:
            if await rows.finish_import(tx, imported.batch_id, now):
                await note(tx, now, actor=order.actor, act="imported", what=imported.batch_id, outcome=counts)
        reach("import_finished")

    async def _take(self, order: Order, imported: Imported, lot: Sequence[tuple[int, bytes]], result: BinaryIO) -> None:
        known = await self._outcomes(order, imported.batch_id, lot)
        missing = [one for one in lot if one[0] not in known]
        if missing:
            await self._store_all(order, imported.batch_id, missing)
            reach("import_lot_taken")
            known = await self._outcomes(order, imported.batch_id, lot)
        for number, line in lot:
            imported.count(known[number])
            result.write(_told(known[number], _reference(line)))

    async def _outcomes(self, order: Order, batch_id: str, lot: Sequence[tuple[int, bytes]]) -> dict[int, Outcome]:
        async with self._store.transaction(order.tenant_id) as tx:
            return await rows.outcomes(tx, batch_id, lot[0][0], lot[-1][0])

    async def _store_all(self, order: Order, batch_id: str, lines: Sequence[tuple[int, bytes]]) -> None:
        for _ in range(SEALINGS_MAX):
            made = [{"line": number, **await self._made(order, line)} for number, line in lines]
            reach("import_lot_sealed")
            try:
                with telling_refusals():
                    await rows.take_lines(self._store, order.tenant_id, batch_id, made)
            except KeyRetired:  # the next key is there
                self._ring.give_up_reserved(order.tenant_id)
                continue
            return
        raise KeyUnavailable("the tenant's key was rotated each time a lot of cards was sealed")

    async def _made(self, order: Order, line: bytes) -> dict[str, Any]:
        """What `import_cards` takes for one line: a card with its event, or reasons."""
        try:
            card_line = read_line(line, self._clock.now())
        except LineRefused as refused:
            return {"reasons": ",".join(refused.reasons)}
        try:
            return await self._sealed(order, card_line)
        finally:
            card_line.details.number.wipe()

    async def _sealed(self, order: Order, line: CardLine) -> dict[str, Any]:
        brand_id = line.brand_id or order.brand_id
        terms = as_text(SealedTerms(brand_id=brand_id, subject_id=line.subject_id, terms=line.terms))
        token_id = self._marks.new_token(order.tenant_id)
        to_be = Place(order.tenant_id, brand_id, line.subject_id, token_id, 1, terms)
        card, known_as = await self._sealer.sealed(to_be, line.details)
        card = replace(card, on_file_since=card.created_at)
        whose = {"brand_id": brand_id, "subject_id": line.subject_id}
        event = card_event(Kind.CARD_STORED, card, card.created_at)
        return {"card": columns(card, known_as) | whose, "event": event}


def _same(file: BinaryIO, head: Head, key: Secret[bytes], count: int) -> Iterator[bytes]:
    """The lines once more. Whoever changes the file in between leaves an import that is not finished."""
    seen = 0
    for line in lines_of(file, head, key):
        seen += 1
        yield line
    if seen != count:
        raise SealedFileRefused("the file was changed while it was imported")


def _reference(line: bytes) -> str | None:
    try:
        return read_shape(line).reference
    except LineRefused as refused:
        return refused.reference


def _told(outcome: Outcome, reference: str | None) -> bytes:
    """One line of the result: a JSON object."""
    told: dict[str, Any] = {"line": outcome.line, "reference": reference}
    if outcome.reasons is not None:
        told["refused"] = outcome.reasons.split(",")
    else:
        names = ("token_id", "subject_id", "brand_id", "card_brand", "last4", "was_there")
        told |= {name: getattr(outcome, name) for name in names}
    return msgspec.json.encode(told) + b"\n"
