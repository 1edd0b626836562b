"""What a destination answered, without the card: nobody upstairs sees an answer that was not through here.

An answer is read into values, each value is looked at in every view (views.py), and one that tells of the card is
replaced whole. Then all that is left is looked at together, because a number can be told in pieces. What cannot be read
and what tells of the card in a way that cannot be cut out is withheld: too much is removed rather than too little.

What counts as telling: the number that was sent, forwards or backwards, whatever stands between its digits; more of its
beginning than may be shown (masking.py: eight digits of sixteen, six of fifteen), or a piece of five or more from its
middle or end; any other card number the screen knows; the code, the credential and the holder that were sent.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from infra.chassis import strict_json
from infra.chassis.screen import find_card_number
from vault.cleartext.forwarding.views import TooManyViews, Views
from vault.cleartext.masking import showable
from vault.contract import Withheld

MARK: Final = "[redacted]"
JOINED_MIN: Final = 8
"""Digits told in pieces. Of a short card only four may be shown; fewer than eight stand anywhere by chance."""
PIECE_MIN: Final = 5
"""One more than the last four."""
SCREENED_DIGITS_MIN: Final = 12
HOLDER_MIN: Final = 3
FORM_FIELDS_MAX: Final = 200
FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")
CHARSET: Final = re.compile(r"\s*charset\s*=\s*\"?utf-8\"?\s*", re.IGNORECASE)
_NOT_DIGITS: Final = re.compile(r"[^0-9]")
_LIGHT: Final = re.compile(r"(?<=[0-9])[\s\-._/:,]{1,3}(?=[0-9])")
_RUN: Final = re.compile(r"[0-9]+")


class Unshown(Exception):
    """The answer's body is withheld; `reason` says why and nothing of the body."""

    def __init__(self, reason: Withheld) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Sent:
    """What must not come back."""

    number: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    holder: str | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as it may be shown. One that had no body has no type either."""

    content_type: str | None
    body: str | None = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    redactions: int


def redact(body: bytes, content_type: str, headers: Mapping[str, str], sent: Sent) -> Shown:
    """Raises Unshown."""
    kind = media_type(content_type)
    try:
        found = _Search(sent)
        value = found.cleaned(_read(body, kind))
        kept = {name: text for name, text in headers.items() if text.isascii() and not found.tells(text)}
        found.look_at_all([value, list(kept.values())])
    except TooManyViews:
        raise Unshown(Withheld.UNSURE) from None
    except (strict_json.NotStrictJson, ValueError, RecursionError):
        raise Unshown(Withheld.UNREADABLE) from None
    form = kind == FORM_TYPE
    text = urlencode(list(value.items())) if form else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Shown(kind, text, kept, found.redactions + len(headers) - len(kept))


def redact_headers(headers: Mapping[str, str], sent: Sent) -> Shown:
    """Of an answer without a body. Raises Unshown."""
    found = _Search(sent)
    try:
        kept = {name: text for name, text in headers.items() if text.isascii() and not found.tells(text)}
        found.look_at_all(list(kept.values()))
    except TooManyViews:
        raise Unshown(Withheld.UNSURE) from None
    return Shown(None, None, kept, len(headers) - len(kept))


def media_type(content_type: str) -> str:
    """The type, if it is one that can be read: JSON or a form, in UTF-8. Raises Unshown."""
    kind, *parameters = content_type.split(";")
    kind = kind.strip().lower()
    if kind != FORM_TYPE and JSON_TYPE.fullmatch(kind) is None:
        raise Unshown(Withheld.CONTENT_TYPE)
    if not all(CHARSET.fullmatch(parameter) for parameter in parameters):
        raise Unshown(Withheld.CONTENT_TYPE)
    return kind


def _read(body: bytes, kind: str) -> Any:
    """One meaning only: what another parser would read in another way is not read. Raises ValueError."""
    if kind != FORM_TYPE:
        return strict_json.decode(body, floats=True)
    pairs = parse_qsl(
        body.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=FORM_FIELDS_MAX,
    )
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field is there twice")
    return dict(pairs)


class _Search:
    """For one answer."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._both_ways = (sent.number, sent.number[::-1])
        may = showable(len(sent.number))
        self._shown_first = may.first
        self._window = max(may.first + 1, PIECE_MIN)
        self._joined_window = max(may.first + may.last, JOINED_MIN)
        self._codes = frozenset() if sent.code is None else frozenset({sent.code, sent.code[::-1]})
        self._texts = [text.casefold() for text in (sent.holder, sent.credential) if text and len(text) >= HOLDER_MIN]
        self._views = Views()
        self.redactions = 0

    def cleaned(self, value: Any) -> Any:
        """With a mark in place of each value that tells of the card. Raises Unshown when a name does."""
        if isinstance(value, dict):
            if any(self.tells(name) for name in value):
                raise Unshown(Withheld.UNSURE)
            return {name: self.cleaned(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.cleaned(item) for item in value]
        if isinstance(value, bool) or value is None or not any(self.tells(text) for text in _written(value)):
            return value
        self.redactions += 1
        return MARK

    def tells(self, text: str) -> bool:
        """Whether one text says something that must not be said, in any view. Raises TooManyViews."""
        if find_card_number(text) is not None:
            return True
        return any(self._view_tells(view) for view in self._views.of(text))

    def look_at_all(self, value: Any) -> None:
        """What is left, together: in order, values alone, and by the names they stand under. Raises Unshown."""
        together, by_name = [], defaultdict(list)
        for name, text in _texts(value):
            together.append((name, text))
            by_name[name].append(text)
        joined = [
            "".join(text for _, text in together),
            "".join(text for name, text in together if name is not None),
            *("".join(texts) for texts in by_name.values()),
        ]
        if any(self._says_the_number(view) for text in joined for view in self._views.of(text)):
            raise Unshown(Withheld.UNSURE)

    def _view_tells(self, view: str) -> bool:
        digits = _NOT_DIGITS.sub("", view)
        if any(number in digits for number in self._both_ways) or digits in self._codes:
            return True
        if any(run in self._codes or self._is_piece(run) for run in self._runs(view)):
            return True
        folded = view.casefold()
        if any(text in folded for text in self._texts):
            return True
        return len(digits) >= SCREENED_DIGITS_MIN and any(find_card_number(said) for said in (view, view[::-1]))

    def _says_the_number(self, view: str) -> bool:
        digits = _NOT_DIGITS.sub("", view)
        size = self._joined_window  # the first and the last digits may stand beside each other: as many as those
        windows = (digits[at : at + size] for at in range(len(digits) - size + 1))
        return any(window in number for window in windows for number in self._both_ways)

    def _runs(self, view: str) -> Iterator[str]:
        yield from _RUN.findall(view)
        closed = _LIGHT.sub("", view)
        if closed != view:
            yield from _RUN.findall(closed)

    def _is_piece(self, run: str) -> bool:
        for number in self._both_ways:
            if any(run[at : at + self._window] in number for at in range(len(run) - self._window + 1)):
                return True
        number = self._sent.number
        if len(run) < PIECE_MIN or run not in number:
            return False
        return not (len(run) <= self._shown_first and number.startswith(run))


def _written(value: Any) -> tuple[str, ...]:
    """A value as text; a number also without the exponent that would hide its digits."""
    said = str(value)
    return (said, f"{value:f}") if isinstance(value, float) and "e" in said else (said,)


def _texts(value: Any, under: str = "") -> Iterator[tuple[str | None, str]]:
    """Each value with the name it stands under, and each name with None, in order."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield None, name
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, under)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield under, _written(value)[-1]
