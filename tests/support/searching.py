"""Finds card numbers in all encodings, in one pass over files, bytes or a stream: GNU grep does the finding.

How many needles there are costs it nothing: `grep -F` looks for all at once (Aho and Corasick), about a gigabyte in a
few seconds, where Python would read everything again for each of some hundreds.
"""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.encodings import ENCODINGS

FOUND, NOTHING = 0, 1
GREP: Final = ("grep", "--text", "--only-matching", "--byte-offset", "--fixed-strings")
BYTES: Final = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""In the C locale grep compares bytes, whatever they would be as text."""


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    where: str
    number: str
    encoding: str
    at: int


class Search:
    """For these numbers. `folder` is where the list of needles is kept meanwhile."""

    def __init__(self, numbers: Iterable[str], folder: Path) -> None:
        self._meanings: dict[bytes, list[tuple[str, str]]] = {}
        for number in numbers:
            for encoding in ENCODINGS:
                for needle in encoding.needles(number):
                    self._meanings.setdefault(needle, []).append((number, encoding.name))
        folder.mkdir(parents=True, exist_ok=True)
        self._list = folder / "needles"
        self._list.write_bytes(b"\n".join(self._meanings))

    def in_folder(self, folder: Path) -> list[Hit]:
        """Every regular file below, whole; `where` is its path from there. Nobody may write there meanwhile."""
        with tempfile.TemporaryFile() as found:
            ended = subprocess.run(
                [*GREP, "--file", self._list, "--recursive", "--devices=skip", "--with-filename", "--null", "."],
                cwd=folder, env=BYTES, stdout=found, stderr=subprocess.PIPE, check=False,
            )  # fmt: skip
            assert ended.returncode in {FOUND, NOTHING}, ended.stderr.decode()
            found.seek(0)
            lines = [line.rstrip(b"\n").partition(b"\0") for line in found]
        return [hit for path, _, match in lines for hit in self._hits(path.decode().removeprefix("./"), match)]

    def in_stream(self, where: str, parts: Iterable[bytes]) -> list[Hit]:
        with tempfile.TemporaryFile() as found:
            with subprocess.Popen(
                [*GREP, "--file", self._list, "-"], env=BYTES, stdin=subprocess.PIPE, stdout=found
            ) as grep:
                assert grep.stdin is not None
                for part in parts:
                    grep.stdin.write(part)
                grep.stdin.close()
            assert grep.returncode in {FOUND, NOTHING}
            found.seek(0)
            return [hit for line in found for hit in self._hits(where, line.rstrip(b"\n"))]

    def in_bytes(self, where: str, content: bytes) -> list[Hit]:
        return self.in_stream(where, [content])

    def _hits(self, where: str, match: bytes) -> Iterator[Hit]:
        at, _, needle = match.partition(b":")
        for number, encoding in self._meanings[needle]:
            yield Hit(where, number, encoding, int(at))


def encodings_in(hits: Iterable[Hit]) -> set[str]:
    return {hit.encoding for hit in hits}


ALL_ENCODINGS: Final = {encoding.name for encoding in ENCODINGS}


def planting(number: str) -> bytes:
    """Every sample of every encoding, as a leak might leave it."""
    return b"\n".join(sample for encoding in ENCODINGS for sample in encoding.samples(number)) + b"\n"
