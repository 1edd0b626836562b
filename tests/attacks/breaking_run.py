"""One vault that is made to fail everywhere, one place after the other, and what is found of its card afterwards."""

import contextlib
import inspect
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx2
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from infra.chassis.clock import SystemClock
from infra.chassis.keys.ringfile import decode, encode
from infra.dev.postgres import SUPERUSER, Cluster, ServiceDatabase, programs
from infra.sandbox.settings import AIRWALLEX_CLIENT_ID
from tests.attacks.breaking import COLLECTED, CONTROL_BYTES, place_of
from tests.attacks.breaking_acts import ACTS, AS_FORM, SAID, Act, Somebody, knocking_at, plain_form, somebody
from tests.attacks.leak_media import GARBAGE_SECONDS_MAX, REQUESTS_MEANWHILE, holder
from tests.sandbox.running import AIRWALLEX_KEY, NO_TLS, ROOT, WEBHOOK_SECRET, Sandbox, free_port, make_sandbox
from tests.support.memory_of import memory_of, memory_of_family
from tests.support.searching import Hit, Search, planting
from tests.support.waiting import wait_until
from tests.vault.bench import open_bench, rows
from tests.vault.process import VaultProcess, vault_process
from tests.vault.updating import Company, environment_of
from vault.scrubbing import OVERWRITTEN

PLANTED: Final = "6011000990139424"
KEPT: Final = "4000000000000341"
"""Typed without JavaScript by somebody whose browser keeps its connection."""
KNOWN: Final = b"UNDERCROFT_VAULT_PHONE_PROCESSORS=stripe"
"""Of the vault's environment, which lies in its memory: where this is not found, nothing was read."""
LOOPS_SECONDS: Final = 60.0
END_SECONDS: Final = 90.0
BREAKS_SECONDS: Final = 30.0
GUARDED: Final = (
    "vault/keys/lifecycle.py:Lifecycle.run",
    "vault/outbox/caretaking.py:Caretaker.run",
    "vault/outbox/courier.py:Courier.run",
    "vault/reconcile.py:Reconciler.run",
    "vault/updating/job.py:Updating.run",
)
"""Loops that go on after a round that failed."""
ENDING: Final = (
    "vault/cleartext/processors/held.py:HeldCards.run",
    "vault/codes.py:Codes.run",
    "vault/custodians/door.py:Door.run",
)
"""Loops whose failure ends the service, which says so."""
BACKFILL: Final = "vault/cleartext/months.py:Months._fill_in_one"
"""Done by a vault that starts and finds a card without its month."""
BACKFILL_FAILED: Final = "lifecycle_of_tenant_failed"
"""What such a vault says of it."""
TEMPLATES: Final = "vault/cleartext/forwarding/template.py"
"""Where a form goes other ways than JSON."""
BINDS: Final = ("BIND", "PAGE_BIND", "WEBHOOK_BIND")
OUTERMOST: Final = "infra/chassis/http.py:_Edge.__call__"
"""Every request ends with it, at each listener."""


@dataclass(frozen=True, slots=True)
class Seen:
    place: str
    held: bool


@dataclass(slots=True)
class Broke:
    """`cases`: each place that failed, and in which act it did; `held`: those that had the number; `as_form`: those
    that failed once more, while a form was written and not JSON.
    """

    cases: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    as_form: set[str] = field(default_factory=set)
    handlers: set[str] = field(default_factory=set)
    unbroken: list[str] = field(default_factory=list)
    hits: dict[str, list[Hit]] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    log: str = ""


