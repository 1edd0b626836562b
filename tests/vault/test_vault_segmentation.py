"""Segmentation: from inside a real vault every way out is tried, from outside the ways in; the transcript is printed.

Each attempt names the walls that stop it. Where one of them stands it has to be refused; where none does, what is on
this machine has to be reached, or the report of the walls would be too modest. What would leave the machine is only
tried behind a wall that stops it.
"""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.dev import processes
from infra.dev.enclosure import Enclosure
from infra.dev.postgres import SOCKET_NAME, Cluster
from tests.sandbox.running import Sandbox
from tests.support.attempts import DONE
from tests.support.database import DatabaseMaker
from tests.support.infiltrated import Infiltrator
from tests.vault.bench import Person
from tests.vault.process import Process
from tests.vault.within import EVERYTHING, Within, infiltrated, neighbour, peer_service

OFF = {"UNDERCROFT_VAULT_WALLS": "off"}
BINDS = ("BIND", "PAGE_BIND", "WEBHOOK_BIND")
NOBODY = 65534
NEVER = "never tried"
LEASH = (sys.executable, "-I", "-S", str(processes.LEASH), "15", str(os.getpid()))
FILTERED = frozenset({"packet_filter", "ports"})
LISTENS = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
"""
DOCUMENTATION_IP4, DOCUMENTATION_IP6 = "192.0.2.1", "2001:db8::1"  # RFC 5737, RFC 3849: nobody's
METADATA = "169.254.169.254"


@dataclass(frozen=True, slots=True)
class Way:
    """`local`: without walls it leads somewhere on this machine, and so has to be open then."""

    what: str
    attempt: tuple[str | int, ...]
    walls: frozenset[str]
    local: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    way: Way
    outcome: str

    def __str__(self) -> str:
        return f"  {self.outcome:14} {self.way.what:52} stopped by {', '.join(sorted(self.way.walls)) or 'nothing'}"


@dataclass(slots=True)
class Enclosing:
    """Starts a vault in a network of its own where this machine has such a thing."""

    folder: Path
    processor: Sandbox
    filtered: bool = True
    infiltrator: Infiltrator | None = None
    child: processes.Child | None = None
    network: str | None = None

    def around(self, infiltrator: Infiltrator) -> "Enclosing":
        self.infiltrator = infiltrator
        return self

    def __call__(self, environment: Mapping[str, str], log: Path) -> Process:
        assert self.infiltrator is not None
        inward = [int(environment[f"UNDERCROFT_VAULT_{name}"].rpartition(":")[2]) for name in BINDS]
        made = Enclosure(self.folder, self.folder / "enclosure.log")
        self.child = made.start(inward, [self.processor.port], filtered=self.filtered)
        if self.child is not None:
            self.network = made.network
            self.infiltrator.prefix = [*LEASH, f"-:{self.network}"]
        return self.infiltrator.spawn(environment, log)

    def walls(self) -> set[str]:
        """Those of the runner that stand."""
        reports = [json.loads(path.read_text()) for path in self.folder.glob("*_filter.json")]
        filters = {report["name"] for report in reports if report["stands"]}
        return {"network", *filters} if self.child is not None else filters

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


@dataclass(frozen=True, slots=True)
class Place:
    within: Within
    walls: frozenset[str]
    ways: list[Way]
    keeper: processes.Child | None


@asynccontextmanager
async def placed(
    database: DatabaseMaker,
    processor: Sandbox,
    clusters: Mapping[str, Cluster],
    folder: Path,
    settings: Mapping[str, str],
    *,
    enclosed: bool,
    filtered: bool = True,
) -> AsyncIterator[Place]:
    """A vault beside a peer service. `walls`: those that stand, the runner's among them."""
    enclosing = Enclosing(folder, processor, filtered)
    with peer_service(folder) as (port, key):
        try:
            around = enclosing.around if enclosed else None
            async with infiltrated(database, processor, folder, settings, around) as within:
                standing = {name for name, why in within.walls.items() if why is None}
                ways = out(folder, clusters, processor, port, key)
                with somebody_in(enclosing.network, folder) as theirs:
                    way = Way("somebody else's port in its own network", ("tcp", "127.0.0.1", theirs), FILTERED)
                    yield Place(within, frozenset(standing | enclosing.walls()), [*ways, way], enclosing.child)
        finally:
            enclosing.stop()


