"""Under which licences we stand: every distribution of a lock, by what its own metadata says."""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ALLOWED = frozenset({
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
})  # fmt: skip
"""Permissive, or (MPL-2.0) copyleft for its own files only, which we do not change."""
_NAMES = {
    "apache software license": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "bsd license": "BSD",
    "bsd 2-clause license": "BSD-2-Clause",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
_LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==", re.MULTILINE)


def locked(lock: Path) -> list[str]:
    """Names of the distributions a lock pins, for every platform."""
    return _LOCKED.findall(lock.read_text(encoding="utf-8"))


def installed_licences(names: list[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """(name, licences) of those that are installed here; a lock also pins some for other platforms."""
    for name in names:
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        yield name, licences_of(about)


def licences_of(about: metadata.PackageMetadata) -> frozenset[str]:
    """What the metadata names: its SPDX expression, else its classifiers, else the first line of its licence field."""
    for expression in about.get_all("License-Expression") or []:
        return frozenset(re.split(r"[()\s]+(?:AND|OR)[()\s]+", expression.strip("() ")))
    classifiers = about.get_all("Classifier") or []
    named = [entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: ")]
    if not named:
        texts = about.get_all("License") or []
        named = [re.split(r"\n|\s+Copyright\b", text)[0].strip() for text in texts]
    return frozenset(_NAMES.get(name.lower(), name) for name in named)