@dataclass(slots=True)
class Strings:
    """By which a breaking vault is moved."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.control.write_bytes(bytes(CONTROL_BYTES))
        (self.folder / "number").write_text(SAID, encoding="ascii")
        self.written.touch()

    @property
    def control(self) -> Path:
        return self.folder / "control"

    @property
    def written(self) -> Path:
        return self.folder / "seen"

    @property
    def environment(self) -> dict[str, str]:
        return {"CONTROL": str(self.control), "NUMBER": str(self.folder / "number"), "SEEN": str(self.written)}

    def order(self, *words: str) -> None:
        with self.control.open("r+b") as file:
            file.write(" ".join(words).encode().ljust(CONTROL_BYTES, b"\0"))

    def seen(self) -> list[Seen]:
        """Whole lines only: one may just be written."""
        lines = self.written.read_text(encoding="utf-8").split("\n")[:-1]
        return [Seen(place, held == "1") for place, held in (line.split("\t") for line in lines)]

    def places(self) -> list[str]:
        return [one.place for one in self.seen()]

    def forget(self) -> None:
        os.truncate(self.written, 0)


async def break_a_vault(folder: Path, cluster: Cluster, databases: ServiceDatabase) -> Broke:
    broke, search = Broke(), Search([SAID, PLANTED, KEPT], folder / "search")
    strings, processor = Strings(folder / "strings"), make_sandbox(folder / "processor")
    for name in ("bench", "holder"):
        (folder / name).mkdir()
    processor.start()
    try:
        knocks = await knocks_of(folder / "bench", databases, processor)
        broke.handlers = {place for place, _, _ in knocks}
        strings.order("loops", *GUARDED)
        async with breaking_vault(folder, databases, processor, strings) as (vault, webhooks):
            await wait_until(lambda: _all_in(strings, GUARDED), LOOPS_SECONDS)
            strings.order()
            bases = ("", vault.page_url, webhooks)
            acts = {place: knocking_at(handler, bases[door]) for place, door, handler in knocks}
            Company(processor).knows("CARD_EXPIRY_UPDATED", SAID, expiry_year=2041)
            async with somebody(vault, databases, webhooks) as person:
                await break_everywhere(person, strings, broke, acts)
                metrics = (await vault.api.get("/metrics")).content
                async with a_kept_connection(person):
                    broke.hits |= await look_at_memory(search, vault, strings, cluster, folder / "holder")
            vault.stop()
            await break_the_months(vault, folder, databases, person.person.tenant_id)
            broke.exit_codes = break_the_rest(vault, folder)
        logs = (vault.log, *(ending_log(folder, place) for place in (*ENDING, BACKFILL)))
        log = b"\n".join(one.read_bytes() for one in logs)
        looked_at = {
            "answers": b"\n".join(person.answers),
            "log": log,
            "metrics": metrics,
            "database": dumped(cluster, databases) + cluster.log.read_bytes(),
        }
        for name, content in looked_at.items():
            broke.hits[name] = search.in_bytes(name, content + b"\n" + planting(PLANTED))
        broke.log = log.decode()
        return broke
    finally:
        processor.end()


@asynccontextmanager
async def a_kept_connection(one: Somebody) -> AsyncIterator[None]:
    """Of a browser that has posted a form and waits for the person's next step."""
    order, page = await one.opened()
    cookies = one.vault.browser.cookies
    async with httpx2.AsyncClient(base_url=one.vault.page_url, cookies=cookies, verify=NO_TLS) as browser:
        assert (await one.post(order, plain_form(page, KEPT), browser)).status_code == HTTPStatus.SEE_OTHER
        yield


async def _all_in(strings: Strings, places: tuple[str, ...]) -> bool:
    return set(strings.places()) >= set(places)


async def knocks_of(
    folder: Path, databases: ServiceDatabase, processor: Sandbox
) -> list[tuple[str, int, HTTPRouteHandler]]:
    """Every function of ours that answers at one of the three listeners: its place, which listener, its route."""
    found = {}
    async with open_bench(folder, databases, processor) as bench:
        for door, app in enumerate((bench.vault.api, bench.vault.page, bench.vault.webhook)):
            for handler in _handlers(app):
                code = inspect.unwrap(handler.fn).__code__
                if code.co_filename.startswith((f"{ROOT / 'vault'}{os.sep}", f"{ROOT / 'infra'}{os.sep}")):
                    found[f"{place_of(code.co_filename)}:{code.co_qualname}"] = (door, handler)
    return [(place, door, handler) for place, (door, handler) in found.items()]


