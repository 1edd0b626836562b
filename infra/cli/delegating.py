"""Commands that belong to a service: its own command line says what they take."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from infra.dev.keyring import Keyring
from infra.dev.settings import ROOT, basic
from infra.dev.users import CLUSTER_GROUPS

SETTINGS = {
    "UNDERCROFT_GATEWAY_DATABASE_URL_FILE": "gateway/app.url",
    "UNDERCROFT_GATEWAY_KEYS_FOLDER": "gateway/keys",
    "UNDERCROFT_VAULT_DATABASE_URL_FILE": "vault/app.url",
    "UNDERCROFT_VAULT_OWNER_DATABASE_URL_FILE": "owner/vault/owner.url",
    "UNDERCROFT_VAULT_ROOT_KEY_FILE": "vault/root.key",
    "UNDERCROFT_VAULT_FINGERPRINT_KEY_FILE": "vault/fingerprint.key",
    "UNDERCROFT_VAULT_OUTBOX_KEY_FILE": "vault/outbox.key",
}
"""Where the house keeps what the services' commands need."""
WRITING = frozenset({"keys"})
"""Commands of the vault, besides those in place of this process, that may write beside its keys: what root made there
the vault itself could not read."""
CLOSING = frozenset({"import-key", "import", "export"})
"""Commands about tokens that have cards, shares or a key to cards in their memory."""
DATABASE_GROUPS = [CLUSTER_GROUPS["vault"]]
"""Who they are then may come to the vault's database."""
PASSED = frozenset({"SOFTHSM2_CONF"})
"""Of the caller's environment, besides the service's own settings: where a token's library finds its tokens. The rest
is the caller's business, who may be root and have secrets in it; and a command may run as the vault."""
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
    """As whoever asks: it becomes the owner of the vault's files by itself, once it has closed itself to him."""
    return _in_place("custody", options, 0)


def tokens(options: argparse.Namespace) -> int:
    """As `custody` where cards are opened: as whoever asks, until it is closed. The others are the vault's user."""
    closes_itself = bool(options.arguments) and options.arguments[0] in CLOSING
    owner = _owner(options, "vault")
    if owner and closes_itself:
        os.setgroups(DATABASE_GROUPS)
    return _in_place("tokens", options, 0 if closes_itself else owner)


def _in_place(command: str, options: argparse.Namespace, whose: int) -> int:
    """Of the vault, in place of this process: nobody else is to read the terminal, or to be told of its signals.

    `whose`: the user it becomes, 0 for none.
    """
    program, environment = _program("vault", command, options)
    if whose:
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


def astray(options: argparse.Namespace) -> int:
    return _service("vault", "astray", options)


def destinations(options: argparse.Namespace) -> int:
    """Of the house: so a destination may be on this machine, as everything of a house is."""
    return _service("vault", "destinations", options)


def _service(service: str, command: str, options: argparse.Namespace) -> int:
    """A service's own command, in a process of its own: the runner imports no service."""
    program, environment = _program(service, command, options)
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
    """`-P`: what lies in the folder somebody happens to stand in is not imported (Python 3.11)."""
    program = [sys.executable, "-P", "-m", service, command, *options.arguments]
    own = f"UNDERCROFT_{service.upper()}_"
    given = {name: value for name, value in os.environ.items() if name in PASSED or name.startswith(own)}
    return program, {**basic(), "PYTHONPATH": str(ROOT), **_of_house(options.folder, service), **given}


def _of_house(folder: Path, service: str) -> dict[str, str]:
    """The service's settings where the house has been up; what is set already goes before."""
    keyring = Keyring(folder.resolve() / "secrets")
    own = {name: file for name, file in SETTINGS.items() if name.startswith(f"UNDERCROFT_{service.upper()}_")}
    found = {name: str(keyring.path(file)) for name, file in own.items() if keyring.path(file).exists()}
    return {**found, SANDBOX: "true"} if found and service == "vault" else found
