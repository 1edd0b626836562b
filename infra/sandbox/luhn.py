"""The check digit of card numbers (ISO/IEC 7812-1), and a search for card numbers in text about to be stored."""

import re

# 13 to 19 digits, single spaces or dashes between them allowed. They must stand alone: the digits inside a UUID or a
# hexadecimal hash pass the check now and then, and the SDK makes such keys for every call.
_RUN = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes(digits: str) -> bool:
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def find_card_number(text: str) -> bool:
    """Whether a run of 13 to 19 digits that passes the check stands in the text (major card networks start 2 to 6)."""
    runs = (re.sub(r"[ -]", "", match.group()) for match in _RUN.finditer(text))
    return any(run[0] in "23456" and passes(run) for run in runs)
