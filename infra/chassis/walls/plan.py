"""What a process still needs once it serves: the files, the ports, whether it looks up names."""

import os
import ssl
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

PACKAGE: Final = Path(__file__).resolve().parents[2]
"""The folder `infra`, which the chassis is loaded from."""
SYSTEM: Final = ("/usr", "/lib", "/lib64", "/nix/store")
"""Programs' and libraries' own files, which everybody may read."""
DEVICES: Final = ("/dev/urandom", "/dev/zero")
RESOLVING: Final = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services"),
    *(
        "/etc/passwd",
        "/etc/group",
        "/etc/localtime",
        "/etc/ld.so.cache",
        "/etc/ssl",
        "/etc/pki",
        "/etc/ca-certificates",
    ),
)
"""Of /etc, as root, who may read all of it otherwise."""
SHALLOW: Final = 2
"""Parts of a path such as /etc or /run, which hold everybody's files."""
WEB_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Plan:
    """`reads` and `writes`: files, and folders with all that is in them. `connects`: TCP ports; None: any.

    `sockets`: paths of sockets it connects to; `listens`: its own TCP ports, at least one.
    """

    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    sockets: tuple[Path, ...]
    listens: tuple[int, ...]
    connects: tuple[int, ...] | None
    resolves_names: bool


def python_reads() -> list[Path]:
    """What a running Python goes on loading: modules, shared libraries, certificates, how to resolve names.

    Our own user's access to /etc is what its files' modes say. Root would read all of it, so it gets a list; a
    resolv.conf replaced afterwards (by DHCP) is then not seen until the process starts anew.
    """
    authorities = ssl.get_default_verify_paths()
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, *SYSTEM, *DEVICES, authorities.cafile, authorities.capath]
    places += [str(Path("/etc/resolv.conf").resolve().parent)] if Path("/etc/resolv.conf").is_symlink() else []
    places += RESOLVING if os.geteuid() == 0 else ["/etc"]
    return [PACKAGE, Path(__file__), *(Path(place) for place in places if place and Path(place).exists())]


def around(file: Path) -> Path:
    """The folder of a file that is replaced while we run, as secrets are; the file itself where many share a folder."""
    folder = file.absolute().parent
    return folder if len(folder.parts) > SHALLOW else file


def port_of(url: str) -> int:
    """Raises ValueError for a URL without a port of its own or of its scheme."""
    parts = urlsplit(url)
    port = parts.port or WEB_PORTS.get(parts.scheme)
    if port is None:
        raise ValueError(parts.scheme)
    return port


def is_address(host: str) -> bool:
    """Whether it is an IPv4 address: nothing has to be looked up, and no IPv6 is needed."""
    try:
        return ip_address(host).version == 4  # noqa: PLR2004 - IP version 4
    except ValueError:
        return False
