"""The whole house on one machine: clusters, keys, databases, processes; started, watched, stopped for certain."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.keys import custody
from infra.chassis.migrate import upgrade
from infra.chassis.secret import Secret
from infra.dev import enclosure, peers, provisioning, readiness, users, walls
from infra.dev.keyring import Keyring
from infra.dev.ports import Ports, free_ports, require_free
from infra.dev.postgres import Cluster, ServiceDatabase, create_service_database
from infra.dev.processes import Child, identify, spawn
from infra.dev.settings import ROOT, TAPPED, Environment, addresses, basic
from infra.dev.state import CLUSTER_PREFIX, CLUSTERS, Lock, State, sweep
from infra.dev.wiretap import Tap

SERVICES = ("sandbox", "vault", "memory", "gateway", "mcp_server")
"""In the order they start; each finds what it calls already there."""
COURIER = "courier"
MODULES = {"sandbox": "infra.sandbox", COURIER: "vault"}
LISTENERS = {
    "sandbox": ("processor", "inbox"),
    "vault": ("vault", "vault_page", "vault_webhooks"),
    "memory": ("memory",),
    "gateway": ("gateway", "authzen"),
    "mcp_server": ("mcp_server",),
}
DATABASE_CLUSTER = {"vault": "vault", "memory": "house", "gateway": "house", "mcp_server": "house"}
READY_SECONDS_MAX = 90.0  # a second or two each on an idle machine; a starting service that ends is noticed at once
PROVISION_SECONDS_MAX = 120.0
FREE_BYTES_MIN = 300 * 1024 * 1024  # two fresh clusters are 90 MB, and their write-ahead logs grow
LOG_TAIL_LINES = 12

Report = Callable[[str, float], None]


class HouseFailed(RuntimeError):
    """The house could not start or go on; the message says which part and shows its last words."""


@dataclass(frozen=True, slots=True)
class Options:
    """`services`: which to run, a part of SERVICES. `wiretap`: record. `durable=False`: throwaway data, no fsync.

    `close_ports`: the vault may connect to the sandbox only; tests also let it call what they listen with themselves.
    Where this machine allows it (Linux, as root): `enclose` gives the vault a network of its own, `own_users` each
    service an operating-system user of its own.
    """

    services: Sequence[str] = SERVICES
    wiretap: bool = False
    durable: bool = True
    log_level: str = "INFO"
    gateway_workers: int = 1
    close_ports: bool = False
    enclose: bool = False
    own_users: bool = False


def users_of(cluster: str) -> dict[str, str]:
    """User → the service whose database it uses, of this cluster."""
    served = {name: name for name, found in DATABASE_CLUSTER.items() if found == cluster}
    return {**served, **({COURIER: "vault"} if "vault" in served else {})}


def quiet(_what: str, _seconds: float) -> None:
    """Report to nobody."""


class House:
    """Use it as a context manager, or call `start` and `stop`. All methods block; `restart` may run in a worker thread.

    `urls` by listener: gateway, authzen, vault, vault_page, vault_webhooks, memory, mcp_server, processor, inbox.
    `brands`: tenant id → its brands, as the gateway knows them; `agent_key` signs for a brand's own chat agent.
    """

    def __init__(self, folder: Path, ports: Ports, options: Options | None = None, report: Report = quiet) -> None:
        self.folder = folder.resolve()
        self.ports = ports
        self.options = options or Options()
        self.services = [name for name in SERVICES if name in self.options.services]
        self.keyring = Keyring(self.folder / "secrets")
        self.logs = self.folder / "logs"
        self.captures = self.folder / "captures"
        self.databases: dict[str, ServiceDatabase] = {}
        self._report = report
        self._lock = Lock(self.folder)
        self._children: dict[str, Child] = {}
        self._network: str | None = None
        self.users = users.Users(users.NOT_ASKED)
        tapped = [name for name in TAPPED if name in self.services] if self.options.wiretap else []
        self._inner = dict(zip(tapped, free_ports(len(tapped)), strict=True))
        self._addresses = addresses(ports, self._inner)
        self.urls = {name: address.url for name, address in self._addresses.items()}
        self.brands = provisioning.brands(self.urls["mcp_server"])
        self.clusters = {
            name: Cluster(
                self.folder / "postgres",
                name,
                log=self.logs / f"{CLUSTER_PREFIX}{name}.log",
                durable=self.options.durable,
            )
            for name in CLUSTERS
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Of the services, the wiretap and the two clusters (`postgres-vault`, `postgres-house`)."""
        return {name: child.identity.pid for name, child in self._all_children().items()}

    def agent_key(self, brand_id: str) -> Ed25519PrivateKey:
        """Return the private key of the brand's chat agent, whose client id is `provisioning.agent_id(brand_id)`."""
        return self.keyring.private_key(f"agents/{provisioning.agent_id(brand_id)}.pem")

    def start(self) -> None:
        """Bring everything up and return when every service is ready. On any failure nothing is left running.

        Raises HouseBusy, PortTaken, PostgresFailed or HouseFailed, each with a message for a person.
        """
        self._lock.take()
        try:
            sweep(self.folder, State.read(self.folder))
            self._require_room()
            with self._reported("PostgreSQL: two clusters"):
                self._start_clusters()
            with self._reported("keys and databases"):
                self._prepare_databases()
            self._migrate()
            self._write_state()
            if self._inner:
                self._start_wiretap()
            self._start_enclosure()
            self._start_services()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, PostgreSQL last. Data stays. Harmless when it is stopped already."""
        with ThreadPoolExecutor(max_workers=8) as together:
            list(together.map(Child.stop, self._children.values()))
        self._children.clear()
        for cluster in self.clusters.values():
            cluster.stop()
        (self.folder / "state.json").unlink(missing_ok=True)
        self._lock.release()

    def kill(self, name: str) -> None:
        """Crash a service, as `kill -9` does."""
        self._children[name].kill()

    def restart(self, name: str) -> None:
        """Stop a service if it runs, start it again, and return when it is ready."""
        if name == enclosure.NAME:  # the vault is in it, and its ports are free when both are gone
            self._children["vault"].stop()
            self._children[name].stop()
            self._start_enclosure()
            name = "vault"
        self._children[name].stop()
        if name == COURIER:
            self._start_courier()
        else:
            self._start_service(name)
            self._await_ready(name)
        self._write_state()

    def ended(self) -> dict[str, int]:
        """Name what has stopped by itself, with its exit code (negative: the signal that ended it)."""
        codes = {name: child.exit_code for name, child in self._all_children().items()}
        return {name: code for name, code in codes.items() if code is not None}

    def custody(self) -> str:
        """How the vault's root lies: `sealed`, `opened` by its custodians, or `open` in its file."""
        if not custody.is_sealed_file(self.keyring.path("vault/root.key")):
            return "open"
        return "sealed" if readiness.is_sealed(self._addresses["vault"].bind_port) else "opened"

    def log_tail(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])

    def _all_children(self) -> dict[str, Child]:
        clusters = {CLUSTER_PREFIX + name: cluster.server for name, cluster in self.clusters.items() if cluster.started}
        return {**self._children, **clusters}

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES_MIN:
            raise HouseFailed(
                f"{self.folder} has {free // 2**20} MB free and a house needs {FREE_BYTES_MIN // 2**20} MB. "
                "Make room, or put the data elsewhere with --folder."
            )
        listeners = [name for service in self.services for name in LISTENERS[service]]
        require_free({name: port for name, port in self.ports.named().items() if name in listeners})

    def _start_clusters(self) -> None:
        self.folder.chmod(0o711)  # PostgreSQL's own user must pass; secrets and logs are closed one level down
        for folder in (self.logs, self.captures, self.folder / "sandbox", self._walls, self._walls / "vault"):
            folder.mkdir(mode=0o700, exist_ok=True)
        for cluster in self.clusters.values():
            cluster.prepare()  # other users can pass from here on
        self._find_users()
        with ThreadPoolExecutor(max_workers=len(CLUSTERS)) as together:
            list(together.map(Cluster.start, self.clusters.values()))

    def _find_users(self) -> None:
        """Where there can be none all services are the runner's user, and `undercroft status` says so."""
        if self.options.own_users:
            with self._reported("a user of its own for each service"):
                self.users = users.of_this_machine()
        walls.say(self._walls, walls.OWN_USER, self.users.why)
        no_peers = peers.missing(self.users)
        walls.say(self._walls, walls.DATABASE_PEER, no_peers)
        for name, cluster in self.clusters.items():
            cluster.peers = None if no_peers else peers.of_cluster(name, users_of(name))

    def _hand_over(self) -> None:
        """To each service what is its own; to the runner what was a user's before and no longer is."""
        for folder in (self.keyring.folder, self._walls):
            folder.chmod(0o711)  # each passes on its way to its own folder, which nobody else may enter
        for folder in (*self.keyring.folder.iterdir(), self._walls / "vault", self.folder / "sandbox"):
            users.give(folder, self.users.number(folder.name))
        users.give(self.captures, self.users.number("wiretap"))

    def _prepare_databases(self) -> None:
        brand_ids = [brand.brand_id for own in self.brands.values() for brand in own]
        self.keyring.make(map(provisioning.agent_id, brand_ids))
        provisioning.write_openid_clients(self.keyring, self.urls["gateway"], brand_ids)
        self._hand_over()
        for service in filter(DATABASE_CLUSTER.__contains__, self.services):
            self.databases[service] = create_service_database(
                self.clusters[DATABASE_CLUSTER[service]],
                service,
                owner_password=self.keyring.password(service, "owner"),
                app_password=self.keyring.password(service, "app"),
            )
        if "vault" in self.databases:
            self._environment().of_owner("vault")  # writes the way in, for `undercroft destinations`

    def _migrate(self) -> None:
        elsewhere = ThreadPoolExecutor(max_workers=1)  # the caller's thread may have a running loop
        with self._reported("migrations: " + ", ".join(self.databases)), elsewhere:
            elsewhere.submit(asyncio.run, self._migrate_all()).result()
        if "gateway" in self.services:
            with self._reported("brands and callers made known to the gateway"):
                manifest = provisioning.write(self.folder, self.keyring, self.urls["mcp_server"], self.urls["inbox"])
                self._run_owner("gateway", "provision", str(manifest))

    async def _migrate_all(self) -> None:
        """As `python -m <service> migrate` does, in one process instead of four."""
        for service, database in self.databases.items():
            await upgrade(ROOT / service / "migrations", Secret(database.owner_dsn))

    def _run_owner(self, service: str, *command: str) -> None:
        """One of a service's own administrative commands, with the owner's way into the database."""
        child = self._spawn(service, self._environment().of_owner(service), *command)
        code = child.process.wait(timeout=PROVISION_SECONDS_MAX)
        if code != 0:
            raise HouseFailed(
                f"`python -m {service} {command[0]}` ended with {code}. "
                f"The end of {self.logs / service}.log:\n{self.log_tail(service)}"
            )

    def _start_wiretap(self) -> None:
        taps = [Tap(name, self.ports.named()[name], inner) for name, inner in self._inner.items()]
        with self._reported("wiretap in front of " + ", ".join(self._inner)):
            command = [sys.executable, "-m", "infra.dev.wiretap", str(self.captures), *map(str, taps)]
            log = self.logs / "wiretap.log"
            user = self.users.word("wiretap")
            self._children["wiretap"] = spawn(command, environment=basic(), log=log, folder=ROOT, user=user)
            self._wait("wiretap", lambda: all(readiness.accepts(tap.port) for tap in taps))

    def _start_enclosure(self) -> None:
        """Where there can be none the vault runs in everybody's network, and `undercroft status` says so."""
        if not self.options.enclose or "vault" not in self.services:
            for name in (enclosure.NETWORK, enclosure.FILTER):  # a kept house may have had them
                walls.say(self._walls, name, users.NOT_ASKED)
            return
        around = enclosure.Enclosure(self._walls, self.logs / f"{enclosure.NAME}.log")
        ports = {name: self._addresses[name].bind_port for name in (*LISTENERS["vault"], *LISTENERS["sandbox"])}
        with self._reported("a network of the vault's own"):
            child = around.start([ports[n] for n in LISTENERS["vault"]], [ports[n] for n in LISTENERS["sandbox"]])
        if child is not None:
            self._children[enclosure.NAME], self._network = child, around.network

    def _start_services(self) -> None:
        """All at once: a service waits for nothing at start, it only is not ready."""
        started = time.monotonic()
        for name in self.services:
            self._start_service(name)
        if self.options.close_ports and "vault" in self.services:
            self._start_courier()
        self._write_state()
        for name in self.services:
            self._await_ready(name)
            self._report(f"{name} is ready", time.monotonic() - started)

    def _start_courier(self) -> None:
        """Tenants' webhooks may go anywhere on this machine: not from a vault that may not."""
        self._children[COURIER] = self._spawn(COURIER, self._environment().of_courier(), "courier")

    def _start_service(self, name: str) -> None:
        self._children[name] = self._spawn(name, self._environment().of(name))

    def _spawn(self, service: str, environment: dict[str, str], *command: str) -> Child:
        """The vault serves in its own network, if it has one; its commands and its courier do not.

        What a service serves as is its own user; an owner's command is the runner's.
        """
        network = self._network if service == "vault" and not command else None
        cluster = DATABASE_CLUSTER.get("vault" if service == COURIER else service)
        user = None if command and service != COURIER else self.users.word(service, cluster=cluster)
        program = [sys.executable, "-m", MODULES.get(service, service), *command]
        log = self.logs / f"{service}.log"
        return spawn(program, environment=environment, log=log, folder=ROOT, user=user, network=network)

    @property
    def _walls(self) -> Path:
        return self._environment().walls_folder

    def _environment(self) -> Environment:
        where = {name: database.app_dsn.partition("@")[2] for name, database in self.databases.items()}
        known = frozenset(name for name in self.databases if self.clusters[DATABASE_CLUSTER[name]].peers)
        return Environment(
            self.folder,
            self.keyring,
            self._addresses,
            where,
            self.options.log_level,
            self.options.gateway_workers,
            self.options.close_ports,
            known,
        )

    def _await_ready(self, name: str) -> None:
        first, *others = (self._addresses[listener].bind_port for listener in LISTENERS[name])
        self._wait(
            name, lambda: readiness.answers_ok(first, "/health") and all(readiness.accepts(port) for port in others)
        )
        self._wait(name, lambda: readiness.answers_ok(first, "/ready") or readiness.is_sealed(first))

    def _wait(self, name: str, condition: Callable[[], bool]) -> None:
        child = self._children[name]
        if readiness.wait(condition, alive=lambda: child.alive, seconds=READY_SECONDS_MAX):
            return
        what = "did not get ready" if child.alive else f"stopped with {child.exit_code} while starting"
        raise HouseFailed(f"{name} {what}. The end of {self.logs / name}.log:\n{self.log_tail(name)}")

    def _write_state(self) -> None:
        processes = {name: child.identity for name, child in self._all_children().items()}
        State(runner=identify(os.getpid()), processes=processes, urls=self.urls).write(self.folder)

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._report(what, time.monotonic() - started)
