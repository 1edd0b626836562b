"""The one command line. Importing it needs the standard library only; a command is loaded after the bootstrap."""

import importlib
import sys
from collections.abc import Sequence

from infra import bootstrap
from infra.cli import arguments
from infra.cli.console import complain

COMMANDS = {
    "demo": "infra.cli.showing",
    "bench": "infra.cli.measuring",
    "up": "infra.cli.running",
    "down": "infra.cli.running",
    "status": "infra.cli.running",
    "logs": "infra.cli.running",
    "reset": "infra.cli.running",
    "harden": "infra.cli.hardening",
    "test": "infra.cli.checking",
    "check": "infra.cli.checking",
    "lock": "infra.cli.checking",
    "policy": "infra.cli.delegating",
    "record": "infra.cli.delegating",
    "page": "infra.cli.delegating",
    "keys": "infra.cli.delegating",
    "custody": "infra.cli.delegating",
    "ledger": "infra.cli.delegating",
    "tokens": "infra.cli.delegating",
    "inbox": "infra.cli.delegating",
    "webhooks": "infra.cli.delegating",
    "routes": "infra.cli.delegating",
    "destinations": "infra.cli.delegating",
    "astray": "infra.cli.delegating",
}
INTERRUPTED = 130  # what shells report for Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it did what it says."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = arguments.parse(given)
    if sys.platform == "win32":
        complain("Linux or macOS is needed; on Windows use WSL")
        return 1
    try:
        bootstrap.enter(given)
        command = getattr(importlib.import_module(COMMANDS[options.command]), options.command)
        return int(command(options))
    except bootstrap.CannotInstall as reason:
        complain(str(reason))
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
