"""A program that seals and is killed at a named point, as often as it is told to; run by test_record_deaths.

Arguments: a file with the database's URL, one with the record's key, the tenant. Each line of the input names a crash
point (or nothing); a process of its own seals then, and the line of the output is the signal that ended it, 0 for none.
"""

import asyncio
import os
import sys
from pathlib import Path

from gateway.bearers import signing_key
from gateway.record.entries import Record
from gateway.record.sealer import Sealer
from infra.chassis import crashpoints
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.secret import Secret
from tests.support.record import START


async def seal(url: Secret[str], key: Secret[bytes], tenant_id: str) -> None:
    engine = create_engine(url, pool_size=1)
    await Sealer(engine, Record(signing_key(key), FixedClock(START))).seal(tenant_id)
    await engine.dispose()


def main(url: str, key: str, tenant_id: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            crashpoints.arm(line.strip(), sandbox=True)
            asyncio.run(seal(Secret(Path(url).read_text()), Secret(Path(key).read_bytes()), tenant_id))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.WTERMSIG(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
