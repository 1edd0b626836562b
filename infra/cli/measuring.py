"""`bench`: our figures against the bare things they stand on."""

import argparse

from infra.bench import run
from infra.cli.console import complain
from infra.cli.interrupts import stoppable
from infra.cli.running import EXPECTED


def bench(options: argparse.Namespace) -> int:
    """Exit code 1 when a benchmark could not run, or with --strict when a bar was missed."""
    with stoppable():
        try:
            return run(options.names, options.json, options.strict)
        except EXPECTED as reason:
            complain(str(reason))
            return 1
