"""Commands that belong to a service: its own command line says what they take."""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from infra.dev.keyring import Keyring
from infra.dev.users import CLUSTER_GROUPS

SETTINGS = {
    "UNDERCROFT_GATEWAY_DATABASE_URL_FILE": "gateway/app.url",
    "UNDERCROFT_GATEWAY_KEYS_FOLDER": "gateway/keys",
    "UNDERCROFT_VAULT_DATABASE_URL_FILE": "vault/app.url",
    "UNDERCROFT_VAULT_ROOT_KEY_FILE": "vault/root.key",
    "UNDERCROFT_VAULT_FINGERPRINT_KEY_FILE": "vault/fingerprint.key",
    "UNDERCROFT_VAULT_OUTBOX_KEY_FILE": "vault/outbox.key",
}
"""Where the house keeps what the services' commands need."""
WRITING = frozenset({"keys"})
"""Commands of the vault, besides those in place of this process, that may write beside its keys: what root made there
the vault itself could not read."""
DATABASE_GROUPS = [CLUSTER_GROUPS["vault"]]
"""Who they are then may come to the vault's database."""
SANDBOX = "UNDERCROFT_VAULT_SANDBOX"
"""Of one machine's house: webhooks may go to this machine."""


def policy(options: argparse.Namespace) -> int:
    return _service("gateway", "policy", options)


def record(options: argparse.Namespace) -> int:
    return _service("gateway", "record", options)


def page(options: argparse.Namespace) -> int:
    """The vault's, which needs nothing of the house: it may run on any machine, against any deployment."""
    program = [sys.executable, "-m", "vault", "page", *options.arguments]
    return subprocess.run(program, check=False).returncode  # noqa: S603 - our own program, arguments as a list


def keys(options: argparse.Namespace) -> int:
    return _service("vault", "keys", options)


def custody(options: argparse.Namespace) -> int:
    return _in_place("custody", options)


def tokens(options: argparse.Namespace) -> int:
    return _in_place("tokens", options)


def _in_place(command: str, options: argparse.Namespace) -> int:
    """Of the vault, in place of this process: nobody else is to read the terminal, or to be told of its signals."""
    program, environment = _program("vault", command, options)
    if whose := _owner(options, "vault"):
        os.setgroups(DATABASE_GROUPS)
        os.setgid(whose)
        os.setuid(whose)
    os.execve(sys.executable, program, environment)  # noqa: S606 - our own program, arguments as a list


def ledger(options: argparse.Namespace) -> int:
    return _service("vault", "ledger", options)


def inbox(options: argparse.Namespace) -> int:
    return _service("vault", "inbox", options)


def webhooks(options: argparse.Namespace) -> int:
    return _service("vault", "webhooks", options)


def routes(options: argparse.Namespace) -> int:
    return _service("vault", "routes", options)


def destinations(options: argparse.Namespace) -> int:
    """Of the house: so a destination may be on this machine, as everything of a house is."""
    return _service("vault", "destinations", options, _vault_owner(Keyring(options.folder.resolve() / "secrets")))


def _vault_owner(keyring: Keyring) -> dict[str, str]:
    """The way into the vault's database as its owner, made of the serving process' own; nothing without a house."""
    served = keyring.path("vault/app.url")
    if not served.exists():
        return {}
    password, theirs = keyring.password_file("vault", "owner"), keyring.path("vault/app.pgpass")
    url = served.read_text().replace("vault_app@", "vault_owner@").replace(quote(str(theirs)), quote(str(password)))
    file = keyring.database_url("vault", "owner", url)
    return {"UNDERCROFT_VAULT_OWNER_DATABASE_URL_FILE": str(file), "UNDERCROFT_VAULT_SANDBOX": "true"}


def _service(
    service: str, command: str, options: argparse.Namespace, more: Mapping[str, str] = MappingProxyType({})
) -> int:
    """A service's own command, in a process of its own: the runner imports no service."""
    program, environment = _program(service, command, options)
    environment = {**more, **environment}
    whose = (_owner(options, service) if command in WRITING else 0) or None
    groups = None if whose is None else DATABASE_GROUPS
    return subprocess.run(  # noqa: S603 - our own program, arguments as a list
        program, env=environment, check=False, user=whose, group=whose, extra_groups=groups
    ).returncode


def _owner(options: argparse.Namespace, service: str) -> int:
    """Whose the service's files are in this house, where that is not whoever asks; 0 otherwise."""
    folder = options.folder.resolve() / "secrets" / service
    return folder.stat().st_uid if os.geteuid() == 0 and folder.exists() else 0


def _program(service: str, command: str, options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    program = [sys.executable, "-m", service, command, *options.arguments]
    return program, {**_of_house(options.folder, service), **os.environ}


def _of_house(folder: Path, service: str) -> dict[str, str]:
    """The service's settings where the house has been up; what is set already goes before."""
    keyring = Keyring(folder.resolve() / "secrets")
    own = {name: file for name, file in SETTINGS.items() if file.startswith(f"{service}/")}
    found = {name: str(keyring.path(file)) for name, file in own.items() if keyring.path(file).exists()}
    return {**found, SANDBOX: "true"} if found and service == "vault" else found
