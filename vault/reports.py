"""What people's browsers say the card page's policy stopped (Content Security Policy level 3, section 5.3).

Whoever changes a page between us and the browser trips over the policy first, so a report is an alarm (PCI DSS 11.6.1).
It is also a text of a stranger: anybody can post one, and a thief's script may have put card digits into an address.
So it is bounded in size and rate, read strictly, and reduced to three facts: which directive of ours, which host or
kind of thing was stopped, and on which page. Samples, paths, queries and referrers are never kept.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.screen import find_card_number
from infra.chassis.strict_json import NotStrictJson, decode
from vault.counters import Counters

REPORTS_PATH: Final = "/reports"
CONTENT_TYPE: Final = "application/csp-report"
REPORT_BYTES_MAX: Final = 8192
"""Chromium's of this page are about 1,100 bytes, half of them the policy itself."""
REPORTS_MAX: Final = 60
WINDOW: Final = timedelta(minutes=1)
"""A page in trouble sends a handful. More are counted, not read: a flood must not fill the log."""
DIRECTIVES: Final = frozenset({
    "default-src", "script-src", "script-src-elem", "script-src-attr", "style-src", "style-src-elem", "style-src-attr",
    "img-src", "connect-src", "font-src", "frame-src", "child-src", "object-src", "media-src", "worker-src",
    "manifest-src", "form-action", "frame-ancestors", "base-uri", "require-trusted-types-for", "trusted-types",
})  # fmt: skip
"""Those of our policy, and those that `default-src` stands in for."""
KINDS: Final = frozenset({
    "inline", "eval", "wasm-eval", "self", "data", "blob", "about", "trusted-types-policy", "trusted-types-sink",
    "chrome-extension", "moz-extension", "safari-web-extension",
})  # fmt: skip
"""What a browser names instead of an address, or the schemes without a host."""
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_HOST: Final = re.compile(r"[a-z0-9.-]{1,253}(:\d{1,5})?")
_CAPTURE: Final = re.compile(r"/captures/([a-z]{3}_[a-z0-9_]{1,60})")

log = logs.get_logger()


class _Violation(msgspec.Struct, frozen=True, rename="kebab"):
    document_uri: str
    blocked_uri: str = ""
    effective_directive: str = ""
    violated_directive: str = ""


class _Report(msgspec.Struct, frozen=True):
    report: _Violation = msgspec.field(name="csp-report")


@dataclass(frozen=True, slots=True)
class Violation:
    """A report, reduced. `directive` is one of DIRECTIVES, `blocked` a host, one of KINDS or `other`."""

    directive: str
    blocked: str
    capture_id: str | None


class ReportRefused(ValueError):
    """Not a violation of our policy on a page of ours."""


class PolicyReports:
    def __init__(self, *, clock: Clock, counters: Counters, page_origin: str) -> None:
        self._clock = clock
        self._counters = counters
        self._page_origin = page_origin
        self._window_from: datetime | None = None
        self._taken = 0

    def take(self, content_type: str, body: bytes) -> HTTPStatus:
        """Count it and say it in the log; what comes back is for the browser, which looks at nothing."""
        if not self._has_room():
            self._counters.policy_reports.labels("too_many").inc()
            return HTTPStatus.TOO_MANY_REQUESTS
        if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE or len(body) > REPORT_BYTES_MAX:
            self._counters.policy_reports.labels("refused").inc()
            return HTTPStatus.BAD_REQUEST
        try:
            violation = read_report(body, self._page_origin)
        except ReportRefused:
            self._counters.policy_reports.labels("refused").inc()
            return HTTPStatus.BAD_REQUEST
        self._counters.policy_reports.labels(violation.directive).inc()
        log.warning(
            "card_page_policy_violated",
            directive=violation.directive,
            blocked=violation.blocked,
            capture_id=violation.capture_id,
        )
        return HTTPStatus.NO_CONTENT

    def _has_room(self) -> bool:
        now = self._clock.now()
        if self._window_from is None or now - self._window_from >= WINDOW:
            self._window_from, self._taken = now, 0
        self._taken += 1
        if self._taken == REPORTS_MAX + 1:
            log.error("card_page_policy_reports_flooded", reports_max=REPORTS_MAX)
        return self._taken <= REPORTS_MAX


def read_report(body: bytes, page_origin: str) -> Violation:
    """Raises `ReportRefused`, which says nothing of what was in it."""
    try:
        report = msgspec.convert(decode(body, floats=True), type=_Report).report
    except (NotStrictJson, msgspec.ValidationError):
        raise ReportRefused from None
    directive = report.effective_directive or report.violated_directive.partition(" ")[0]
    if not report.document_uri.startswith(f"{page_origin}/") or directive not in DIRECTIVES:
        raise ReportRefused
    capture = _CAPTURE.match(report.document_uri.removeprefix(page_origin))
    capture_id = capture[1] if capture and find_card_number(capture[1]) is None else None
    return Violation(directive, _blocked(report.blocked_uri), capture_id)


def _blocked(uri: str) -> str:
    """Where to, and nothing of what was carried there. `urlsplit` is not used, because it remembers what it split."""
    if uri in KINDS:
        return uri
    scheme = uri.partition(":")[0]
    if scheme in KINDS:
        return scheme
    origin = _ORIGIN.match(uri)
    host = origin[1].lower() if origin else ""
    return host if _HOST.fullmatch(host) and find_card_number(host) is None else "other"


@post(REPORTS_PATH)
async def take_report(
    request: Request[Any, Any, Any], policy_reports: NamedDependency[PolicyReports]
) -> Response[None]:
    """From the browser itself: `report-uri` of the page's policy. No cookie, no answer to read."""
    status = policy_reports.take(request.headers.get("content-type", ""), await request.body())
    return Response(None, status_code=status, headers={"Cache-Control": "no-store"})


ROUTES = (take_report,)
