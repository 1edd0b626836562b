"""Everywhere a card number could lie in a house, and how each of these places is looked at.

In every place PLANTED is put in all encodings first, in the way a leak would get there, and found by the same search.
What is not looked at, because the number is there on purpose: the vault's page and its leg to the processor on the wire
(never recorded), the processor's own process, and the person's, which is the one that runs the tests.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2

from infra.dev.house import DATABASE_CLUSTER
from infra.dev.postgres import SUPERUSER, Cluster, programs
from tests.attacks.leak_paths import HANDED, NAMES, PLANTED
from tests.attacks.leak_world import LoudHouse, World
from tests.sandbox.running import NO_TLS
from tests.support.encodings import ENCODINGS
from tests.support.memory_of import allow_core, memory_of, memory_of_family, words_of
from tests.support.searching import Hit, Search, planting

RECEIVES_CARDS: Final = frozenset({"vault", "sandbox"})
"""Processes through which numbers pass on purpose: the vault, looked at by itself, and another company's."""
DIES_SECONDS_MAX: Final = 60.0
GARBAGE_SECONDS_MAX: Final = 30.0
REQUESTS_MEANWHILE: Final = 100
METRICS: Final = ("gateway", "vault", "memory", "mcp_server")
BYTEA: Final = re.compile(rb"\\x((?:[0-9a-f]{2})+)")
HOLDER: Final = """
import sys
kept = sys.stdin.buffer.read(int(sys.argv[1]))
print("holding", flush=True)
sys.stdin.buffer.read()
"""


@dataclass(slots=True)
class Findings:
    """What was found, by place. `planted` is what had to be found there."""

    leaks: dict[str, list[Hit]] = field(default_factory=dict)
    planted: dict[str, list[Hit]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    looked_at: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, hits: Sequence[Hit], looked_at: Sequence[str]) -> None:
        self.leaks.setdefault(place, []).extend(hit for hit in hits if hit.number != PLANTED and not _expected(hit))
        self.planted.setdefault(place, []).extend(hit for hit in hits if hit.number == PLANTED)
        self.looked_at.setdefault(place, []).extend(looked_at)

    def told(self, place: str) -> list[str]:
        """A line for each leak: by which path it came, where it lies, how it is written."""
        return [f"{NAMES[hit.number]}: {hit.encoding} in {hit.where} at {hit.at}" for hit in self.leaks[place]]