def _handlers(app: ASGIApp) -> list[HTTPRouteHandler]:
    inner: Any = app
    while not isinstance(inner, Litestar):
        inner = inner._app  # noqa: SLF001 - what stands before it is ours
    return [handler for route in inner.routes for handler in getattr(route, "route_handlers", ())]


@asynccontextmanager
async def breaking_vault(
    folder: Path, databases: ServiceDatabase, processor: Sandbox, strings: Strings
) -> AsyncIterator[tuple[VaultProcess, str]]:
    """It, and where its webhooks go."""
    port = free_port()
    keys = decode(secrets.token_bytes(32)).rotated(SystemClock().now())
    environment = {
        **OVERWRITTEN,
        **strings.environment,
        **environment_of(processor),
        "UNDERCROFT_VAULT_FINGERPRINT_KEY_FILE": _file(folder / "two.keys", encode(keys).decode()),
        "STRIPE_LOG": "debug",
        "UNDERCROFT_VAULT_LOG_LEVEL": "DEBUG",
        "UNDERCROFT_VAULT_PHONE_PROCESSORS": "stripe",
        "UNDERCROFT_VAULT_WALLS": "off",  # they would keep it from the strings, and the search out of its memory
        "UNDERCROFT_VAULT_AIRWALLEX_URL": processor.airwallex_url,
        "UNDERCROFT_VAULT_AIRWALLEX_CLIENT_ID": AIRWALLEX_CLIENT_ID,
        "UNDERCROFT_VAULT_AIRWALLEX_KEY_FILE": _file(folder / "awx.key", AIRWALLEX_KEY),
        "UNDERCROFT_VAULT_AIRWALLEX_WEBHOOK_SECRET_FILE": _file(folder / "awx.secret", WEBHOOK_SECRET),
    }
    async with vault_process(
        folder, databases, processor, timeout_seconds=30, webhook_port=port, environment=environment, spawn=run_breaking
    ) as vault:
        yield vault, f"http://127.0.0.1:{port}"


