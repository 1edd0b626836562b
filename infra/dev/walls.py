"""Which walls this machine can build, found out by building them, and which stand around a running house.

`python -m infra.dev.walls` builds all of them around itself and says which it got.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.chassis.walls import MEANING, Wall, build
from infra.chassis.walls.plan import Plan, python_reads
from infra.chassis.walls.settings import WallSettings
from infra.dev import enclosure, peers, unfollowed, users
from infra.dev.ports import free_ports
from infra.dev.settings import ROOT

MEANINGS = {str(name): text for name, text in MEANING.items()}
OWN_USER = "own_user"
MEANINGS[OWN_USER] = "each service an operating-system user of its own: none reads another's keys, files or memory"
DATABASE_PEER = "database_peer"
MEANINGS[DATABASE_PEER] = "PostgreSQL asks the kernel which user comes, and takes no password"
MEANINGS[enclosure.FILTER] = "packets in that network: to its listeners and the processor, and no others (nftables)"
MEANINGS[enclosure.NETWORK] = "a network of its own: the listed ports of this machine, and no way out"


AROUND = (OWN_USER, DATABASE_PEER, enclosure.NETWORK, enclosure.FILTER)
"""What the runner builds, and the vault cannot."""


def possible() -> list[Wall]:
    """Of this machine and this user, in a process of their own. Raises CalledProcessError if that one fails."""
    program = [sys.executable, "-m", "infra.dev.walls"]
    answer = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program and arguments, no shell
    found = users.of_this_machine()
    around = {OWN_USER: found.why, DATABASE_PEER: peers.missing(found)}
    own = _read(json.loads(answer.splitlines()[-1]))
    return [*own, *(Wall(name, not why, why) for name, why in around.items()), *_enclosures()]


def _enclosures() -> list[Wall]:
    """A network of its own and the filter in it, made and left again."""
    with tempfile.TemporaryDirectory(prefix="undercroft-enclosure-") as name:
        folder = Path(name)
        try:
            child = enclosure.Enclosure(folder, folder / "log").start([], [])
        except enclosure.EnclosureFailed as reason:
            return [Wall(name, stands=False, why=str(reason)) for name in (enclosure.NETWORK, enclosure.FILTER)]
        if child is not None:
            child.stop()
        return _read([_document(folder, f"{name}.json") for name in (enclosure.NETWORK, enclosure.FILTER)])


def standing(folder: Path) -> list[Wall]:
    """Around the vault of the house in `folder`, as it said when it started last; empty when it never has."""
    own = _document(folder / "walls", "vault/walls.json")
    around = [_document(folder / "walls", f"{name}.json") for name in AROUND]
    return _read([*own.get("walls", []), *filter(None, around)]) if own else []


def say(folder: Path, name: str, why: str) -> None:
    """What the runner built around its services, or why not, for `standing`."""
    stands = {"name": name, "stands": not why, "why": why}
    (folder / f"{name}.json").write_text(json.dumps(stands), encoding="utf-8")


def _document(folder: Path, name: str) -> dict[str, Any]:
    """Empty when there is none, or it is being written this moment. The vault's own lies in a folder of the vault's."""
    try:
        found: dict[str, Any] = json.loads(unfollowed.read(folder, name))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def summary(folder: Path) -> str:
    """A line on those that stand, and one on each that does not."""
    walls = standing(folder)
    if not walls:
        return "  walls of the vault: it has not said"
    up = ", ".join(wall.name for wall in walls if wall.stands) or "none"
    down = [f"  missing  {wall.name}: {wall.why}" for wall in walls if not wall.stands]
    return "\n".join([f"  stands   around the vault: {up}", *down])


def rows(walls: Iterable[Wall]) -> list[tuple[str, str, str]]:
    """For a table: name, state, and what it does or why it is missing."""
    return [
        (wall.name, "on" if wall.stands else "off", wall.why or MEANINGS[wall.name])
        for wall in walls
    ]  # fmt: skip


def _read(documents: list[dict[str, Any]]) -> list[Wall]:
    """What a vault says is shown on root's terminal, which would obey some of what cannot be printed."""
    return [Wall(_plain(one["name"]), stands=bool(one["stands"]), why=_plain(one["why"])) for one in documents]


def _plain(said: object) -> str:
    return "".join(letter for letter in str(said) if letter.isprintable())


def main() -> None:
    plan = Plan(tuple(python_reads()), (), (), tuple(free_ports(1)), (), resolves_names=False)
    sys.stdout.write(json.dumps([asdict(wall) for wall in build(plan, WallSettings())]) + "\n")


if __name__ == "__main__":
    main()
