"""`python -m vault tokens import-key|seal|import|export`: cards coming from another vault, and leaving for one.

Beside a running vault, as its own role, in a process into which no other of the vault's user can look: a vault that was
broken into is that user, and here lie cards, shares and passphrases (vault/custodians/closing.py). Where the root is
under custody, its custodians open it here, for this one command, at a terminal; exporting needs two of them in any
case. `seal` needs of a vault the key it gave out alone.

Exit codes: 0 done; 1 not done, or not all of it, the sentence says why; 2 the settings are incomplete; 130 broken off.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from infra.chassis import crashpoints, durable, logs
from infra.chassis.clock import Clock, SystemClock
from infra.chassis.engine import DatabaseUnreachable, create_engine
from infra.chassis.keys import KeyServiceUnreachable
from infra.chassis.keys.custody import Custody, is_sealed_file
from infra.chassis.keys.ringfile import RingUnusable
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.secret import Secret
from infra.chassis.settings import load
from vault.batch.approving import approve
from vault.batch.import_keys import DAYS_MAX, ImportKeys
from vault.canary_marks import CanaryMarks
from vault.cleartext.batch.importing import ImportBusy, Imported, Importing, Order
from vault.cleartext.batch.leaving import Departure, Leaving
from vault.cleartext.batch.sealed_file import KEY_FILE_BYTES_MAX, Recipient, SealedFileRefused, is_good, recipient_of
from vault.cleartext.batch.sending import NotSealed, digest_of, seal_file
from vault.cleartext.hpke import SealSuite
from vault.cleartext.sealing import CardSealer
from vault.contract import is_identifier
from vault.custodians import closing
from vault.custodians.ceremony import CeremonyUnfit
from vault.custodians.people import NotProved
from vault.custodians.record import RecordBroken
from vault.custodians.room import NotDone, Room
from vault.custodians.settings import CustodySettings, custody_settings
from vault.custodians.sheets import SheetUnreadable
from vault.custodians.terminal import Left, NoTerminal, Terminal
from vault.fingerprint import FingerprintKeyUnusable, Fingerprints
from vault.keys.acts import note
from vault.keys.commands import actor
from vault.keys.keeping import build_keeping
from vault.keys.ring import KeyRing, KeyUnavailable
from vault.keys.settings import LifecycleSettings
from vault.settings import PREFIX
from vault.store import Store

LEFT_EXIT: Final = 130
DAYS: Final = 7
TOLD_EVERY: Final = 1_000
VERBS: Final = frozenset({"import-key", "seal", "import", "export"})
REFUSALS: Final = (
    NotDone, NotSealed, SealedFileRefused, NoTerminal, CeremonyUnfit, NotProved, RecordBroken, SheetUnreadable,
    KeyUnavailable, FingerprintKeyUnusable, RingUnusable,
)  # fmt: skip
"""What says by itself why nothing was done."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Of the vault's settings, what sealing and opening cards needs, and its custodians."""

    database_url: Secret[str]
    fingerprint_key: Secret[bytes]
    keys: KeySettings
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    custody_folder: Path | None = None
    sandbox: bool = False
    crash_points: str = ""


