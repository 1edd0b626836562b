"""From a bare Python to our own: makes `.venv`, installs the hash-pinned lock, and starts again inside it.

Standard library only. It installs again when the lock or the project changed, which a stamp in `.venv` remembers.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.cli.console import Progress, say

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "infra" / "locks" / "dev.txt"
STAMP = VENV / "undercroft.stamp"
INSTALL_LOG = VENV / "install.log"
INSTALLED_BYTES = 1_000 * 2**20  # measured 430 MB installed; pip keeps the downloads beside it while it unpacks
TEMPORARY_BYTES = 300 * 2**20
LAST_LINES = 12
PIP_INSTALL = ("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")

ADVICE = {
    r"No space left on device": "The disk is full. Make room (about 1 GB) and run the same command again.",
    r"DO NOT MATCH THE HASHES": (
        "A downloaded package is not the one that was locked: a damaged download, or somebody put another in its "
        "place. `python3 -m pip cache purge` and a second try rule out the first."
    ),
    r"NewConnectionError|NameResolutionError|Failed to establish|ConnectTimeout|ProxyError|SSLError|versions: none": (
        "The package index could not be reached, or lacks what was asked. Check the network; behind a proxy or with "
        "a mirror set HTTPS_PROXY, PIP_INDEX_URL, PIP_CERT or PIP_FIND_LINKS, which are passed on."
    ),
    r"No matching distribution|not a supported wheel|Could not find a version": (
        "There is no ready-made package for this machine and this Python. Python 3.11 to 3.13 on Linux or macOS works."
    ),
}


class CannotInstall(RuntimeError):
    """What stands in the way, and what to do about it."""


def enter(arguments: Sequence[str]) -> None:
    """Return if we already run inside an up-to-date `.venv`; otherwise make it so and start again inside it.

    Raises CannotInstall.
    """
    inside = Path(sys.prefix).resolve() == VENV.resolve()
    if inside and _up_to_date():
        return
    if not _up_to_date():
        with _alone():
            if not _up_to_date():  # another run may have finished it while we waited
                _install()
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), "-m", "infra", *arguments])  # noqa: S606 - our own interpreter, no shell


def _up_to_date() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="ascii") == _wanted()


def _wanted() -> str:
    """Digest what an installation is made of: the lock, the project's own tables (not its tools'), its place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = [project.get("build-system"), project["project"], project.get("tool", {}).get("setuptools"), str(ROOT)]
    return hashlib.sha256(LOCK.read_bytes() + json.dumps(own, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the repository's folder, so that two first runs at once do not install over each other."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is installing; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install() -> None:
    started = time.monotonic()
    _require_modules()
    _require_space(ROOT, INSTALLED_BYTES)
    _require_space(Path(tempfile.gettempdir()), TEMPORARY_BYTES)
    if not _has_pip():
        with Progress("virtual environment in .venv"):
            _make_venv()
    _pip(
        "packages from infra/locks/dev.txt, each checked against its hash",
        ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK)],
    )
    _pip("the command `undercroft`", ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(ROOT)])
    STAMP.write_text(_wanted(), encoding="ascii")
    say(f"installed in {time.monotonic() - started:.0f} s; next time there is nothing to do\n")


def _require_modules() -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotInstall(
            f"this Python cannot make a virtual environment: its module {' and '.join(missing)} is missing.\n"
            f"On Debian and Ubuntu: apt-get install python3.{sys.version_info.minor}-venv\n"
            "On Fedora: dnf install python3-pip. Then run the same command again."
        )


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CannotInstall(
            f"{folder} has {free // 2**20} MB free and installing needs {needed // 2**20} MB.\n"
            "Make room there, or work from a clone on a larger disk (TMPDIR moves the temporary files)."
        )


def _has_pip() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed arguments, no shell


def _make_venv() -> None:
    made = subprocess.run(  # noqa: S603 - this very interpreter and fixed arguments, no shell
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise CannotInstall(f"the virtual environment could not be made:\n{_last(made.stdout + made.stderr)}")


def _pip(what: str, options: Sequence[str]) -> None:
    """Run pip, show how far it is, keep what it says in a file. The caller's PIP_* settings are passed on."""
    command = [str(PYTHON), *PIP_INSTALL]
    lines: deque[str] = deque(maxlen=200)
    with Progress(what) as progress, INSTALL_LOG.open("a", encoding="utf-8") as log:
        pip = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments, no shell
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PIP_USER": "0", "PIP_NO_COLOR": "1"},
        )
        collected = 0
        for line in pip.stdout or ():
            log.write(line)
            lines.append(line)
            collected += line.startswith("Collecting ")
            progress.show("unpacking" if line.startswith("Installing") else f"{collected} so far")
        if pip.wait() != 0:
            raise CannotInstall(_explain("".join(lines)))


def _explain(output: str) -> str:
    advice = next((text for pattern, text in ADVICE.items() if re.search(pattern, output)), "")
    return (
        f"pip could not install what is needed. {advice}\nIts last words (all of them: {INSTALL_LOG}):\n{_last(output)}"
    )


def _last(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-LAST_LINES:])
