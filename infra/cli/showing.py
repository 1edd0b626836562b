"""`demo`: a fresh house, the story, and nothing left afterwards."""

import argparse
import contextlib
import secrets

from infra.cli.arguments import DATA
from infra.cli.console import complain, say, step
from infra.cli.interrupts import stoppable
from infra.cli.running import EXPECTED
from infra.dev import state
from infra.dev.demo import play
from infra.dev.house import House, Options
from infra.dev.ports import Ports


def demo(options: argparse.Namespace) -> int:
    """Exit code 0 only when everything in the story happened."""
    _clear_after_earlier_demos()
    folder = DATA / f"{'kept' if options.keep else 'demo'}-{secrets.token_hex(3)}"
    house = House(
        folder,
        Ports.free(),
        Options(wiretap=True, durable=False, close_ports=True, enclose=True, own_users=True),
        report=step,
    )
    with stoppable():
        try:
            say("starting the house: every service a process of its own")
            with house:
                code = play(house)
        except EXPECTED as reason:
            complain(str(reason))
            code = 1
        except BaseException:
            state.remove(folder)
            raise
    if options.keep:
        say(f"kept: {folder}")
    elif code == 0:
        state.remove(folder)
    else:
        complain(f"its data and logs stay in {folder} until the next demo")
    return code


def _clear_after_earlier_demos() -> None:
    """Clean up for demos that failed or were killed. Running ones and kept ones stay."""
    for folder in DATA.glob("demo-*"):
        with contextlib.suppress(state.HouseBusy):
            state.remove(folder)
