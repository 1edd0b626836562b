"""The vault's packet filter: rules of nftables, loaded into the network of its own, and looked at afterwards.

The rules are files of `infra/deploy/nftables`, those that a deployment loads too. In a network without a way out they
stop what is left: whatever else should ever listen in there, and whatever interface somebody should ever put into it.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Final

from infra.dev.ports import HOST
from infra.dev.settings import ROOT

RULES: Final = ROOT / "infra" / "deploy" / "nftables"
ALONE: Final = RULES / "vault-alone.nft"
PLACES: Final = os.pathsep.join(["/usr/sbin", "/sbin", "/usr/bin"])
"""Where nft is; root's own PATH need not say so."""
LOAD_SECONDS_MAX: Final = 10.0
LOOK_SECONDS_MAX: Final = 2.0
FIRST_PORT, LAST_PORT = 1024, 65535
"""Nobody needs a privilege for these; in a network that was made just now nobody has one either."""
NOBODYS_PORT: Final = 0
"""Stands in a set that would be empty, which nft has no word for."""


NOT_ALONE: Final = "this thread is in the network of the machine, whose rules are not ours to set"
NOT_INSTALLED: Final = "nft is not installed (Debian: nftables)"


def find() -> str | None:
    """The path of nft."""
    return shutil.which("nft", path=PLACES)


def load(inward: Iterable[int], outward: Iterable[int], *, make: Callable[[], socket.socket]) -> str:
    """Why they are not in force in the network of this thread, or nothing. `make` makes sockets of that network."""
    inward, outward = list(inward), list(outward)
    own, machines = (Path(f"/proc/{whose}/ns/net") for whose in ("thread-self", "self"))
    if own.readlink() == machines.readlink():
        return NOT_ALONE
    nft = find()
    if nft is None:
        return NOT_INSTALLED
    listens = _set(str(port) for port in inward)
    reaches = _set((f"{HOST} . {port}" for port in outward), nobody=f"{HOST} . {NOBODYS_PORT}")
    given = {"listens": listens, "callers": _set([HOST]), "reaches": reaches}
    command = [nft, "-I", str(RULES), *(f"-D{name}={value}" for name, value in given.items()), "-f", str(ALONE)]
    try:
        loaded = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command, capture_output=True, text=True, check=False, timeout=LOAD_SECONDS_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nft: {error}"
    if loaded.returncode != 0:
        return f"nft: {(loaded.stderr.strip().splitlines() or ['it said nothing'])[0]}"
    open_to_all = _lets_through({*inward, *outward}, make)
    return "the rules are loaded, and let through what they name nowhere" if open_to_all else ""


def _set(elements: Iterable[str], *, nobody: str = str(NOBODYS_PORT)) -> str:
    return "{ " + ", ".join([*elements] or [nobody]) + " }"


def _lets_through(named: Container[int], make: Callable[[], socket.socket]) -> bool:
    """Somebody listens on a port that no rule names, and not on one the kernel picks: whether he is reached."""
    with make() as listening, make() as calling:
        listening.bind((HOST, next(port for port in range(FIRST_PORT, LAST_PORT) if port not in named)))
        listening.listen(1)
        calling.settimeout(LOOK_SECONDS_MAX)
        return calling.connect_ex(listening.getsockname()) == 0
