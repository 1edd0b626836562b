"""Structured logs, one JSON object a line, whose values cannot print secrets.

A log is for operators and may be lost; the record is not written here.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from errno import errorcode
from types import TracebackType
from typing import Any

import structlog

from infra.chassis import trace
from infra.chassis.screen import MASK, find_card_number, mask

VALUE_LENGTH_MAX = 300
CUT_LENGTH_MAX = 300
"""Characters read beyond, so that a card number which the cut goes through is still seen whole."""
FRAMES_MAX = 12


def configure(service: str, level: str = "INFO") -> None:
    """Send our events and other libraries' warnings to standard output as JSON.

    Third parties speak in free text that may carry values, so of theirs only the logger's name, the level and the
    exception's type are kept. Values are made safe before what is ours is added: the time, the level, the service, ids.
    """
    structlog.configure(
        processors=[_safe_values, _add_context(service), structlog.processors.add_log_level, _utc, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=_StandardOutput,
        cache_logger_on_first_use=True,
    )
    handler = _ThirdParty(get_logger())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
    """What ends a process: Python would print the exception's text, which may say what it was handed.

    What the operating system refused has a name (EADDRINUSE), which tells an operator more than the kind.
    """
    frames = []
    while trace_back is not None:
        code = trace_back.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace_back.tb_lineno}:{code.co_name}")
        trace_back = trace_back.tb_next
    refused = errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    get_logger().critical("uncaught", error=kind.__name__, refused=refused, where=frames[-FRAMES_MAX:])


def get_logger() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


_utc = structlog.processors.TimeStamper(fmt="iso", utc=True)
_render = structlog.processors.JSONRenderer(sort_keys=True)


class _StandardOutput:
    """Writes lines to whatever standard output is at that moment: who replaced it may have closed the one before."""

    def __init__(self, *_arguments: Any) -> None:
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    debug = info = warning = error = critical = exception = fatal = log = msg


class _ThirdParty(logging.Handler):
    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log.warning("third_party", logger=record.name, level_name=record.levelname, error=error)


def _add_context(service: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        here = trace.current.get()
        if here is not None:
            event["request_id"] = here.request_id
            event["trace_id"] = here.trace_id if here.drawn else _safe(here.trace_id)
        return event

    return add


def _safe_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _safe(value) for key, value in event.items()}


def _safe(value: Any) -> Any:
    """Only short plain values pass; an exception or other object becomes its type, a card number a mark."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if find_card_number(str(value)) is None else MASK
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str):
        return mask(value[: VALUE_LENGTH_MAX + CUT_LENGTH_MAX])[:VALUE_LENGTH_MAX]
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in list(value)[:50]]
    return f"[{type(value).__name__}]"
