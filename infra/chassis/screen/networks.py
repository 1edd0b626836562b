"""Which digits can begin a card number, how long it then is, and the check digit.

Prefixes and lengths are those of `ranges.toml`, which the vault and its card page read as well.
"""

from typing import Final

from infra.chassis.screen.ranges import RANGES

LENGTH_MIN: Final = 13
"""Twelve digits, the shortest Maestro, are left to telephone numbers: it would refuse more than it saved."""
LENGTH_MAX: Final = 19
_PREFIX_DIGITS: Final = 4


def _by_prefix() -> dict[str, int]:
    """The lengths of numbers that begin so, for every prefix of one to four digits; none for a prefix of no card."""
    found: dict[str, int] = {}
    for issuer in RANGES:
        lengths = sum(1 << length for length in issuer.lengths if length >= LENGTH_MIN)
        spare = _PREFIX_DIGITS - len(issuer.first)
        for number in range(int(issuer.first) * 10**spare, (int(issuer.last) + 1) * 10**spare):
            whole = str(number)
            for size in range(1, _PREFIX_DIGITS + 1):
                prefix = whole[:size]
                found[prefix] = found.get(prefix, 0) | lengths
    return found


_LENGTHS: Final = _by_prefix()


def lengths_of(digits: str) -> int:
    """Bit n is set when a card number of n digits can begin with the first four of `digits`, or with all if fewer."""
    return _LENGTHS.get(digits[:_PREFIX_DIGITS], 0)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check over ASCII digits."""
    return check_sums(digits[::-1])[0] % 10 == 0


_PLAIN: Final = {str(digit): digit for digit in range(10)}
_DOUBLED: Final = {str(digit): sum(divmod(2 * digit, 10)) for digit in range(10)}


def check_sums(digits: str) -> tuple[int, int]:
    """What Luhn adds up over `digits` when the second, fourth, … is doubled, and when the first, third, … is."""
    odd = sum(_PLAIN[digit] for digit in digits[0::2]) + sum(_DOUBLED[digit] for digit in digits[1::2])
    even = sum(_DOUBLED[digit] for digit in digits[0::2]) + sum(_PLAIN[digit] for digit in digits[1::2])
    return odd, even


def running_sums(digits: str) -> tuple[list[int], list[int]]:
    """`check_sums` of every beginning of `digits`: so each of many candidates in one run costs a subtraction."""
    odd, even = [0], [0]
    one, other = 0, 0
    for place, digit in enumerate(digits):
        plain, doubled = _PLAIN[digit], _DOUBLED[digit]
        one += doubled if place % 2 else plain
        other += plain if place % 2 else doubled
        odd.append(one)
        even.append(other)
    return odd, even


def is_barcode(digits: str) -> bool:
    """Thirteen digits with the check digit of an article number (GS1 General Specifications 7.9)."""
    return (
        len(digits) == LENGTH_MIN
        and sum(_PLAIN[digit] * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10 == 0
    )