@dataclass(frozen=True, slots=True)
class Whose:
    """Files of which one at least is the vault's: whose its folder is, that user the command is to be."""

    root_key_file: Path | None = None
    pkcs11_pin_file: Path | None = None
    fingerprint_key_file: Path | None = None

    @property
    def folder(self) -> Path | None:
        files = (self.root_key_file, self.pkcs11_pin_file, self.fingerprint_key_file)
        return next((file.parent for file in files if file is not None), None)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is built for one command."""

    store: Store
    ring: KeyRing
    fingerprints: Fingerprints
    clock: Clock

    @property
    def marks(self) -> CanaryMarks:
        return CanaryMarks(self.fingerprints.keys())

    @property
    def import_keys(self) -> ImportKeys:
        return ImportKeys(self.store, self.ring, self.clock)


def add_batch(verbs: Any) -> None:
    """Beside the other commands about tokens."""
    making = verbs.add_parser("import-key", help="a key to which another vault seals its cards for a tenant")
    making.add_argument("tenant", metavar="TENANT")
    making.add_argument("--days", type=int, default=DAYS, help=f"how long it opens files ({DAYS}, at most {DAYS_MAX})")
    making.add_argument("--suite", choices=[suite.value for suite in SealSuite], default=SealSuite.X_WING.value)
    sealing = verbs.add_parser("seal", help="seal a file of cards, a JSON object a line, to such a key; needs no vault")
    sealing.add_argument("lines", type=Path, metavar="CARDS")
    sealing.add_argument("--to", type=Path, required=True, metavar="KEY", help="what import-key printed")
    sealing.add_argument("--out", type=Path, required=True, metavar="FILE")
    importing = verbs.add_parser("import", help="take the cards of a sealed file; the same command goes on, or repeats")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--tenant", required=True)
    importing.add_argument("--brand", required=True, help="of cards whose line names none")
    importing.add_argument(
        "--sha256", type=bytes.fromhex, metavar="HEX", help="as the sender told it; a file with another one is refused"
    )
    importing.add_argument("--result", type=Path, required=True, metavar="FILE", help="what became of each line")
    exporting = verbs.add_parser("export", help="all cards of a tenant, sealed to another vault's key; two custodians")
    exporting.add_argument("--tenant", required=True)
    exporting.add_argument("--to", type=Path, required=True, metavar="KEY", help="as the other vault gave it out")
    exporting.add_argument("--out", type=Path, required=True, metavar="FILE")


def batch(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Raises SettingsIncomplete."""
    logs.configure("vault-batch", "ERROR")  # what is asked for is what is printed
    clock = SystemClock()
    try:
        if chosen.verb == "seal":
            return _seal(chosen, clock)
        closing.close(load(Whose, PREFIX, environ).folder, keep_groups=True)  # before a secret is read
        settings = load(BatchSettings, PREFIX, environ)
        crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
        return {"import-key": _make_key, "import": _import, "export": _export}[chosen.verb](settings, chosen, clock)
    except Left:
        sys.stdout.write("\ntokens: left; nothing was done\n")
        return LEFT_EXIT
    except KeyboardInterrupt:
        sys.stderr.write("tokens: broken off; the same command goes on, or begins again\n")
        return LEFT_EXIT
    except REFUSALS as reason:
        sys.stderr.write(f"tokens: {reason}\n")
    except ImportBusy:
        sys.stderr.write("tokens: another import of this tenant is under way\n")
    except (DatabaseUnreachable, KeyServiceUnreachable) as away:
        sys.stderr.write(f"tokens: {type(away).__name__}; the same command goes on from there\n")
    except OSError as error:
        sys.stderr.write(f"tokens: {error.strerror or type(error).__name__}: {error.filename}\n")
    return 1


def _seal(chosen: argparse.Namespace, clock: Clock) -> int:
    sealed = seal_file(chosen.lines, _key_in(chosen.to), chosen.out, clock.now())
    _say(f"{sealed.batch_id}: {sealed.lines} lines; SHA-256 {sealed.digest}, to be told to the vault by another way")
    return 0


def _make_key(settings: BatchSettings, chosen: argparse.Namespace, clock: Clock) -> int:
    if not 1 <= chosen.days <= DAYS_MAX:
        raise NotDone(f"from 1 to {DAYS_MAX} days")
    _require_ids(chosen.tenant)

    async def make(parts: Parts) -> Recipient:
        async with parts.store.transaction(chosen.tenant) as tx:
            await tx.ensure_tenant()
        return await parts.import_keys.make(chosen.tenant, SealSuite(chosen.suite), chosen.days, actor())

    custody = _opened(settings, clock, {"work": "import-key", "tenant": chosen.tenant})
    made = asyncio.run(_with_parts(settings, custody, clock, make))
    _say(msgspec.json.encode(made).decode())
    return 0


def _import(settings: BatchSettings, chosen: argparse.Namespace, clock: Clock) -> int:
    _require_ids(chosen.tenant, chosen.brand)
    digest = digest_of(chosen.file)
    if chosen.sha256 not in {None, digest}:
        raise NotDone(f"the file has another SHA-256, {digest.hex()}: it is not the one that was told of")
    order = Order(chosen.file, digest, chosen.tenant, chosen.brand, chosen.result, actor())

    async def take(parts: Parts) -> Imported:
        sealer = CardSealer(parts.ring, parts.fingerprints, clock)
        importing = Importing(
            store=parts.store, ring=parts.ring, sealer=sealer, marks=parts.marks, keys=parts.import_keys, clock=clock
        )
        return await importing.run(order, _tell)

    custody = _opened(settings, clock, {"work": "import", "tenant": chosen.tenant, "file_sha256": digest.hex()})
    done = asyncio.run(_with_parts(settings, custody, clock, take))
    counts = f"{done.stored} stored, {done.there} were there, {done.refused} refused"
    _say(f"{done.batch_id}: {done.lines} lines: {counts}; SHA-256 {done.digest}")
    return 0


