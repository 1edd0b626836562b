"""`python -m vault courier`: delivering in a process of its own, where the vault itself may not reach the internet.

It opens no port, has no key service and no processor; of secrets it is given the database's and the outbox key. The
serving vault is then told `OUTBOX_COURIER=false`. Several may run.
"""

import asyncio
import signal
from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from infra.chassis import crashpoints, logs
from infra.chassis.clock import Clock
from infra.chassis.engine import create_engine
from infra.chassis.settings import load
from vault.names import Names
from vault.outbox.building import build_outbox
from vault.outbox.commands import WebhookSettings
from vault.settings import PREFIX
from vault.store import Store


def courier(environ: Mapping[str, str], clock: Clock) -> int:
    """Until SIGTERM or SIGINT. Raises SettingsIncomplete."""
    settings = load(WebhookSettings, PREFIX, environ)
    crashpoints.arm(settings.crash_points, sandbox=settings.sandbox)
    logs.configure("vault-courier", settings.log_level)
    asyncio.run(_deliver(settings, clock))
    return 0


async def _deliver(settings: WebhookSettings, clock: Clock) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = create_engine(settings.database_url)
    outbox = build_outbox(
        store=Store(engine),
        settings=settings.outbox,
        clock=clock,
        registry=CollectorRegistry(),
        sandbox=settings.sandbox,
        names=Names(),
    )
    try:
        await outbox.courier.run(stop)
    finally:
        await engine.dispose()
