"""Shamir's secret sharing, byte by byte over GF(2^8): each share is as long as the secret.

A. Shamir, "How to share a secret", CACM 22 (1979). The field is AES's (FIPS 197, 4.2: x^8 + x^4 + x^3 + x + 1); the
secret is the polynomial's value at 0 and share i its value at i, as in draft-mcgrew-tss-03. Fewer shares than the
threshold say nothing about the secret, whatever computer looks at them.

Nothing here knows whether a share is right: wrong ones give a wrong secret. Who combines compares a check value.
Limit: a step's time may depend on the bytes it works on. It runs at a ceremony and once at each start, not on request.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

SECRET_AT: Final = 0
THRESHOLD_MIN: Final = 2
"""With one share enough there is no split knowledge (PCI DSS 3.7.6)."""
SHARES_MAX: Final = 10
"""People; the field would allow 255."""
_REDUCED_BY: Final = 0x11B


class SharesUnfit(ValueError):
    """Not as many as needed, of different lengths, or two of one number."""


def split(secret: bytes, threshold: int, count: int) -> dict[int, bytearray]:
    """`count` shares numbered from 1, any `threshold` of which give the secret back. Raises SharesUnfit.

    The first `threshold - 1` are random; with the secret they fix the polynomial, and the others follow. That is as
    even a choice among all polynomials as random coefficients are, and SLIP-0039 does the same.
    """
    if not THRESHOLD_MIN <= threshold <= count <= SHARES_MAX or not secret:
        raise SharesUnfit(f"at least {THRESHOLD_MIN} of at most {SHARES_MAX} shares, of a secret that is not empty")
    points: dict[int, bytes | bytearray] = {SECRET_AT: secret}
    for number in range(1, threshold):
        points[number] = bytearray(secrets.token_bytes(len(secret)))
    return {number: interpolate(points, number) for number in range(1, count + 1)}


def combine(shares: Mapping[int, bytes | bytearray], threshold: int) -> bytearray:
    """The secret, out of exactly `threshold` shares. Raises SharesUnfit."""
    if len(shares) != threshold or threshold < THRESHOLD_MIN or SECRET_AT in shares:
        raise SharesUnfit(f"{threshold} shares are needed, and {len(shares)} are here")
    return interpolate(shares, SECRET_AT)


def interpolate(points: Mapping[int, bytes | bytearray], at: int) -> bytearray:
    """The value at `at` of the polynomial of least degree through `points` (Lagrange). Raises SharesUnfit."""
    lengths = {len(value) for value in points.values()}
    if len(lengths) != 1 or any(not 0 <= place < 1 << 8 for place in (*points, at)):
        raise SharesUnfit("shares of one secret are equally long, and numbered by one byte")
    value = bytearray(lengths.pop())
    for place, known in points.items():
        weight = _weight(place, points, at)
        for position, byte in enumerate(known):
            value[position] ^= multiply(weight, byte)
    return value


def _weight(place: int, places: Iterable[int], at: int) -> int:
    """What the value at `place` counts for at `at`."""
    weight = 1
    for other in places:
        if other != place:
            weight = multiply(weight, multiply(at ^ other, _inverse(place ^ other)))
    return weight


def multiply(left: int, right: int) -> int:
    """In GF(2^8): without tables, the same steps whatever the values."""
    product = 0
    for bit in range(8):
        product ^= left * (right >> bit & 1)
        left = left << 1 ^ (left >> 7) * _REDUCED_BY
    return product


def _inverse(element: int) -> int:
    """`element` to the power of 254, for every element but 0 to that of 255 is 1."""
    power = element
    for _ in range(6):
        power = multiply(multiply(power, power), element)
    return multiply(power, power)
