"""Commands that belong to a service: its own command line says what they take."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from infra.dev.keyring import Keyring

SETTINGS = {
    "UNDERCROFT_GATEWAY_DATABASE_URL_FILE": "gateway/app.url",
    "UNDERCROFT_GATEWAY_KEYS_FOLDER": "gateway/keys",
}
"""Where the house keeps what the gateway's commands need."""


def policy(options: argparse.Namespace) -> int:
    return _gateway("policy", options)


def record(options: argparse.Namespace) -> int:
    return _gateway("record", options)


def page(options: argparse.Namespace) -> int:
    """The vault's, which needs nothing of the house: it may run on any machine, against any deployment."""
    program = [sys.executable, "-m", "vault", "page", *options.arguments]
    return subprocess.run(program, check=False).returncode  # noqa: S603 - our own program, arguments as a list


def _gateway(command: str, options: argparse.Namespace) -> int:
    """The gateway's, in a process of its own: the runner imports no service."""
    program = [sys.executable, "-m", "gateway", command, *options.arguments]
    environment = {**_of_house(options.folder), **os.environ}
    return subprocess.run(program, env=environment, check=False).returncode  # noqa: S603 - our own program, arguments as a list


def _of_house(folder: Path) -> dict[str, str]:
    """The house's settings where it has been up; what is set already goes before."""
    keyring = Keyring(folder.resolve() / "secrets")
    return {name: str(keyring.path(file)) for name, file in SETTINGS.items() if keyring.path(file).exists()}