@contextmanager
def somebody_in(network: str | None, folder: Path) -> Iterator[int]:
    """Who listens in the vault's network, and is not the vault; on which port."""
    program = [*LEASH, f"-:{network or ''}", sys.executable, "-I", "-c", LISTENS]
    with (folder / "somebody.log").open("wb") as log:
        process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    with process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def out(folder: Path, clusters: Mapping[str, Cluster], processor: Sandbox, port: int, key: Path) -> list[Way]:
    assert processor.process is not None
    peer, reach, calls = processor.process.pid, FILTERED | {"network"}, frozenset({"system_calls"})
    files, wired = frozenset({"files"}), frozenset({"network", "system_calls"})
    postgres = str(clusters["house"].socket_folder / SOCKET_NAME)
    return [
        Way("another service's port", ("tcp", "127.0.0.1", port), reach),
        Way("the sandbox's inbox", ("tcp", "127.0.0.1", processor.inbox_port), reach),
        Way(
            "the others' database, as their role",
            ("postgres", postgres, "memory_app", "memory"),
            frozenset({"password"}),
        ),
        Way("the machine's metadata", ("tcp", METADATA, 80), reach, local=False),
        Way("the internet", ("tcp", DOCUMENTATION_IP4, 443), reach, local=False),
        Way("the internet by IPv6", ("ip6", DOCUMENTATION_IP6, 443), wired, local=False),
        Way("a name server elsewhere", ("datagram", DOCUMENTATION_IP4, 53), wired, local=False),
        Way("a name server here", ("datagram", "127.0.0.53", 53), calls | {"packet_filter"}),
        Way("listening on a port of its own choice", ("listen", port + 1), frozenset({"ports"})),
        Way("another service's root key", ("read", str(key)), files),
        # Root's peer has powers the vault gave up: the kernel alone may refuse this.
        Way("another process's environment", ("read", f"/proc/{peer}/environ"), files, local=False),
        Way("the files of this machine", ("entries", "/"), files),
        Way("another service's root key, to write", ("write", str(key)), files),
        Way("writing elsewhere", ("write", str(folder / "loot")), files),
        # Yama, or a container's own filter, may stop both without us.
        Way("another process's memory", ("read_memory", peer), calls, local=False),
        Way("debugging another process", ("trace", peer), calls, local=False),
        Way("a signal to another process", ("ask_signal", peer), frozenset({"signals", "system_calls"})),
        Way("a shell", ("run_shell",), calls | files),
        Way("a process of its own", ("fork",), calls),
        Way("being read by others again", ("be_dumpable",), calls),
        Way("a core file", ("may_leave_core",), frozenset({"no_core_file"}), local=False),  # CI may forbid them itself
        Way("swap", ("may_swap",), frozenset({"memory_locked"}), local=False),  # behind `files` it cannot even ask
        Way("a namespace of its own", ("own_namespace",), calls, local=False),
        Way("the network outside", ("leave_network", os.getpid()), calls, local=False),
    ]


async def walk(place: Place) -> list[Line]:
    """Every way, in order; printed."""
    lines = []
    for way in place.ways:
        leaves = not way.local and way.attempt[0] in {"tcp", "ip6", "datagram"}
        if leaves and not way.walls & place.walls:
            lines.append(Line(way, NEVER))
            continue
        name, *arguments = way.attempt
        lines.append(Line(way, await place.within.infiltrator.attempt(str(name), *arguments)))
    sys.stdout.write("\n".join(["standing: " + ", ".join(sorted(place.walls)), *map(str, lines), ""]))
    return lines


def surprises(lines: list[Line], walls: frozenset[str]) -> list[str]:
    """Where a wall stands and the way is open, and where none does and it is closed."""
    known = walls | {"password"}
    through = [line for line in lines if line.way.walls & known and line.outcome == DONE]
    closed = [line for line in lines if not line.way.walls & known and line.way.local and line.outcome != DONE]
    return [str(line) for line in (*through, *closed)]


