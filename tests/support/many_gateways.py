"""Several real gateway processes on one database: `python -m tests.support.many_gateways PORT…` forks one for each.

Forked after the imports, which cost more than everything a test asks of eight processes. Nothing of the gateway has
been built by then, so each runs `python -m gateway` with its own port and has its own keys, engine, sealer and sweeper.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway import __main__ as gateway
from infra.chassis.http import build_app
from infra.dev import readiness
from infra.dev.house import House
from infra.dev.ports import HOST, free_ports
from infra.dev.processes import spawn
from infra.dev.settings import LIMITS_OUT_OF_THE_WAY, ROOT, TEXTING_FROM, basic

READY_SECONDS_MAX, STOP_SECONDS_MAX = 90.0, 60.0
"""Deadlines for a busy machine; on an idle one both take a few seconds."""


@contextmanager
def many_gateways(house: House, database_url: str, folder: Path, count: int) -> Iterator[list[str]]:
    """The URLs of `count` gateways that stand on this database and in front of this house's other services."""
    ports = free_ports(count)
    database = folder / "database.url"
    database.touch(mode=0o600)
    database.write_text(database_url)
    settings = {
        "PUBLIC_URL": house.urls["gateway"],
        "VAULT_URL": house.urls["vault"],
        "VAULT_PAGE_URL": house.urls["vault_page"],
        "MEMORY_URL": house.urls["memory"],
        "INBOX_URL": house.urls["inbox"],
        "TEXTING_URL": house.urls["inbox"],
        "TEXTING_ACCOUNT_FILE": str(house.keyring.path("gateway/texting.account")),
        "TEXTING_FROM": TEXTING_FROM,
        "KEYS_FOLDER": str(house.keyring.path("gateway/keys")),
        "CARRIERS_FOLDER": str(house.keyring.path("gateway/carriers")),
        "DATABASE_URL_FILE": str(database),
        "SANDBOX": "true",
        "LOG_LEVEL": "WARNING",
        **LIMITS_OUT_OF_THE_WAY,
    }
    environment = basic() | {f"UNDERCROFT_GATEWAY_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "tests.support.many_gateways", *map(str, ports)]
    log = folder / "gateways.log"
    started = spawn(command, environment=environment, log=log, folder=ROOT)
    try:
        ready = readiness.wait(
            lambda: all(readiness.answers_ok(port, "/ready") for port in ports),
            alive=lambda: started.alive,
            seconds=READY_SECONDS_MAX,
        )
        assert ready, log.read_text()
        yield [f"http://{HOST}:{port}" for port in ports]
    finally:
        code = started.stop(seconds=STOP_SECONDS_MAX)
    assert code == 0, log.read_text()


def main(ports: Sequence[str]) -> int:
    """Until SIGTERM, or until one of them ends: then all do. The worst exit code of them."""
    children: set[int] = set()

    def end(_number: int, _frame: object) -> None:
        for child in tuple(children):
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    build_app(service="none", routes=())  # what the framework imports only for its first app
    children |= {_forked(port) for port in ports}
    worst = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        worst = max(worst, abs(os.waitstatus_to_exitcode(status)))
        end(signal.SIGTERM, None)
    return worst


def _forked(port: str) -> int:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["UNDERCROFT_GATEWAY_BIND"] = f"{HOST}:{port}"
        os._exit(gateway.main([]))
    return child


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
