"""From a custodian's terminal to the doors of the vaults that run here (door.py)."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.chassis.sealing import seal_under
from infra.chassis.secret import Secret
from vault.custodians.ceremony import CeremonyUnfit
from vault.custodians.door import HANDOVER, LINE_BYTES_MAX, VISIT_SECONDS_MAX, Answer, Ask, Enter, Greeting, Handover


class DoorGone(CeremonyUnfit):
    """The vault behind this door ended, or does not answer."""


class NobodyThere(DoorGone):
    """Nobody listens behind it: it was left by a vault that was killed."""


def doors(folder: Path) -> list[Path]:
    """Where a vault listens now, or is too busy to say so. What a killed one left is taken away."""
    found = []
    for path in sorted(folder.glob("door-*.sock")):
        try:
            look(path)
        except NobodyThere:
            if not _runs(path):
                path.unlink(missing_ok=True)
            continue
        except DoorGone:  # it may answer the next time, and without its door it could never be opened
            pass
        found.append(path)
    return found


def _runs(path: Path) -> bool:
    """Whether the process it is named for lives: it may be about to listen."""
    try:
        os.kill(int(path.stem.removeprefix("door-")), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def look(path: Path) -> Greeting:
    """Raises DoorGone."""
    with _visit(path) as (greeting, say):
        say(Ask())
    return greeting


def enter(path: Path, made: Callable[[Greeting], Enter]) -> Answer:
    """Give a share at this door; `made` signs for the visit. Raises DoorGone."""
    with _visit(path) as (greeting, say):
        return say(made(greeting))


def hand_over(path: Path, present: Secret[bytes], coming: Secret[bytes]) -> None:
    """Let the vault behind this door know the key that will hold from now on. Raises CeremonyUnfit, DoorGone."""
    with _visit(path) as (_, say):
        answer = say(Handover(seal_under(present, HANDOVER, coming.reveal(), HANDOVER)))
    if not answer.done:
        raise CeremonyUnfit(f"a vault that runs did not take the next key, so nothing was changed: {answer.why}")


@contextmanager
def _visit(path: Path) -> Iterator[tuple[Greeting, Callable[[Ask | Enter | Handover], Answer]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(VISIT_SECONDS_MAX)
        with _or_gone():
            connection.connect(str(path))
            greeting = msgspec.json.decode(_line(connection), type=Greeting)

        def say(wish: Ask | Enter | Handover) -> Answer:
            with _or_gone():
                connection.sendall(msgspec.json.encode(wish) + b"\n")
                return msgspec.json.decode(_line(connection), type=Answer)

        yield greeting, say


@contextmanager
def _or_gone() -> Iterator[None]:
    try:
        yield
    except (ConnectionRefusedError, FileNotFoundError):
        raise NobodyThere("no vault runs behind this door") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise DoorGone(f"the vault does not answer at its door ({type(error).__name__})") from None


def _line(connection: socket.socket) -> bytes:
    """Raises OSError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = connection.recv(LINE_BYTES_MAX)
        if not part or len(line) > LINE_BYTES_MAX:
            raise ConnectionError
        line += part
    return bytes(line)
