"""Which walls this machine can build, found out by building them, and which stand around a running house.

`python -m infra.dev.walls` builds all of them around itself and says which it got.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.chassis.walls import MEANING, Wall, build
from infra.chassis.walls.plan import Plan, python_reads
from infra.chassis.walls.settings import WallSettings
from infra.dev.ports import free_ports
from infra.dev.settings import ROOT

MEANINGS = {str(name): text for name, text in MEANING.items()}
MEANINGS["network"] = "a network of its own: the listed ports of this machine, and no way out"


def possible() -> list[Wall]:
    """Of this machine and this user, in a process of their own. Raises CalledProcessError if that one fails."""
    program = [sys.executable, "-m", "infra.dev.walls"]
    answer = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program and arguments, no shell
    return _read(json.loads(answer.splitlines()[-1]))


def standing(folder: Path) -> list[Wall]:
    """Around the vault of the house in `folder`, as it said when it started last; empty when it never has."""
    own, network = _document(folder / "walls" / "vault.json"), _document(folder / "walls" / "network.json")
    return _read([*own.get("walls", []), *([network] if network else [])]) if own else []


def _document(file: Path) -> dict[str, Any]:
    """Empty when there is none, or it is being written this moment."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
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
    return "\n".join([f"  stands   around the vault's own process: {up}", *down])


def rows(walls: Iterable[Wall]) -> list[tuple[str, str, str]]:
    """For a table: name, state, and what it does or why it is missing."""
    return [
        (wall.name, "on" if wall.stands else "off", wall.why or MEANINGS[wall.name])
        for wall in walls
    ]  # fmt: skip


def _read(documents: list[dict[str, Any]]) -> list[Wall]:
    return [Wall(str(one["name"]), stands=bool(one["stands"]), why=str(one["why"])) for one in documents]


def main() -> None:
    plan = Plan(tuple(python_reads()), (), (), tuple(free_ports(1)), (), resolves_names=False)
    sys.stdout.write(json.dumps([asdict(wall) for wall in build(plan, WallSettings())]) + "\n")


if __name__ == "__main__":
    main()
