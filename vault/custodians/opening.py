"""Starting the vault: open where its root lies open; or sealed, and at work as soon as its custodians were here."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.http import Background
from infra.chassis.keys import KeyService, starting
from infra.chassis.keys.custody import Custody
from infra.chassis.keys.settings import KeySettings
from vault.custodians.door import Door
from vault.custodians.settings import custody_settings

log = logs.get_logger()


async def begin(
    settings: KeySettings,
    folder: Path | None,
    custody: Custody,
    keys: KeyService,
    clock: Clock,
    work: Sequence[Background],
    *,
    may_lie_open: bool,
) -> list[Background]:
    """What runs beside the listeners: the door for custodians, and `work`, which needs the root.

    `may_lie_open`: outside of a sandbox an open root has to be wanted in so many words. Raises NotStarted.
    """
    under = custody_settings(settings, folder)
    if under is None:
        await starting.begin(keys)
        return list(work)
    door = Door(under, custody, keys, clock)
    if custody.closed:
        log.warning("vault_sealed", file=under.file.path.name)
        return [door.run, *(_once_opened(door, one) for one in work)]
    if not may_lie_open:
        raise starting.NotStarted(
            f"{under.file.path.name} lies open: `custody generate` puts it under custody, and "
            "UNDERCROFT_VAULT_OPEN_ROOT=true does without"
        )
    log.warning("root_lies_open", file=under.file.path.name)
    await starting.begin(keys)
    return [door.run, *work]


def _once_opened(door: Door, work: Background) -> Background:
    async def waiting(stop: asyncio.Event) -> None:
        opened, stopped = asyncio.ensure_future(door.opened.wait()), asyncio.ensure_future(stop.wait())
        await asyncio.wait((opened, stopped), return_when=asyncio.FIRST_COMPLETED)
        for one in (opened, stopped):
            one.cancel()
        if door.opened.is_set() and not stop.is_set():
            await work(stop)

    return waiting
