"""How property tests draw: the same cases in every ordinary run, others each time in the long mode.

Everything a run could differ by is taken away from an ordinary one, because a case that comes up once in fifty runs
stops whoever submits that day, and nobody who caused it. What is rare is looked for in the long mode:
`--hypothesis-profile=long`, with `--hypothesis-seed=N` to see a run again.
"""

from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

ORDINARY, LONG = 100, 5_000
"""Examples a property test without settings of its own takes, in either mode."""
NOT_JUDGED: Final = [HealthCheck.too_slow]
"""How fast cases are drawn says how busy the machine is and nothing of what is tested. Nor is any case timed."""
READ_FROM_OURS: Final = providers._get_local_constants  # noqa: SLF001 - hypothesis has no setting for it


def modes() -> None:
    """Registers both modes and begins the ordinary one; the plugin's `--hypothesis-profile=long` comes after."""
    plain = settings.get_profile("default")
    either = settings(plain, deadline=None, suppress_health_check=NOT_JUDGED, derandomize=False)
    settings.register_profile("ordinary", either, max_examples=ORDINARY, derandomize=True, database=None)
    settings.register_profile("long", either, max_examples=LONG)
    settings.load_profile("ordinary")
    setattr(providers, "_get_local_constants", _constants_to_try)  # noqa: B010 - mypy would have it be a method


def _constants_to_try() -> Constants:
    """Beside its own, hypothesis tries numbers and texts that it reads in every module of ours loaded so far.

    In an ordinary run it does not: which are loaded depends on the tests that ran before in the same worker.
    """
    return Constants() if settings().derandomize else READ_FROM_OURS()


def cases(in_ci: int, *allowed: HealthCheck, **more: Any) -> settings:
    """This many in CI and fifty times as many in the long mode."""
    return always(in_ci * settings().max_examples // ORDINARY, *allowed, **more)


def always(examples: int, *allowed: HealthCheck, **more: Any) -> settings:
    """This many in either mode: of what takes a database or requests, or whose number is part of the test."""
    return settings(max_examples=examples, suppress_health_check=[*NOT_JUDGED, *allowed], **more)
