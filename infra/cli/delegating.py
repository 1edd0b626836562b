"""Commands that belong to a service: its own command line says what they take."""

import argparse
import subprocess
import sys


def policy(options: argparse.Namespace) -> int:
    return _gateway(options)


def record(options: argparse.Namespace) -> int:
    return _gateway(options)


def _gateway(options: argparse.Namespace) -> int:
    """In a process of its own: the runner imports no service."""
    command = [sys.executable, "-m", "gateway", options.command, *options.arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own program, arguments as a list
