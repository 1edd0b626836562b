"""Which digits can begin a card number, how long it then is, and the check digit.

Prefixes and lengths are public facts: ISO/IEC 7812-1 assigns the first digits, the networks' acceptance guides list the
ranges (Visa 4; Mastercard 51-55 and 2221-2720; American Express 34, 37; Diners Club 300-305, 3095, 36, 38-39; JCB
3528-3589; Discover 6011, 644-649, 65; UnionPay 62, 81; Maestro). The vault has its own table, with what it accepts; a
test holds that nothing the vault accepts is unknown here.
"""

from typing import Final

LENGTH_MIN: Final = 13
"""Twelve digits, the shortest Maestro, are left to telephone numbers: it would refuse more than it saved."""
LENGTH_MAX: Final = 19
_PREFIX_DIGITS: Final = 4


def _bits(*lengths: int) -> int:
    return sum(1 << length for length in lengths)


_SIXTEEN_UP: Final = _bits(16, 17, 18, 19)
_FOURTEEN_UP: Final = _bits(14, 15) | _SIXTEEN_UP
_RANGES: Final = (
    # from, to, bit n set for a length of n digits
    ("4", "4", _bits(13, 16, 19)),
    ("51", "55", _bits(16)),
    ("2221", "2720", _bits(16)),
    ("34", "34", _bits(15)),
    ("37", "37", _bits(15)),
    ("6011", "6011", _SIXTEEN_UP),
    ("644", "649", _SIXTEEN_UP),
    ("65", "65", _SIXTEEN_UP),
    ("300", "305", _FOURTEEN_UP),
    ("3095", "3095", _FOURTEEN_UP),
    ("36", "36", _FOURTEEN_UP),
    ("38", "39", _FOURTEEN_UP),
    ("3528", "3589", _SIXTEEN_UP),
    ("62", "62", _SIXTEEN_UP),
    ("81", "81", _SIXTEEN_UP),
    *((prefix, prefix, _bits(*range(LENGTH_MIN, LENGTH_MAX + 1))) for prefix in ("5018", "5020", "5038", "5893")),
    *(
        (prefix, prefix, _bits(*range(LENGTH_MIN, LENGTH_MAX + 1)))
        for prefix in ("56", "57", "58", "6304", "6390", "67")
    ),
)


def _by_prefix() -> dict[str, int]:
    """The lengths of numbers that begin so, for every prefix of one to four digits; none for a prefix of no card."""
    found: dict[str, int] = {}
    for first, last, lengths in _RANGES:
        spare = _PREFIX_DIGITS - len(first)
        for number in range(int(first) * 10**spare, (int(last) + 1) * 10**spare):
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
