"""What the API may be refused with, for its OpenAPI document: the gateway's errors and what all callers meet."""

import inspect
from typing import Final

from gateway import errors
from gateway.bearers import BearerRefused
from gateway.callers import ScopeMissing
from infra.chassis.problems import CardNumberRefused, NotFound, Problem

API_REFUSALS: Final[tuple[type[Problem], ...]] = (
    BearerRefused,
    ScopeMissing,
    NotFound,
    CardNumberRefused,
    *(
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Problem) and kind.__module__ == errors.__name__
    ),
)
