"""`test`, `check` and `lock`: what a change must pass, and what it is installed from."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.bootstrap import ROOT
from infra.cli.console import complain, say, table

BIN = Path(sys.executable).parent
WORKERS_MAX = 4
"""One more than cores, because tests wait too; each runs a house of its own, so more than four gain nothing."""
ALL_TESTS = (
    *(sys.executable, "-m", "pytest"),
    *("-n", str(min((os.cpu_count() or 1) + 1, WORKERS_MAX)), "--dist", "loadfile", "--durations", "10"),
    "--no-loadscope-reorder",  # tests/support/order.py knows which files take long
)
CHECKS = {
    "format": (BIN / "ruff", "format", "--check", "."),
    "lint": (BIN / "ruff", "check", "."),
    "types": (BIN / "mypy", "--strict"),
    "import contracts": (BIN / "lint-imports", "--no-cache"),
    "tests": ALL_TESTS,
}
EXTRAS = ("gateway", "vault", "memory", "mcp_server", "dev")
PYTHON_OLDEST = "3.11"


def test(options: argparse.Namespace) -> int:
    """All tests, one worker a core; or those named, one after the other."""
    return _run([sys.executable, "-m", "pytest", *options.pytest] if options.pytest else ALL_TESTS)


def check(_options: argparse.Namespace) -> int:
    """Run every check even if one fails, then show them all. Exit code 1 if any failed."""
    rows = [("CHECK", "RESULT", "SECONDS")]
    failed = []
    for name, command in CHECKS.items():
        say(f"\n== {name}: {' '.join(Path(str(part)).name for part in command)}")
        started = time.monotonic()
        code = _run(command)
        rows.append((name, "passed" if code == 0 else f"FAILED ({code})", f"{time.monotonic() - started:.1f}"))
        failed += [name] if code else []
    say("\n" + table(rows))
    if failed:
        complain(f"not passed: {', '.join(failed)}")
    return 1 if failed else 0


def lock(_options: argparse.Namespace) -> int:
    """Write one lock a service and one for development, with hashes and without any index's address."""
    for extra in EXTRAS:
        target = ROOT / "infra" / "locks" / f"{extra}.txt"
        code = _run(
            (
                *(BIN / "uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON_OLDEST),
                *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
                *("--extra", extra, "--output-file", target, "pyproject.toml"),
            )
        )
        if code != 0:
            complain(f"{target.name} was not made; uv says why above")
            return 1
        say(f"made {target.relative_to(ROOT)}")
    return 0


def _run(command: Sequence[str | Path]) -> int:
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode  # noqa: S603 - our own tools, no shell