def run_breaking(environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.attacks.breaking"]
    with log.open("ab") as opened:
        return subprocess.Popen(program, cwd=ROOT, env=dict(environment), stdout=opened, stderr=opened)


def _file(path: Path, content: str) -> str:
    path.write_text(content, encoding="ascii")
    return str(path)


async def break_everywhere(person: Somebody, strings: Strings, broke: Broke, knocks: Mapping[str, Act]) -> None:
    passed = await calmly(person, strings)
    for act in ACTS:
        for one in passed[act.name]:
            if one.held:
                broke.held.add(one.place)
                broke.cases.setdefault(one.place, act.name)
    acts = {act.name: act for act in (*ACTS, *knocks.values())}
    for place, name in broke.cases.items():
        await break_at(person, strings, acts[name], "break", place, broke)
    broke.as_form = {one.place for one in passed[AS_FORM] if one.held and one.place.startswith(TEMPLATES)}
    for place in sorted(broke.as_form):
        await break_at(person, strings, acts[AS_FORM], "break", place, broke)
    for place, act in knocks.items():
        broke.cases[place] = act.name
        await break_at(person, strings, act, "break!", place, broke)


async def calmly(person: Somebody, strings: Strings) -> dict[str, list[Seen]]:
    """What each act passes through. An answer is there before the last functions have ended, so they are waited for."""
    found = {}
    for act in ACTS:
        ready, before = await act.prepare(person), len(person.answers)
        strings.forget()
        strings.order("calm")
        await act.go(person, ready)
        asked = len(person.answers) - before
        await wait_until(partial(_ended, strings, asked), BREAKS_SECONDS)
        strings.order()
        found[act.name] = strings.seen()
    return found


async def _ended(strings: Strings, requests: int) -> bool:
    return strings.places().count(OUTERMOST) >= requests


async def break_at(person: Somebody, strings: Strings, act: Act, verb: str, place: str, broke: Broke) -> None:
    """Whoever asks may be hung up on, and what was to fail may end only after the answer."""
    ready = await act.prepare(person)
    strings.forget()
    strings.order(verb, place)
    with contextlib.suppress(httpx2.TransportError):
        await act.go(person, ready)
    deadline = time.monotonic() + BREAKS_SECONDS
    while strings.places() != [place] and time.monotonic() < deadline:
        await person.vault.api.get("/health")
    strings.order()
    if strings.places() != [place]:
        broke.unbroken.append(f"{place} in {act.name}")


async def break_the_months(vault: VaultProcess, folder: Path, databases: ServiceDatabase, tenant_id: str) -> None:
    """Every vault that starts fills in what is missing: so none is there but one, which is to fail at it."""
    forget = "UPDATE cards SET good_through = NULL RETURNING 1"
    assert await rows(databases.app_dsn, forget, tenant_id)
    strings, log = Strings(folder / "strings of months"), ending_log(folder, BACKFILL)
    strings.order("break!", BACKFILL)
    process = run_breaking(elsewhere(vault, strings), log)
    try:
        await wait_until(lambda: BACKFILL in strings.places() and _failed_for(tenant_id, log), END_SECONDS)
    finally:
        process.kill()
        process.wait()


def _failed_for(tenant_id: str, log: Path) -> bool:
    lines = log.read_text(encoding="utf-8").splitlines()
    return any(f'"{BACKFILL_FAILED}"' in line and tenant_id in line for line in lines)


def break_the_rest(vault: VaultProcess, folder: Path) -> list[int]:
    """Loops that end a service with them, each in a process of its own; their exit codes."""
    running = []
    try:
        for number, loop in enumerate(ENDING):
            strings = Strings(folder / f"strings{number}")
            strings.order("loops", loop)
            running.append(run_breaking(elsewhere(vault, strings), ending_log(folder, loop)))
        return [process.wait(END_SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def elsewhere(vault: VaultProcess, strings: Strings) -> dict[str, str]:
    """The environment of another such vault."""
    ports = {f"UNDERCROFT_VAULT_{name}": f"127.0.0.1:{free_port()}" for name in BINDS}
    return {**(vault.environment or {}), **strings.environment, **ports}


def ending_log(folder: Path, loop: str) -> Path:
    return folder / f"{loop.rpartition(':')[2]}.log"


def dumped(cluster: Cluster, databases: ServiceDatabase) -> bytes:
    return subprocess.run(
        [programs() / "pg_dump", "-h", cluster.socket_folder, "-U", SUPERUSER, "--inserts", databases.name],
        env={"PATH": os.defpath, "LANG": "C.UTF-8"}, capture_output=True, check=True,
    ).stdout  # fmt: skip


async def look_at_memory(
    search: Search, vault: VaultProcess, strings: Strings, cluster: Cluster, folder: Path
) -> dict[str, list[Hit]]:
    """Of the vault, once other work and Python's collector were there; of its database; and what is planted."""
    assert isinstance(vault.process, subprocess.Popen)
    deadline, rounds = time.monotonic() + GARBAGE_SECONDS_MAX, 0
    while True:
        await collect_garbage(vault, strings, rounds := rounds + 1)
        image = search.in_stream("the vault", memory_of(vault.process.pid, set()))
        if not image or time.monotonic() > deadline:
            break
    with holder(folder) as held:
        planted = search.in_stream("planted", memory_of(held.pid, set()))
    assert any(KNOWN in part for part in memory_of(vault.process.pid, set()))
    database = search.in_stream("its database", memory_of_family(cluster.server.identity.pid, set()))
    return {"memory of the vault": image + planted, "memory of its database": database + planted}


async def collect_garbage(vault: VaultProcess, strings: Strings, number: int) -> None:
    """Some other requests, in whose place the last ones lay; then the collector, which would come by itself one day."""
    for _ in range(REQUESTS_MEANWHILE):
        await vault.api.get("/ready")
    strings.forget()
    strings.order("collect", str(number))
    await vault.api.get("/health")
    await wait_until(lambda: COLLECTED in strings.places(), BREAKS_SECONDS)
    strings.order()
