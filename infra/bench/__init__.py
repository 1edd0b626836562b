"""Our figures beside their floors: what each service costs on top of the bare thing it stands on."""

import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from infra.bench import chassis, gateway, mcp_server, memory, purchase, vault
from infra.bench.measuring import BenchFailed, Figure
from infra.bench.report import as_table, write_json
from infra.cli.console import complain, say
from infra.dev.demo.story import DidNotHappen

Bench = Callable[[], Awaitable[list[Figure]]]

BENCHES: dict[str, Bench] = {
    "chassis": chassis.measure,
    "gateway": gateway.measure,
    "vault": vault.measure,
    "memory": memory.measure,
    "mcp_server": mcp_server.measure,
    "purchase": purchase.measure,
}


def run(names: Sequence[str], json_path: Path | None, strict: bool) -> int:
    """Measure what is named, or everything. 0 when it was measured and, with `strict`, every bar held.

    1 when a bar was missed under `strict` or something could not be measured, 2 for a name or a folder there is not.
    """
    chosen = list(dict.fromkeys(names)) or list(BENCHES)
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        complain(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHES)}")
        return 2
    if json_path is not None and not json_path.resolve().parent.is_dir():
        complain(f"there is no folder {json_path.resolve().parent} to write {json_path.name} into")
        return 2
    machine = _machine()
    try:
        figures = asyncio.run(_measure(chosen))
    except (BenchFailed, DidNotHappen) as reason:
        complain(str(reason))
        return 1
    say(f"\n{as_table(figures)}\n\n  {machine}")
    if json_path is not None:
        write_json(json_path, "+".join(names) or "all", figures)
    missed = [figure.figure for figure in figures if not figure.held]
    if missed:
        complain(f"missed: {'; '.join(missed)}")
    return 1 if missed and strict else 0


def _machine() -> str:
    """With the load before our own: a floor on a busy machine is mostly the waiting. And whose Python it is.

    One that was built without its own profile (`--enable-optimizations`) is a quarter slower, and does not say so.
    """
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = ": others are using this machine, so take the figures as rough" if load > cores else ""
    python = f"Python {platform.python_version()} of {sys.base_prefix}"
    return f"{cores} cores, load {load:.1f} when it began{busy}; {python}"


async def _measure(names: Sequence[str]) -> list[Figure]:
    figures = []
    for name in names:
        say(f"{name}:")
        figures += await BENCHES[name]()
    return figures