def _expected(hit: Hit) -> bool:
    """Where whoever drove the path put it himself: on the wire into a service, and in the memory it passed through."""
    service, _, kind = hit.where.rpartition("/")[2].partition(".")
    handed = HANDED[hit.number]
    if kind.endswith(".in.wire") or kind in {"memory", "image", "core"}:
        return service in handed or (service == "wiretap" and bool(handed))
    return False


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds PLANTED in its memory, and in its environment and command line what can stand there."""
    content = planting(PLANTED)
    words = [sample for encoding in ENCODINGS for sample in encoding.samples(PLANTED) if b"\0" not in sample]
    program = [sys.executable.encode(), b"-I", b"-S", b"-c", HOLDER.encode(), str(len(content)).encode(), *words]
    given = {f"PLANTED_{place}".encode(): word for place, word in enumerate(words)}
    with subprocess.Popen(
        program, env=given, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(content)
        process.stdin.flush()
        assert process.stdout.readline() == b"holding\n"
        try:
            yield process
        finally:
            process.kill()


def plant_in_files(house: LoudHouse) -> None:
    (house.logs / "planted.log").write_bytes(planting(PLANTED))
    (next(house.captures.iterdir()) / "planted.00001.out.wire").write_bytes(planting(PLANTED))


def plant_in_databases(house: LoudHouse) -> None:
    """As text where it is text, else as bytes: a row each, and an index over them."""
    rows = "\n".join(_row(sample) for encoding in ENCODINGS for sample in encoding.samples(PLANTED))
    for service in house.databases:
        cluster, name = _database(house, service)
        cluster.sql(
            "CREATE TABLE planted (bytes bytea, words text); CREATE INDEX ON planted (words);\n"
            f"COPY planted FROM stdin;\n{rows}\n\\.\n",
            database=name,
        )


def _row(sample: bytes) -> str:
    """In the text format of COPY (PostgreSQL's manual, COPY, "Text Format")."""
    try:
        text = sample.decode()
    except UnicodeDecodeError:
        text = "\0"
    return f"\\\\x{sample.hex()}\t\\N" if "\0" in text else "\\N\t" + text.replace("\\", "\\\\")


def _database(house: LoudHouse, service: str) -> tuple[Cluster, str]:
    return house.clusters[DATABASE_CLUSTER[service]], house.databases[service].name


async def look_at_answers(findings: Findings, search: Search, world: World) -> None:
    """What was answered to whoever asked, headers and bodies, what tenants were sent, and the metrics."""
    metrics = [(await world.http.get(f"{world.house.urls[service]}/metrics")).content for service in METRICS]
    findings.add("metrics", search.in_bytes("metrics", b"\n".join([*metrics, planting(PLANTED)])), METRICS)
    answers = b"\n".join([*world.answers, planting(PLANTED)])
    findings.add("answers", search.in_bytes("answers", answers), [str(len(world.answers))])
    (await world.http.post(f"{world.receiver.url}/planted", content=planting(PLANTED))).raise_for_status()
    sent = [repr(dict(one.headers)).encode() + one.body for one in world.receiver.taken]
    findings.add("deliveries", search.in_bytes("deliveries", b"\n".join(sent)), world.receiver.kinds("/told"))


def look_at_dumps(findings: Findings, search: Search, house: LoudHouse) -> None:
    """Every database, dumped; bytes, which a dump writes in hex, are looked at as bytes too."""
    for service in house.databases:
        cluster, name = _database(house, service)
        dump = subprocess.run(
            [programs() / "pg_dump", "-h", cluster.socket_folder, "-U", SUPERUSER, "--inserts", name],
            env={"PATH": os.defpath, "LANG": "C.UTF-8"}, capture_output=True, check=True,
        ).stdout  # fmt: skip
        assert b"INSERT INTO public.alembic_version" in dump
        whole = b"\n".join([dump, *(bytes.fromhex(found[1].decode()) for found in BYTEA.finditer(dump))])
        findings.add("dumps", search.in_bytes(f"dump of {service}", whole), [service])


def look_at_processes(findings: Findings, search: Search, house: LoudHouse, held: subprocess.Popen[bytes]) -> None:
    """Memory, environment and command line of all but the vault and the processor, PostgreSQL's children included."""
    seen: set[str] = set()
    others = {name: pid for name, pid in house.pids.items() if name not in RECEIVES_CARDS}
    for name, pid in {**others, "planted": held.pid}.items():
        findings.add("memory", search.in_stream(f"{name}.memory", memory_of_family(pid, seen)), [name])
    for name, pid in {**house.pids, "planted": held.pid}.items():
        findings.add("words", search.in_bytes(f"{name}.words", words_of(pid)), [name])


def look_at_the_vault(findings: Findings, search: Search, house: LoudHouse, held: subprocess.Popen[bytes]) -> None:
    """Its memory as `gcore` would write it; then as the kernel writes it when the vault dies, where it does."""
    vault = house.pids["vault"]
    _collect_garbage(search, house)
    for name, pid in {"vault": vault, "planted": held.pid}.items():
        findings.add("image", search.in_stream(f"{name}.image", memory_of(pid, set())), [name])
    why_not = allow_core(vault) or allow_core(held.pid)
    if why_not is not None:
        findings.notes["core"] = why_not
        return
    for name, pid in {"vault": vault, "planted": held.pid}.items():
        folder = Path(f"/proc/{pid}/cwd").resolve()
        os.kill(pid, signal.SIGABRT)
        _until_dead(pid)
        cores = list(folder.glob("core*"))
        for core in cores:
            with core.open("rb") as file:
                findings.add("core", search.in_stream(f"{name}.core", iter(lambda: file.read(2**22), b"")), [name])
            core.unlink()


def _collect_garbage(search: Search, house: LoudHouse) -> None:
    """Some of what is used no more is freed by Python's collector, which comes with work: so there is some work."""
    deadline = time.monotonic() + GARBAGE_SECONDS_MAX
    while time.monotonic() < deadline:
        hits = search.in_stream("vault.image", memory_of(house.pids["vault"], set()))
        if all(hit.number == PLANTED or _expected(hit) for hit in hits):
            return
        for _ in range(REQUESTS_MEANWHILE):
            httpx2.get(f"{house.urls['vault']}/ready", verify=NO_TLS).raise_for_status()


def _until_dead(pid: int) -> None:
    """A zombie has left its memory behind, and the kernel has written what it will."""
    deadline = time.monotonic() + DIES_SECONDS_MAX
    while Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def look_at_files(findings: Findings, search: Search, house: LoudHouse) -> None:
    """Everything the house left on disk, after it stopped: logs, wires, heaps, indexes, write-ahead logs, state."""
    hits = search.in_folder(house.folder)  # the clusters wrote everything when they stopped
    files = [str(path.relative_to(house.folder)) for path in house.folder.rglob("*") if path.is_file()]
    for place, part in FILES.items():
        findings.add(
            place, [hit for hit in hits if re.search(part, hit.where)], [one for one in files if re.search(part, one)]
        )
    other = [hit for hit in hits if not any(re.search(part, hit.where) for part in FILES.values())]
    findings.add("other files", other, files)


FILES: Final = {
    "logs": "^logs/",
    "wires": "^captures/",
    "heap of the vault": "^postgres/vault/data/base/",
    "heap of the house": "^postgres/house/data/base/",
    "write-ahead log of the vault": "^postgres/vault/data/pg_wal/",
    "write-ahead log of the house": "^postgres/house/data/pg_wal/",
}
