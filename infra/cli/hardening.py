"""`harden --report`: which walls this machine can build, and which stand around the house's vault."""

import argparse

from infra.cli.console import say, table
from infra.dev import state, walls

HEAD = ("WALL", "STATE", "WHAT, OR WHY NOT")


def harden(options: argparse.Namespace) -> int:
    """Exit code 0 when this machine can build every wall, 1 when it lacks one."""
    found = walls.possible()
    say("a process of this user on this machine:")
    say(table([HEAD, *walls.rows(found)]))
    if state.is_running(options.folder):
        say(f"\nthe vault of the house in {options.folder}:")
        say(table([HEAD, *walls.rows(walls.standing(options.folder))]))
    else:
        say("\nno house runs")
    return 0 if all(wall.stands for wall in found) else 1