def _export(settings: BatchSettings, chosen: argparse.Namespace, clock: Clock) -> int:
    _require_ids(chosen.tenant)
    recipient = _key_in(chosen.to)
    if not is_good(recipient, clock.now()):
        raise NotDone("the other vault's key has ended")
    told = [
        f"All cards of {chosen.tenant} are opened and sealed to key {recipient.key_id} of {recipient.tenant_id}.",
        f"SHA-256 of that public key: {sha256(recipient.public_key).hexdigest()}",
        "Compare it with what the other vault says. After this nothing of ours guards the file.",
    ]
    what = {
        "tenant": chosen.tenant,
        "to_tenant": recipient.tenant_id,
        "to_key": recipient.key_id,
        "to_key_sha256": sha256(recipient.public_key).hexdigest(),
    }
    with Terminal.taken() as terminal:
        approval = approve(_room(settings, terminal, clock), "export approved", what, told)

    async def leave(parts: Parts) -> Leaving:
        return await _leave(parts, chosen, recipient)

    left = asyncio.run(_with_parts(settings, approval.custody, clock, leave))
    digest = digest_of(chosen.out).hex()
    done = {"batch": left.batch_id, "file_sha256": digest, "cards": left.cards, "unreadable": left.unreadable}
    approval.write("exported", what | done)
    _say(f"{left.batch_id}: {left.cards} cards; SHA-256 {digest}")
    _say(f"left behind: {left.never_charged} that were never charged, {left.unreadable} that do not open")
    return 1 if left.unreadable else 0


async def _leave(parts: Parts, chosen: argparse.Namespace, recipient: Recipient) -> Leaving:
    if chosen.tenant not in await parts.store.tenants():
        raise NotDone("there is no such tenant")
    departure = Departure(store=parts.store, ring=parts.ring, marks=parts.marks)
    with durable.replacing(chosen.out) as out:
        left = await departure.run(chosen.tenant, recipient, out)
        now, outcome = parts.clock.now(), {"cards": left.cards, "unreadable": left.unreadable}
        async with parts.store.transaction(chosen.tenant) as tx:
            await note(tx, now, actor=actor(), act="exported", what=left.batch_id, outcome=outcome)
    return left


def _opened(settings: BatchSettings, clock: Clock, what: dict[str, str]) -> Custody | None:
    """None where the root lies open; else its custodians come, and it stands in their record."""
    under = custody_settings(settings.keys, settings.custody_folder)
    if under is None or not is_sealed_file(under.file.path):
        return None
    with Terminal.taken() as terminal:
        told = [f"The root is opened for this: {what['work']} of {what['tenant']}."]
        if "file_sha256" in what:
            told += [f"SHA-256 of the file: {what['file_sha256']}", "Compare it with what its sender says."]
        return approve(Room(under, terminal, clock, None), "import approved", what, told).custody


def _room(settings: BatchSettings, terminal: Terminal, clock: Clock) -> Room:
    """Raises NotDone where nobody can approve anything."""
    under: CustodySettings | None = custody_settings(settings.keys, settings.custody_folder)
    if under is None:
        raise NotDone("an export needs two custodians, and a root in this key service has none here")
    return Room(under, terminal, clock, None)


async def _with_parts(
    settings: BatchSettings, custody: Custody | None, clock: Clock, work: Callable[[Parts], Any]
) -> Any:
    async with _parts(settings, custody, clock) as parts:
        return await work(parts)


@contextlib.asynccontextmanager
async def _parts(settings: BatchSettings, custody: Custody | None, clock: Clock) -> AsyncIterator[Parts]:
    engine = create_engine(settings.database_url, pool_size=3)
    keys = open_key_service(settings.keys, clock, custody)
    try:
        store = Store(engine)
        ring = build_keeping(store, keys, clock, settings.lifecycle).ring
        yield Parts(store, ring, Fingerprints(settings.fingerprint_key), clock)
    finally:
        await keys.close()
        await engine.dispose()


def _key_in(path: Path) -> Recipient:
    with path.open("rb") as file:
        return recipient_of(file.read(KEY_FILE_BYTES_MAX + 1))


def _require_ids(*ids: str) -> None:
    wrong = [one for one in ids if not is_identifier(one)]
    if wrong:
        raise NotDone("a tenant is written tnt_…, a brand brd_…")


def _tell(imported: Imported) -> None:
    taken = imported.stored + imported.there + imported.refused
    if taken % TOLD_EVERY == 0 or taken == imported.lines:
        sys.stderr.write(f"{taken} of {imported.lines} lines\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
