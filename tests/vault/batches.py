"""Files of cards in tests: their lines, sealed as another vault would, and taken with a bench's own parts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sandbox.running import APPROVES
from tests.vault.bench import Bench, Person, rows
from vault.batch.import_keys import ImportKeys
from vault.canary_marks import CanaryMarks
from vault.cleartext.batch.importing import Imported, Importing, Order
from vault.cleartext.batch.leaving import Departure
from vault.cleartext.batch.sealed_file import Recipient, SealedWriter
from vault.cleartext.batch.sending import digest_of
from vault.cleartext.hpke import SealSuite
from vault.cleartext.sealing import CardSealer
from vault.fingerprint import Fingerprints
from vault.keys.keeping import build_keeping

VISA, MASTERCARD, AMEX, DINERS = APPROVES, "5555555555554444", "378282246310005", "36227206271667"


def card(number: str = VISA, **members: Any) -> dict[str, Any]:
    """One line, as an object. Without a subject in `members` it is of one that is the test's."""
    usual = {"reference": "cus_1", "subject_id": "sub_ada", "exp_month": 12, "exp_year": 2040, "holder": "Ada Byron"}
    return {**usual, "number": number, **members}


def written(*lines: dict[str, Any] | bytes) -> list[bytes]:
    return [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]


def sealed(path: Path, recipient: Recipient, lines: list[bytes]) -> Path:
    """Whatever the lines are: a sender need not use our tool, which looks at them first."""
    with path.open("wb") as out:
        writer = SealedWriter(out, recipient)
        for line in lines:
            writer.add(line)
        writer.end()
    return path


@dataclass(frozen=True, slots=True)
class Desk:
    """Where cards of files are taken, for one vault: what the command builds, on the bench's clock.

    A ring of its own, as a process of its own has.
    """

    bench: Bench
    folder: Path
    person: Person
    keys: ImportKeys
    importing: Importing
    departure: Departure

    async def key(self, suite: SealSuite = SealSuite.X_WING, days: int = 7) -> Recipient:
        store = self.bench.vault.keeping.store
        async with store.transaction(self.person.tenant_id) as tx:
            await tx.ensure_tenant()
        return await self.keys.make(self.person.tenant_id, suite, days, "operator ada")

    async def file(self, *lines: dict[str, Any] | bytes, suite: SealSuite = SealSuite.X_WING) -> Path:
        return sealed(self.folder / "cards.sealed", await self.key(suite), written(*lines))

    def order(self, file: Path, **changes: Any) -> Order:
        usual = {"tenant_id": self.person.tenant_id, "brand_id": self.person.brand_id, "actor": "operator ada"}
        return Order(**{"file": file, "digest": digest_of(file), "result": self.result, **usual, **changes})

    @property
    def result(self) -> Path:
        return self.folder / "result.jsonl"

    async def take(self, file: Path, **changes: Any) -> Imported:
        return await self.importing.run(self.order(file, **changes), lambda _: None)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.result.read_text().splitlines()]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        found = await rows(self.bench.databases.app_dsn, f"SELECT * FROM {table}", self.person.tenant_id)  # noqa: S608 - the test's own name of a table
        return sorted(found, key=repr)


def desk(bench: Bench, folder: Path, person: Person) -> Desk:
    keeping = bench.vault.keeping
    ring = build_keeping(keeping.store, keeping.keys, bench.clock, bench.settings.lifecycle).ring
    fingerprints = Fingerprints(bench.settings.fingerprint_key)
    marks, keys = CanaryMarks(fingerprints.keys()), ImportKeys(keeping.store, ring, bench.clock)
    importing = Importing(
        store=keeping.store,
        ring=ring,
        sealer=CardSealer(ring, fingerprints, bench.clock),
        marks=marks,
        keys=keys,
        clock=bench.clock,
    )
    departure = Departure(store=keeping.store, ring=ring, marks=marks)
    return Desk(bench, folder, person, keys, importing, departure)
