"""The spending limits of the consent page: what it suggests, what a person typed, and what that comes to. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.browser.amounts import decimals_of, read_amount, write_amount
from gateway.contract import SpendingPurpose
from gateway.mandates import MoreLimits
from gateway.windows import CAP_MINOR_MAX, WINDOW_SECONDS_USUAL, Window

PAYMENT_CAP_WHOLE: Final = 150
DAY_CAP_WHOLE: Final = 300
"""Suggested caps in whole units of the brand's currency; for currencies without decimals, times a hundred."""
WINDOW_EXAMPLE_WHOLE: Final = 900
ASKED_EXAMPLE_WHOLE: Final = 50
"""What is shown to who could not be read; examples that fit the suggested caps."""
DAY_SECONDS: Final = 86_400
WINDOW_DAYS_USUAL: Final = WINDOW_SECONDS_USUAL // DAY_SECONDS
WINDOW_DAYS_MAX: Final = 31
"""The longest window the table of mandates takes."""
_DAYS_WRITTEN_MAX: Final = 2
"""Digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The fields as they came. `spending` off: the assistant may look, and may not pay."""

    spending: bool
    payment_cap: str
    day_cap: str
    window_cap: str = ""
    window_days: str = str(WINDOW_DAYS_USUAL)
    approval_above: str = ""
    no_gift_cards: bool = False
    remember_card: bool = False
    """Nobody's card is kept unless they say so here (EDPB Recommendations 02/2021: no box ticked beforehand)."""

    @property
    def has_more(self) -> bool:
        """Whether anything beyond the two caps was asked for."""
        return bool(self.window_cap.strip() or self.approval_above.strip() or self.no_gift_cards)


FIELDS: Final = frozenset(
    {
        "spending",
        "payment_cap",
        "day_cap",
        "remember_card",
        "window_cap",
        "window_days",
        "approval_above",
        "no_gift_cards",
    }
)
MORE_FIELDS: Final = FIELDS - {"spending", "payment_cap", "day_cap", "remember_card"}
"""Those behind "More limits"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    payment_cap_minor: int
    day_cap_minor: int
    more: MoreLimits

    def on_record(self) -> dict[str, bool | int | list[str]]:
        """As the mandate holds them: a limit that was not set is at its ceiling."""
        return {
            "payment_cap_minor": self.payment_cap_minor,
            "day_cap_minor": self.day_cap_minor,
            "window_seconds": self.more.window.seconds,
            "window_cap_minor": self.more.window.cap_minor,
            "approval_above_minor": self.more.approval_above_minor,
            "purposes": sorted(self.more.purposes),
            "remembers_card": self.more.remembers_card,
        }


class LimitsRefused(Exception):
    """`flaws` are field name → sentence, in the order of the page."""

    def __init__(self, flaws: Mapping[str, str]) -> None:
        self.flaws = flaws
        super().__init__("the limits cannot be used")


def typed_in(form: Mapping[str, str]) -> Typed:
    return Typed(
        spending=form.get("spending") == "on",
        payment_cap=form.get("payment_cap", ""),
        day_cap=form.get("day_cap", ""),
        window_cap=form.get("window_cap", ""),
        window_days=form.get("window_days", ""),
        approval_above=form.get("approval_above", ""),
        no_gift_cards="no_gift_cards" in form,
        remember_card=form.get("remember_card") == "on",
    )


def suggested(currency: str) -> Typed:
    payment, day = (_written(whole, currency) for whole in (PAYMENT_CAP_WHOLE, DAY_CAP_WHOLE))
    return Typed(spending=True, payment_cap=payment, day_cap=day)


def limits_of(typed: Typed, currency: str) -> Limits | None:
    """None when spending is switched off. Raises LimitsRefused with a sentence for each field."""
    if not typed.spending:
        return None
    payment, day = read_amount(typed.payment_cap, currency), read_amount(typed.day_cap, currency)
    window_cap, window_days = _optional(typed.window_cap, currency), _days(typed)
    approval_above = _optional(typed.approval_above, currency)
    flaws = _flaws(
        currency, payment=payment, day=day, window_cap=window_cap, window_days=window_days, above=approval_above
    )
    if flaws or payment is None or day is None or window_cap is None or window_days is None or approval_above is None:
        raise LimitsRefused(flaws)
    return Limits(
        payment_cap_minor=payment,
        day_cap_minor=day,
        more=MoreLimits(
            purposes=frozenset(SpendingPurpose) - ({SpendingPurpose.GIFT_CARDS} if typed.no_gift_cards else set()),
            window=Window(seconds=window_days * DAY_SECONDS, cap_minor=window_cap),
            approval_above_minor=approval_above,
            remembers_card=typed.remember_card,
        ),
    )


def _flaws(
    currency: str,
    *,
    payment: int | None,
    day: int | None,
    window_cap: int | None,
    window_days: int | None,
    above: int | None,
) -> dict[str, str]:
    found = {
        "payment_cap": f"{_such_as(PAYMENT_CAP_WHOLE, currency)}." if payment is None else "",
        "day_cap": f"{_such_as(DAY_CAP_WHOLE, currency)}." if day is None else "",
        "window_cap": f"{_such_as(WINDOW_EXAMPLE_WHOLE, currency)}, or leave this empty." if window_cap is None else "",
        "window_days": f"Write a number of days from 1 to {WINDOW_DAYS_MAX}." if window_days is None else "",
        "approval_above": f"{_such_as(ASKED_EXAMPLE_WHOLE, currency)}, or leave this empty." if above is None else "",
    }
    if payment is not None:
        if day is not None and day < payment:
            found["day_cap"] = "The limit for a day cannot be lower than the limit for one payment."
        if window_cap is not None and window_cap < payment:
            found["window_cap"] = "The limit over several days cannot be lower than the limit for one payment."
        if above is not None and payment <= above < CAP_MINOR_MAX:
            found["approval_above"] = "To be asked at all, write less than the limit for one payment."
    return {name: sentence for name, sentence in found.items() if sentence}


def _optional(written: str, currency: str) -> int | None:
    """Empty is no limit, that is the highest there is; None for what cannot be read."""
    return read_amount(written, currency) if written.strip() else CAP_MINOR_MAX


def _days(typed: Typed) -> int | None:
    """A number of days is needed only where something is limited by it; None for what cannot be read."""
    written = typed.window_days.strip()
    if not written and not typed.window_cap.strip():
        return WINDOW_DAYS_USUAL
    if not (written.isascii() and written.isdigit() and len(written) <= _DAYS_WRITTEN_MAX):
        return None
    return int(written) if 1 <= int(written) <= WINDOW_DAYS_MAX else None


def _such_as(whole: int, currency: str) -> str:
    return f"Write an amount in {currency}, such as {_written(whole, currency)}"


def _written(whole: int, currency: str) -> str:
    return write_amount(whole * 10 ** (decimals_of(currency) or 2), currency)
