"""`python -m vault keys …` again and again, each time in a process of its own that may be killed at a named step.

Forked from a server that has imported everything once: a run costs tenths of a second instead of seconds.
"""

import argparse
import contextlib
import multiprocessing
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.chassis.keys.settings import KeySettings
from infra.chassis.settings import SettingsIncomplete
from infra.dev.postgres import ServiceDatabase
from vault.keys.commands import add_keys, keys

KILLED = -signal.SIGKILL
SETTINGS_EXIT = 2
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["vault.keys.commands"])


@dataclass(frozen=True, slots=True)
class Ran:
    code: int | None
    out: str
    errors: str


@dataclass(frozen=True, slots=True)
class KeysCommand:
    """The command line, with the settings of one vault."""

    environment: dict[str, str]

    def run(self, *arguments: str, die_at: str = "", **settings: str) -> Ran:
        environment = {**self.environment, "UNDERCROFT_VAULT_CRASH_POINTS": die_at}
        environment |= {f"UNDERCROFT_VAULT_{name}": value for name, value in settings.items()}
        with tempfile.TemporaryDirectory() as folder:
            out, errors = Path(folder, "out"), Path(folder, "errors")
            process = _FORKS.Process(target=_obey, args=(arguments, environment, str(out), str(errors)))
            process.start()
            process.join(60)
            assert process.exitcode is not None
            return Ran(process.exitcode, out.read_text(), errors.read_text())


def keys_command(folder: Path, databases: ServiceDatabase, root: KeySettings) -> KeysCommand:
    url = folder / "keys-command.url"
    url.write_text(databases.app_dsn)
    url.chmod(0o600)
    values = {"DATABASE_URL_FILE": str(url), "ROOT_KEY_FILE": str(root.root_key_file), "SANDBOX": "true"}
    return KeysCommand({f"UNDERCROFT_VAULT_{name}": value for name, value in values.items()})


def _obey(arguments: tuple[str, ...], environment: dict[str, str], out: str, errors: str) -> None:
    with Path(out).open("w") as told, Path(errors).open("w") as complained:  # noqa: SIM117 - files first
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained):
            parser = argparse.ArgumentParser()
            add_keys(parser)
            try:
                raise SystemExit(keys(parser.parse_args(arguments), environment))
            except SettingsIncomplete as incomplete:
                sys.stderr.write(str(incomplete))
                raise SystemExit(SETTINGS_EXIT) from None
