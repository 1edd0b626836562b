"""Request ids and W3C trace context, carried from hop to hop."""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from infra.chassis.ids import new_id

TRACEPARENT = re.compile(r"^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})\Z")
DIGITS_RUN_MAX = 12
"""A card number has 13 digits or more; a trace id of ours never shows so long a run, nor does a whole `traceparent`,
whose dashes a reader of card numbers skips."""
_DIGIT_RUN = re.compile(rf"[0-9](?:-?[0-9]){{{DIGITS_RUN_MAX},}}")


@dataclass(frozen=True, slots=True)
class Trace:
    """`drawn`: the trace id is ours; 16 random bytes that say a card number would be a miracle."""

    request_id: str
    trace_id: str
    span_id: str
    drawn: bool = False

    @property
    def traceparent(self) -> str:
        """For the next hop: W3C Trace Context, version 00, sampled."""
        return _traceparent(self.trace_id, self.span_id)


current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(traceparent: str | None) -> Trace:
    """Continue the caller's trace, or start one. A malformed or card-like id is replaced, never echoed."""
    match = TRACEPARENT.match(traceparent) if traceparent else None
    given = match.group(1) if match and not _DIGIT_RUN.search(f"00-{match.group(1)}") else None
    trace_id, span_id = (given, _drawn_span_id(given)) if given else _drawn()
    trace = Trace(request_id=new_id("req"), trace_id=trace_id, span_id=span_id, drawn=given is None)
    current.set(trace)
    return trace


def _drawn() -> tuple[str, str]:
    """Trace and span with which the whole that travels has no run of digits, nor is either of them nothing."""
    while True:
        text = secrets.token_hex(24)
        trace_id, span_id = text[:32], text[32:]
        if not _DIGIT_RUN.search(_traceparent(trace_id, span_id)) and trace_id.strip("0") and span_id.strip("0"):
            return trace_id, span_id


def _drawn_span_id(trace_id: str) -> str:
    """One with which the whole that travels has no run of digits either."""
    while True:
        text = secrets.token_hex(8)
        if not _DIGIT_RUN.search(_traceparent(trace_id, text)) and set(text) != {"0"}:
            return text


def _traceparent(trace_id: str, span_id: str) -> str:
    return f"00-{trace_id}-{span_id}-01"
