"""How many cases a property test tries: some in CI, many in the long mode."""

from hypothesis import settings

ORDINARY, LONG = 100, 5_000
"""Examples a property test without settings of its own takes; `long` is the profile of `tests/conftest.py`."""


def cases(in_ci: int) -> settings:
    """This many in CI and fifty times as many under `--hypothesis-profile=long`."""
    return settings(max_examples=in_ci * settings().max_examples // ORDINARY, deadline=None)
