"""The crash hook: does nothing unless armed, cannot be armed in production, and kills as a crash does."""

import signal
import subprocess
import sys

import pytest

from infra.chassis import crashpoints
from infra.chassis.settings import SettingsIncomplete

PROGRAM = """
from infra.chassis import crashpoints
crashpoints.arm("second_step:2,elsewhere", sandbox=True)
for turn in range(3):
    crashpoints.reach("first_step")
    print(turn, flush=True)
    crashpoints.reach("second_step")
"""


def test_nothing_happens_where_nothing_is_armed():
    crashpoints.arm("", sandbox=False)

    crashpoints.reach("anywhere")


def test_an_armed_place_kills_the_process_the_time_it_says():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, ["0", "1"])


@pytest.mark.parametrize(("places", "sandbox"), [("first_step", False), ("first step", True), ("first_step:x", True)])
def test_outside_of_a_sandbox_and_misspelt_it_refuses_the_start(places: str, sandbox: bool):
    with pytest.raises(SettingsIncomplete):
        crashpoints.arm(places, sandbox=sandbox)
