"""`up`, `down`, `status`, `logs`, `reset`: the house as a developer lives with it."""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from infra.cli.console import complain, printable, say, step, table
from infra.cli.guide import welcome
from infra.cli.interrupts import stoppable
from infra.dev import state, walls
from infra.dev.enclosure import EnclosureFailed
from infra.dev.house import House, HouseFailed, Options
from infra.dev.ports import Ports, PortTaken
from infra.dev.postgres import PostgresFailed

WATCH_SECONDS = 0.5
RESTARTS_MAX = 3
FOLLOW_SECONDS = 0.2
EXPECTED = (HouseFailed, EnclosureFailed, PortTaken, PostgresFailed, state.HouseBusy)


def up(options: argparse.Namespace) -> int:
    """Run until a signal. Exit code 0 when stopped by one, 1 when it could not start or lost its database."""
    try:
        ports = Ports.usual(options.base_port, dict(options.port))
    except TypeError:
        complain(f"--port knows these names: {', '.join(Ports.usual().named())}")
        return 2
    closed = not options.open_network
    wanted = Options(log_level=options.log_level, close_ports=closed, enclose=closed, own_users=True)
    house = House(options.folder, ports, wanted, report=step)
    with stoppable():
        try:
            say(f"starting the house on {house.folder}")
            with house:
                say(welcome(house))
                return _watch(house)
        except EXPECTED as reason:
            complain(str(reason))
            return 1
        except KeyboardInterrupt:
            say("\nstopped; the data is kept")
            return 0


def _watch(house: House) -> int:
    """Start again what stops by itself, a few times; return only when there is no point in going on."""
    restarts: Counter[str] = Counter()
    given_up: set[str] = set()
    while True:
        time.sleep(WATCH_SECONDS)
        for name, code in house.ended().items():
            if name.startswith(state.CLUSTER_PREFIX):
                complain(f"{name} stopped by itself ({code}); see {house.logs / name}.log. Stopping the rest")
                return 1
            if restarts[name] < RESTARTS_MAX:
                restarts[name] += 1
                _restart(house, name, code)
            elif name not in given_up:
                given_up.add(name)
                complain(f"{name} keeps stopping; it stays down. `undercroft logs {name}` says why")


def _restart(house: House, name: str, code: int) -> None:
    say(f"{name} stopped by itself ({code}); starting it again")
    try:
        house.restart(name)
    except HouseFailed as reason:
        complain(str(reason))


def down(options: argparse.Namespace) -> int:
    try:
        ran = state.bring_down(options.folder)
    except state.HouseBusy as reason:
        complain(str(reason))
        return 1
    say("stopped; the data is kept" if ran else "nothing was running")
    return 0


def status(options: argparse.Namespace) -> int:
    """Exit code 0 when everything runs, 1 otherwise."""
    known = state.State.read(options.folder)
    if known is None:
        say("not running. `undercroft up` starts the house")
        return 1
    everything = {"runner": known.runner, **known.processes}
    rows = [("NAME", "PID", "STATE", "URL")]
    rows += [
        (name, str(identity.pid), "runs" if identity.alive else "stopped", known.urls.get(name, ""))
        for name, identity in everything.items()
    ]
    say(table(rows))
    say(walls.summary(options.folder))
    if all(identity.alive for identity in everything.values()):
        return 0
    say("  `undercroft down` clears up what is left")
    return 1


def logs(options: argparse.Namespace) -> int:
    files = {path.stem: path for path in sorted((options.folder / "logs").glob("*.log"))}
    if options.name is None:
        say(
            "\n".join(f"  {name:18}{path}" for name, path in files.items()) or "no logs yet. `undercroft up` makes some"
        )
        return 0
    if options.name not in files:
        complain(f"there is no log of {options.name}; there are: {', '.join(files) or 'none yet'}")
        return 1
    lines = files[options.name].read_text(encoding="utf-8", errors="replace").split("\n")
    shown = lines[:-1] if lines[-1] == "" else lines
    sys.stdout.write("".join(f"{printable(line)}\n" for line in shown[-options.lines :]))
    sys.stdout.flush()
    if options.follow:
        _follow(files[options.name])
    return 0


def _follow(path: Path) -> None:
    """Show what is added until Ctrl-C."""
    with path.open(encoding="utf-8", errors="replace") as log, stoppable():
        log.seek(0, 2)
        try:
            while True:
                added = log.read()
                sys.stdout.write(printable(added))
                sys.stdout.flush()
                if not added:
                    time.sleep(FOLLOW_SECONDS)
        except KeyboardInterrupt:
            return


def reset(options: argparse.Namespace) -> int:
    if not options.folder.exists():
        say("there is no data")
        return 0
    if not options.yes and not _agreed(options.folder):
        complain("nothing was deleted. `undercroft reset --yes` does not ask")
        return 1
    try:
        state.remove(options.folder)
    except state.HouseBusy as reason:
        complain(str(reason))
        return 1
    say(f"deleted {options.folder}")
    return 0


def _agreed(folder: Path) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stdout.write(f"Delete all data in {folder}? It cannot be brought back. [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
