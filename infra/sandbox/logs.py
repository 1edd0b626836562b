"""One JSON object per line on stdout. Messages are fixed texts; values are names, states and durations, never input."""

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("sandbox")


class JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": "sandbox",
            "event": record.getMessage(),
        }
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            line.update(facts)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__  # its text may quote what a caller sent
        return json.dumps(line)


def configure(level: int) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLine())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False


def say(event: str, *, level: int = logging.INFO, **facts: str | float | None) -> None:
    LOGGER.log(level, event, extra={"facts": facts})
