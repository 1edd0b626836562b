"""PostgreSQL asks the kernel who is at the other end of its socket, and takes no password (its chapter "Peer").

It wants a name for the number it is told, and our users have none: so the server alone sees a list of accounts with
theirs added, mounted over /etc/passwd in a mount namespace of its own (Linux, mount_namespaces(7)). The machine's list
is not touched, and the server's view ends with the server.
"""

import os
import pwd
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.dev.processes import LEASH
from infra.dev.users import CLUSTER_GROUPS, NUMBERS, Users

ACCOUNTS: Final = Path("/etc/passwd")
READABLE: Final = 0o644
NAMED: Final = "import pwd, sys; [pwd.getpwnam(pwd.getpwuid(int(number)).pw_name) for number in sys.argv[1:]]"


@dataclass(frozen=True, slots=True)
class Peers:
    """Who may come to one cluster: users of the house, each with the role it has there, and members of `group`."""

    group: int
    roles: dict[str, str]

    def identities(self) -> str:
        """Lines of pg_ident.conf, for the map `services`. The runner may be anybody: it is root."""
        lines = [f"services {account(name)} {role}" for name, role in self.roles.items()]
        return "\n".join([*lines, f"services {pwd.getpwuid(os.geteuid()).pw_name} all"])


def account(name: str) -> str:
    """What the server sees the user of `name` as."""
    return "undercroft-house-" + name.replace("_", "-")


def of_cluster(cluster: str, services: dict[str, str]) -> Peers:
    """`services`: user → its database's service, all of this cluster."""
    return Peers(CLUSTER_GROUPS[cluster], {user: f"{service}_app" for user, service in services.items()})


def write_accounts(file: Path) -> Path:
    """The machine's accounts as they are now, and ours."""
    ours = [f"{account(name)}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin" for name, number in NUMBERS.items()]
    new = file.with_name(file.name + ".new")
    new.write_text(ACCOUNTS.read_text(encoding="utf-8").rstrip("\n") + "\n" + "\n".join(ours) + "\n", encoding="utf-8")
    new.chmod(READABLE)
    return new.replace(file)


def missing(users: Users) -> str:
    """Why this machine cannot do it, found out by doing it; nothing where it can."""
    if not users.stand:
        return f"services are no users of their own: {users.why}"
    names = {entry.pw_name for entry in pwd.getpwall()}
    if taken := sorted(names & set(map(account, NUMBERS))):
        return f"the name {taken[0]} is an account's on this machine"
    with tempfile.TemporaryDirectory(prefix="undercroft-accounts-") as folder:
        accounts = write_accounts(Path(folder) / "passwd")
        leash = [sys.executable, "-I", "-S", str(LEASH), "15", str(os.getpid()), f"-::{accounts}"]
        program = [*leash, sys.executable, "-I", "-S", "-c", NAMED, *map(str, NUMBERS.values())]
        looked = subprocess.run(program, capture_output=True, text=True, check=False)  # noqa: S603 - our own program and arguments, no shell
    if looked.returncode == 0:
        return ""
    return (looked.stderr.strip().splitlines() or ["it cannot be tried"])[-1]
