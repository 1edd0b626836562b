"""The bootstrap as a stranger meets it: the real script, on a bare Python, in a copy of the tree without `.venv`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE_PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
NO_ENSUREPIP = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "ensurepip" else found(name, *rest)
"""
NO_SPACE = """
import shutil
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 5 * 2**20, 5 * 2**20)
"""
OLD_PYTHON = """
import sys
sys.version_info = (3, 9, 2, "final", 0)
sys.version = "3.9.2 (main)"
"""


def copied(folder: Path) -> Path:
    shutil.copytree(
        ROOT / "infra", folder / "infra", ignore=shutil.ignore_patterns("__pycache__", "sandbox", "chassis")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copied(tmp_path / "clone")


@pytest.fixture(scope="module")
def started_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests that get as far as a virtual environment, whose making takes seconds."""
    return copied(tmp_path_factory.mktemp("started") / "clone")


def infra(
    clone: Path, *arguments: str, doctored: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python3 -m infra …` in the clone; `doctored` is run first by that Python, as its site customisation."""
    site = clone.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(doctored)
    minimal = {"PATH": os.defpath, "HOME": str(clone.parent), "LANG": "C.UTF-8", "PYTHONPATH": str(site)}
    return subprocess.run(
        [BARE_PYTHON, "-m", "infra", *arguments],
        cwd=clone,
        env=minimal | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_works_before_anything_is_installed_and_names_every_command(clone: Path) -> None:
    told = infra(clone, "--help")

    assert told.returncode == 0
    for command in ("demo", "up", "down", "status", "logs", "reset", "test", "check", "bench", "lock"):
        assert f"\n    {command} " in told.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("command", ["demo", "up", "down", "status", "logs", "reset", "test", "check", "bench", "lock"])
def test_every_command_explains_itself(clone: Path, command: str) -> None:
    told = infra(clone, command, "--help")

    assert told.returncode == 0
    assert told.stdout.startswith(f"usage: undercroft {command}")


def test_an_unknown_command_or_argument_is_refused(clone: Path) -> None:
    assert infra(clone, "dmeo").returncode == 2
    refused = infra(clone, "demo", "--fast")
    assert refused.returncode == 2
    assert "--fast" in refused.stderr


def test_a_python_without_venv_is_told_which_package_to_install(clone: Path) -> None:
    told = infra(clone, "demo", doctored=NO_ENSUREPIP)

    assert told.returncode == 1
    assert "its module ensurepip is missing" in told.stderr
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_full_disk_is_told_before_anything_is_written(clone: Path) -> None:
    told = infra(clone, "demo", doctored=NO_SPACE)

    assert told.returncode == 1
    assert f"{clone} has 5 MB free and installing needs 1000 MB" in told.stderr
    assert not (clone / ".venv").exists()
    assert "Traceback" not in told.stderr


def test_an_old_python_is_told_what_is_needed(clone: Path) -> None:
    told = infra(clone, "demo", doctored=OLD_PYTHON)

    assert told.returncode == 1
    assert "this is Python 3.9.2; Python 3.11 or newer is needed" in told.stderr


def test_a_machine_without_a_network_is_told_so_and_where_the_details_are(started_clone: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}

    told = infra(started_clone, "status", environment=nowhere)

    assert told.returncode == 1
    assert "The package index could not be reached" in told.stderr
    assert "PIP_INDEX_URL" in told.stderr
    assert str(started_clone / ".venv" / "install.log") in told.stderr
    assert not (started_clone / ".venv" / "undercroft.stamp").exists()


def test_a_package_with_another_hash_is_refused(started_clone: Path) -> None:
    lock = started_clone / "infra" / "locks" / "dev.txt"
    wheel = started_clone.parent / "wheels" / "harmless-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not what was locked")
    lock.write_text("harmless==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")

    told = infra(started_clone, "status", environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)})

    assert told.returncode == 1
    assert "is not the one that was locked" in told.stderr
