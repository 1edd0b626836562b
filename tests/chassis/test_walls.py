"""Walls, by real processes that build them and then try what they should stop.

What a machine cannot give is asserted too: then the report says so, and the attempt goes through as it does without.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.chassis.walls import MEANING, Name
from infra.chassis.walls.plan import Plan, python_reads
from infra.chassis.walls.settings import NAMES, WallSettings
from infra.dev.ports import free_ports
from tests.support.attempts import DONE
from tests.support.walled import Attempt, Tried, refusal, try_inside

REFUSED = {"EPERM", "EACCES"}
AF_NETLINK, SOCK_RAW = 16, 3
OPEN_ANYWHERE = {"files", "ports", "signals", "system_calls"}
"""What the others stop a container may have stopped already."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder and ports for one process. `secret` and `peer` are somebody else's."""

    plan: Plan
    own: Path
    kept: Path
    secret: Path
    peer: int
    open_port: int

    def attempts(self, wall: str) -> list[Attempt]:
        """What this wall alone stops."""
        known: dict[str, list[Attempt]] = {
            "no_core_file": [["may_leave_core"]],
            "not_dumpable": [["is_dumpable"]],
            "memory_locked": [["may_swap"]],
            "no_new_privileges": [["may_gain_privileges"]],
            "no_capabilities": [["become", os.geteuid() + 1]],
            "files": [["read", str(self.secret)], ["write", str(self.own)], ["entries", "/"]],
            "ports": [["tcp", "127.0.0.1", self.peer], ["listen", self.peer + 1]],
            "signals": [["ask_signal", os.getpid()]],
            "system_calls": [
                ["run_shell"],
                ["fork"],
                ["read_memory", os.getpid()],
                ["be_dumpable"],
                ["own_namespace"],
                ["family", AF_NETLINK, SOCK_RAW],
                ["datagram", "127.0.0.1", 9],
                ["ip6", "::1", 9],
            ],
        }
        return known[wall]

    @property
    def allowed(self) -> list[Attempt]:
        return [
            ["read", str(self.own)],
            ["write", str(self.kept / "made")],
            ["read", os.devnull],
            ["tcp", "127.0.0.1", self.open_port],
            ["listen", self.plan.listens[0]],
        ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own, kept, secret = tmp_path / "own" / "key", tmp_path / "kept", tmp_path / "other" / "key"
    for path in (own, secret):
        path.parent.mkdir()
        path.write_text("x")
    kept.mkdir()
    (listens,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as peer, socket.create_server(("127.0.0.1", 0)) as reachable:
        open_port = reachable.getsockname()[1]
        plan = Plan((*python_reads(), own.parent), (kept,), (), (listens,), (open_port,), resolves_names=False)
        yield Place(plan, own, kept, secret, peer.getsockname()[1], open_port)


def alone(wall: str) -> str:
    return ",".join(sorted(NAMES - {wall}))


def test_each_wall_has_a_meaning_and_a_name_the_settings_know():
    assert set(MEANING) == set(Name) == NAMES


@pytest.mark.control("UC-2.2")
@pytest.mark.parametrize("wall", sorted(NAMES))
def test_each_wall_alone_stops_what_it_is_for_or_is_reported_missing(place: Place, wall: str):
    attempts = place.attempts(wall)

    bare = try_inside(place.plan, attempts, walls="off")
    walled = try_inside(place.plan, attempts, walls_left_out=alone(wall))

    assert set(bare.stands.values()) == {"left out by the settings"}
    assert DONE in bare.outcomes or wall not in OPEN_ANYWHERE, "nothing was there to be stopped"
    if walled.stands[wall] is None:
        assert set(walled.outcomes) <= REFUSED, list(zip(attempts, walled.outcomes, strict=True))
    else:
        assert walled.stands[wall]
        assert walled.outcomes == bare.outcomes
    assert {name for name, why in walled.stands.items() if why == "left out by the settings"} == NAMES - {wall}


@pytest.mark.control("UC-2.2")
def test_behind_all_walls_what_is_needed_still_works_and_none_can_be_taken_down_again(place: Place):
    undoing: list[Attempt] = [["be_dumpable"], ["raise_core_limit"], ["unlock_memory"], ["change_root"]]

    tried = try_inside(place.plan, [*place.allowed, *undoing])

    assert tried.outcomes[: len(place.allowed)] == [DONE] * len(place.allowed)
    if not missing(tried, "system_calls", "no_capabilities", "no_core_file"):
        assert set(tried.outcomes[len(place.allowed) :]) <= REFUSED


@pytest.mark.parametrize(
    ("machine", "walls", "why"),
    [
        ("without packages", {"files", "ports", "signals", "system_calls"}, "not installed"),
        ("without Landlock", {"files", "ports", "signals"}, "not available"),
        ("with a thread", {"files", "ports", "signals", "no_capabilities"}, "2 threads run already"),
    ],
)
def test_a_machine_that_lacks_something_is_told_so_and_the_rest_stands(
    place: Place, machine: str, walls: set[str], why: str
):
    tried = try_inside(place.plan, [["read", str(place.secret)], ["may_gain_privileges"]], machine)

    assert {name for name, text in tried.stands.items() if why in (text or "")} == walls
    assert tried.outcomes == [DONE, "EPERM"]


@pytest.mark.control("UC-2.2")
def test_what_is_required_and_missing_stops_the_start_unless_it_is_left_out_by_name(place: Place):
    said = refusal(place.plan, "with a thread")

    missing_here = {name for name in NAMES if f"the wall {name} cannot be had: " in said}
    assert {"files", "ports", "signals", "no_capabilities"} <= missing_here
    tried = try_inside(place.plan, [], "with a thread", walls="require", walls_left_out=",".join(missing_here))
    assert {name for name, why in tried.stands.items() if why is None} == NAMES - missing_here


def test_a_process_that_may_connect_anywhere_still_listens_only_where_it_should(place: Place):
    anywhere = Plan(place.plan.reads, (), (), place.plan.listens, None, resolves_names=True)

    tried = try_inside(
        anywhere, [["tcp", "127.0.0.1", place.peer], ["datagram", "127.0.0.1", 9], ["listen", place.peer + 1]]
    )

    assert tried.outcomes[:2] == [DONE, DONE]
    assert tried.outcomes[2] in REFUSED or tried.stands["ports"]


def test_which_walls_stand_is_written_where_asked(place: Place, tmp_path: Path):
    file = tmp_path / "walls.json"

    tried = try_inside(place.plan, [], walls_file=str(file))

    assert file.exists()
    assert all(f'"name": "{name}"' in file.read_text() for name in tried.stands)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (WallSettings(walls="perhaps"), "WALLS must be one of auto, require, off"),
        (WallSettings(walls_left_out="files,moat"), "WALLS_LEFT_OUT knows no moat"),
        (WallSettings(walls_connects="443,https"), "WALLS_CONNECTS holds something else than ports"),
        (WallSettings(walls_connects="0"), "WALLS_CONNECTS holds something else than ports"),
        (WallSettings(walls_reads="/nowhere"), "WALLS_READS or WALLS_WRITES names what is not there: /nowhere"),
        (WallSettings(walls_file=Path("/nowhere/file")), "WALLS_FILE is in a folder that cannot be written"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: WallSettings, fault: str):
    assert settings.faults() == [fault]


def missing(tried: Tried, *walls: str) -> bool:
    return any(tried.stands[wall] is not None for wall in walls)
