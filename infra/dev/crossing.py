"""Whether another user could run what lies here: `python -I -S crossing.py NUMBERS ROOT,PACKAGE,… FOLDER…`, as root.

In a child of its own it becomes each of NUMBERS (parted by commas). As each it tries, as the kernel judges it, to read
Python, every file of the source packages below ROOT, and the packages in each FOLDER. It prints the first thing that is
refused and ends with 1; with 0 when nothing is. Nothing of what it looks at is imported.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

SKIPPED = ("__pycache__", "node_modules")
"""Services need neither."""


def become(number: int) -> str:
    """Why it cannot; nothing when it did."""
    try:
        os.setgroups([])
        os.setgid(number)
        os.setuid(number)
    except OSError as error:
        return f"nobody can become user {number} here: {error.strerror}"
    return ""


def unreadable(root: Path, packages: list[str], installed: list[Path]) -> str:
    """The first file or folder this user may not read."""
    if not os.access(os.path.realpath(sys.executable), os.X_OK):
        return f"{os.path.realpath(sys.executable)} cannot be run by other users"
    wanted = [Path(os.__file__), root, *(path for name in packages for path in _sources(root / name))]
    wanted += [path for folder in installed for path in _installed(folder)]
    closed = next((path for path in wanted if not _is_open(path)), None)
    return "" if closed is None else f"{closed} cannot be read by other users"


def _is_open(path: Path) -> bool:
    return os.access(path, os.R_OK) and (not path.is_dir() or os.access(path, os.X_OK))


def _sources(package: Path) -> Iterator[Path]:
    yield package
    for folder, names, files in os.walk(package):
        names[:] = [name for name in names if name not in SKIPPED]
        yield from (Path(folder, name) for name in (*names, *files))


def _installed(folder: Path) -> Iterator[Path]:
    """Each package and where it begins: whoever installs under a strict umask closes all of it."""
    yield folder
    if os.access(folder, os.R_OK | os.X_OK):
        yield from folder.iterdir()
        yield from folder.glob("*/__init__.py")


def main() -> int:
    numbers, tree, *installed = sys.argv[1:]
    root, *packages = tree.split(",")
    for number in map(int, numbers.split(",")):
        child = os.fork()
        if child == 0:
            why = become(number) or unreadable(Path(root), packages, list(map(Path, installed)))
            os.write(1, why.encode())
            os._exit(1 if why else 0)
        if os.waitpid(child, 0)[1] != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