@pytest.mark.control("UC-1.3")
async def test_from_inside_the_vault_no_forbidden_way_is_open_and_every_allowed_one_is(
    database: DatabaseMaker, processor: Sandbox, clusters: dict[str, Cluster], tmp_path: Path
):
    async with placed(database, processor, clusters, tmp_path, EVERYTHING, enclosed=True) as place:
        lines = await walk(place)
        allowed = [
            await place.within.infiltrator.attempt("tcp", "127.0.0.1", processor.port),
            await place.within.infiltrator.attempt("read", str(tmp_path / "vault" / "grant.jwks")),
        ]
        await place.within.vault.paid_charge(Person())

        assert surprises(lines, place.walls) == []
        assert allowed == [DONE, DONE]
        assert has_own_network(place.within.pid) in {None, "network" in place.walls}
        if os.geteuid() == 0:
            assert as_nobody(place.within.pid) != 0
        if {"not_dumpable", "system_calls"} <= place.walls:  # without the latter it was just taken down from inside
            assert DONE not in neighbour(place.within.pid).values()
        assert place.within.vault.stop() == 0


@pytest.mark.control("UC-1.3")
async def test_the_network_alone_stops_what_it_is_for_and_without_its_keeper_the_vault_is_cut_off_and_not_let_out(
    database: DatabaseMaker, processor: Sandbox, clusters: dict[str, Cluster], tmp_path: Path
):
    async with placed(database, processor, clusters, tmp_path, OFF, enclosed=True, filtered=False) as place:
        lines = await walk(place)

        assert place.walls <= {"network"}
        assert surprises(lines, place.walls) == []
        if place.keeper is None:
            assert "no network namespace" in (tmp_path / "network.json").read_text()
            assert not has_own_network(place.within.pid)
            return
        place.keeper.kill()
        assert await place.within.infiltrator.attempt("tcp", "127.0.0.1", processor.port) == "ECONNREFUSED"
        assert has_own_network(place.within.pid) in {None, True}


async def test_the_packet_filter_alone_stops_whoever_else_listens_in_the_vaults_network(
    database: DatabaseMaker, processor: Sandbox, clusters: dict[str, Cluster], tmp_path: Path
):
    async with placed(database, processor, clusters, tmp_path, OFF, enclosed=True) as place:
        lines = await walk(place)
        report = json.loads((tmp_path / "packet_filter.json").read_text())

        assert surprises(lines, place.walls) == []
        assert report["stands"] == ("packet_filter" in place.walls)
        if report["stands"]:
            assert lines[-1].outcome == "EHOSTUNREACH", "a refusal of the filter, and not of a port nobody listens on"
            await place.within.vault.paid_charge(Person())
        else:
            assert report["why"]


async def test_without_walls_the_same_ways_are_open_and_a_report_that_said_otherwise_would_be_found_out(
    database: DatabaseMaker, processor: Sandbox, clusters: dict[str, Cluster], tmp_path: Path
):
    async with placed(database, processor, clusters, tmp_path, OFF, enclosed=False) as place:
        lines = await walk(place)

        assert place.walls == frozenset()
        assert surprises(lines, place.walls) == []
        for wall in ("ports", "files", "system_calls", "network"):
            assert surprises(lines, frozenset({wall})), wall


def test_a_program_that_was_to_be_enclosed_and_cannot_be_is_not_run(tmp_path: Path):
    nowhere = str(tmp_path / "none")
    program = [*LEASH, f"-:{nowhere}", "/bin/sh", "-c", "echo it ran"]

    ended = subprocess.run(program, capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert "it ran" not in ended.stdout


def has_own_network(pid: int) -> bool | None:
    """Asked of the kernel; None where we may not look (CAP_SYS_PTRACE)."""
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    except PermissionError:
        return None


def as_nobody(pid: int) -> int:
    """What another user's attempt to read the vault's memory ends with."""
    command = ["/bin/cat", f"/proc/{pid}/environ", f"/proc/{pid}/maps"]
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
    ).returncode
