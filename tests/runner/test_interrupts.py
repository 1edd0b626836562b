import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import BUSY_SECONDS_MAX

ROOT = Path(__file__).parents[2]
INTERRUPTIBLE = """
import sys, time
from infra.cli.interrupts import stoppable
with stoppable():
    try:
        print("running", flush=True)
        time.sleep(3600)
    except KeyboardInterrupt:
        print("stopping", flush=True)
        sys.stdin.readline()
        print("stopped in good order", flush=True)
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_in_good_order_and_a_second_does_not_cut_it_short(first: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "running\n"

        process.send_signal(first)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        process.stdin.write("\n")
        process.stdin.flush()

        assert process.stdout.readline() == "stopped in good order\n"
        assert process.wait(timeout=BUSY_SECONDS_MAX) == 0
