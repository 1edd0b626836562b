"""`python -m gateway keys`: what signs now, what signs next, what still checks; and the step from one to the other.

Steps are renames in an order in which every state between them publishes both the old key and the new one, so a process
that reads at any moment, and a command that is killed at any moment, refuse nothing that was signed. Repeat it then.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import bearers
from gateway.settings import KeySettings
from infra.chassis import durable, grants
from infra.chassis.clock import Clock
from infra.chassis.jwk import published
from infra.chassis.ring import KeyFiles

KEPT: Final = {
    "bearer": timedelta(seconds=bearers.TTL_SECONDS + bearers.SKEW_SECONDS),
    "grant": timedelta(seconds=grants.TTL_SECONDS_MAX + grants.SKEW_SECONDS),
    "sender": timedelta(),
}
"""How long the last thing a key signed can live. A sender's proof names its key itself, and is checked at once."""
NEXT_WAITS: Final = timedelta(minutes=15)
"""Until then receivers may not have read that it comes: mcp_server asks every ten minutes, caches hold a minute."""


class RotationRefused(Exception):
    """The sentence says what to do first."""


def rotate(files: KeyFiles, now: datetime, *, compromised: bool = False, at_once: bool = False) -> str:
    """The id of the key that signs from now on. Raises RotationRefused, OSError, ValueError.

    With `compromised` the former key checks nothing from now on: what it signed in the last minutes is refused.
    """
    with _alone(files.folder):
        signing = files.read()
        if files.purpose == "sender":
            return _replace_sender(files)
        if not files.next.exists():
            _write_key(files.next)
            raise RotationRefused(f"{files.purpose}: there was no next key; it is made. Publish it, then rotate")
        waits = now - datetime.fromtimestamp(files.next.stat().st_mtime, tz=now.tzinfo)
        if waits < NEXT_WAITS and not (at_once or compromised):
            raise RotationRefused(f"{files.purpose}: the next key is {int(waits.total_seconds())} s old; see --at-once")
        kept = [item for item in files.read_retiring() if item.holds(now) and item.key_id != signing.key_id]
        if not compromised:
            kept.append(published(signing.key.public_key(), now + KEPT[files.purpose]))
        _write_retiring(files, [item.document() for item in kept])
        files.next.replace(files.current)
        durable.flush_folder(files.folder)
        _write_key(files.next)
        return files.read().key_id


def _replace_sender(files: KeyFiles) -> str:
    """Needs no overlap: each call brings a new grant, bound to the key that then signs its proof."""
    _write_key(files.current)
    return files.read().key_id


def status(files: KeyFiles, now: datetime) -> list[str]:
    """A line a key: purpose, state, key id, since or until when."""
    signing = files.read()
    lines = [f"{files.purpose} current {signing.key_id} since {_written(files.current)}"]
    if files.next.exists():
        (following, *_) = signing.others
        lines.append(f"{files.purpose} next {following.key_id} since {_written(files.next)}")
    for item in files.read_retiring():
        state = "retiring" if item.holds(now) else "gone"
        until = item.until.isoformat() if item.until else "never"
        lines.append(f"{files.purpose} {state} {item.key_id} until {until}")
    return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("status", help="which signs, which is next, which retire")
    rotating = verbs.add_parser("rotate", help="make the next key the current one")
    rotating.add_argument("purposes", nargs="*", metavar="PURPOSE", type=_purpose, help="none: all")
    rotating.add_argument("--at-once", action="store_true", help="though the next key was made only now")
    rotating.add_argument(
        "--compromised", action="store_true", help="what the former key signed is refused from now on"
    )


def _purpose(text: str) -> str:
    if text not in KEPT:
        raise argparse.ArgumentTypeError(f"purposes are {', '.join(KEPT)}")
    return text


def run(settings: KeySettings, chosen: argparse.Namespace, clock: Clock) -> int:
    """Exits 1 when a step was refused; those before it are done, and the output names them."""
    purposes: Sequence[str] = getattr(chosen, "purposes", []) or list(KEPT)
    try:
        for purpose in purposes:
            files = KeyFiles(settings.keys_folder, purpose)
            if chosen.verb == "rotate":
                rotate(files, clock.now(), compromised=chosen.compromised, at_once=chosen.at_once)
            sys.stdout.write("".join(f"{line}\n" for line in status(files, clock.now())))
    except (RotationRefused, OSError, ValueError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    return 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One rotation at a time; a killed one lets go by itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_key(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable.replace(path, pem)


def _write_retiring(files: KeyFiles, documents: list[dict[str, object]]) -> None:
    if documents:
        durable.replace(files.retiring, json.dumps({"keys": documents}).encode())
    else:
        durable.remove(files.retiring)


def _written(path: Path) -> str:
    from_disk = path.stat().st_mtime
    return datetime.fromtimestamp(from_disk).astimezone().isoformat(timespec="seconds")
