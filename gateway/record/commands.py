"""`python -m gateway record verify`: of a database with its key, or of an exported file with nothing but keys."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.bearers import signing_key
from gateway.contract import RecordVerification
from gateway.record import offline
from gateway.record.entries import Record
from gateway.record.offline import DAMAGED, INTACT, UNUSABLE
from gateway.record.verify import verify as verify_record
from gateway.settings import PREFIX, RecordSettings
from gateway.store import all_tenants
from infra.chassis import regular
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine, directory_transaction
from infra.chassis.secret import Secret
from infra.chassis.settings import load


def add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="an export, checked offline; without it, the database is")
    parser.add_argument("--tenant", help="of the database, only this tenant")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint of this record that was kept elsewhere")
    parser.add_argument("--key", help="of a file: the verifier key it must be signed with")
    parser.add_argument("--witness", action="append", default=[], help="of a file: a verifier key that must cosign")
    parser.add_argument("--receipt", action="append", default=[], type=Path, help="of a file: a promise it must keep")


def verify(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Reports on a file, on one tenant or on all. Raises SettingsIncomplete when the database is asked for."""
    if chosen.file is not None and chosen.tenant is None:
        return offline.verify_file(
            offline.Given(
                file=chosen.file,
                key=chosen.key,
                checkpoint=chosen.checkpoint,
                witnesses=chosen.witness,
                receipts=chosen.receipt,
            )
        )
    if chosen.file is not None or chosen.key or chosen.witness or chosen.receipt:
        sys.stderr.write("gateway: --tenant is for the database; --key, --witness and --receipt are for a file\n")
        return UNUSABLE
    return _verify_database(load(RecordSettings, PREFIX, environ), chosen.tenant, chosen.checkpoint)


def _verify_database(settings: RecordSettings, tenant_id: str | None, checkpoint: Path | None) -> int:
    """`checkpoint` is a file with a note kept elsewhere, for `tenant_id`."""
    if checkpoint is not None and tenant_id is None:
        sys.stderr.write("gateway: a checkpoint belongs to one tenant; name it with --tenant\n")
        return UNUSABLE
    try:
        key = signing_key(Secret(regular.read(settings.keys_folder / "record.pem")))
        note = None if checkpoint is None else checkpoint.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"gateway: cannot read what is needed ({type(error).__name__})\n")
        return UNUSABLE
    return asyncio.run(_verify(settings, Record(key, SystemClock()), tenant_id, note))


async def _verify(settings: RecordSettings, record: Record, tenant_id: str | None, note: str | None) -> int:
    engine = create_engine(settings.database_url)
    try:
        return await report(engine, record, tenant_id, note)
    finally:
        await engine.dispose()


async def report(engine: AsyncEngine, record: Record, tenant_id: str | None, note: str | None) -> int:
    """Writes a line for each tenant and each finding. Returns the exit code."""
    async with directory_transaction(engine) as tx:
        known = await all_tenants(tx)
    if tenant_id is not None and tenant_id not in known:
        sys.stderr.write(f"gateway: no tenant {tenant_id}\n")
        return UNUSABLE
    intact = True
    for each in [tenant_id] if tenant_id else known:
        found = await verify_record(engine, record, each, kept_elsewhere=note)
        sys.stdout.write(_lines(each, found))
        intact = intact and found.intact
    return INTACT if intact else DAMAGED


def _lines(tenant_id: str, found: RecordVerification) -> str:
    state = "intact" if found.intact else "DAMAGED"
    head = f"{tenant_id}: {state}, {found.tree_size} sealed, {found.unsealed} not yet\n"
    return head + "".join(f"  {finding}\n" for finding in found.findings)
