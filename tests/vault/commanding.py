"""`python -m vault …` in a process of its own, forked from a server that has imported it once."""

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.vault.bench import Bench
from vault.__main__ import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["vault.__main__"])
WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ran:
    code: int | None
    out: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Running:
    process: ForkServerProcess

    def end(self) -> int | None:
        """As a service manager does; its exit code, or None when it does not end."""
        self.process.terminate()
        self.process.join(WAIT_SECONDS)
        return self.process.exitcode


@dataclass(frozen=True, slots=True)
class VaultCommand:
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> Ran:
        with tempfile.TemporaryDirectory() as folder:
            out, errors = Path(folder, "out"), Path(folder, "errors")
            process = _FORKS.Process(target=_obey, args=(arguments, dict(self.environment), str(out), str(errors)))
            process.start()
            process.join(WAIT_SECONDS)
            assert process.exitcode is not None
            return Ran(process.exitcode, out.read_text(), errors.read_text())

    @contextmanager
    def started(self, *arguments: str, log: Path) -> Iterator[Running]:
        """A command that goes on until it is told to end. Whatever happens, it is gone afterwards."""
        process = _FORKS.Process(target=_obey, args=(arguments, dict(self.environment), str(log), str(log)))
        process.start()
        try:
            yield Running(process)
        finally:
            process.kill()
            process.join(WAIT_SECONDS)


def command_of(bench: Bench, folder: Path) -> VaultCommand:
    """With the database, the keys and the sandbox of this vault."""
    files = {
        "DATABASE_URL": bench.databases.app_dsn.encode(),
        "OUTBOX_KEY": bench.settings.outbox.outbox_key.reveal(),
        "FINGERPRINT_KEY": bench.settings.fingerprint_key.reveal(),
    }
    root = str(bench.settings.keys.root_key_file)
    environment = {"UNDERCROFT_VAULT_SANDBOX": "true", "UNDERCROFT_VAULT_ROOT_KEY_FILE": root}
    for name, content in files.items():
        path = folder / name.lower()
        path.write_bytes(content)
        path.chmod(0o600)
        environment[f"UNDERCROFT_VAULT_{name}_FILE"] = str(path)
    return VaultCommand(environment)


def _obey(arguments: tuple[str, ...], environment: dict[str, str], out: str, errors: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with Path(out).open("w") as told, Path(errors).open("w") as complained:  # noqa: SIM117 - files first
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained):
            raise SystemExit(main(arguments))
