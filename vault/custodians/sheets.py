"""How a share is written on paper and typed again: Bech32m (BIP-350), in groups of four letters.

    ucs1 zq2p 5lkx …

The letters are those of BIP-173, which are told apart in any handwriting (no b, i, o, 1); capitals, hyphens and spaces
do not matter. The checksum's six letters find every slip in up to four letters, and any other but one in a thousand
million. Under the letters, 38 bytes:

    offset  bytes  what
    0       1      threshold in the upper four bits, the share's number in the lower
    1       5      the ceremony
    6       32     the share's value, as long as the secret

What is typed is read out of a buffer that can be wiped; Python copies more often than one would like, so wiping is a
best effort.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "ucs"
LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CEREMONY_BYTES: Final = 5
VALUE_BYTES: Final = 32
GROUP_LETTERS: Final = 4
TYPED_BYTES_MAX: Final = 256
"""A share has 71 letters; a person may part them as he likes."""
CHECK_LETTERS: Final = 6
_BECH32M: Final = 0x2BC830A3
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_FIVE: Final = 0x1F
_IGNORED: Final = b" -\t\r\n"


class SheetUnreadable(ValueError):
    """Says what is wrong with the letters, never which letters they are."""


@dataclass(frozen=True, slots=True)
class Share:
    """One custodian's part of the custody key. `value` is wiped by `wipe`; nothing here is shown by `repr`."""

    ceremony: bytes
    threshold: int
    number: int
    value: bytearray

    def wipe(self) -> None:
        wipe(self.value)

    def __repr__(self) -> str:
        return f"Share({self.number} of {self.ceremony.hex()})"


def wipe(buffer: bytearray) -> None:
    """Zeros over what is there; copies that Python made on the way are not reached."""
    buffer[:] = bytes(len(buffer))


def write(share: Share) -> str:
    """The share as one text, in groups. It is the secret itself: for a sheet of paper and for nothing else."""
    head = bytes((share.threshold << 4 | share.number,)) + share.ceremony
    text = encode(PREFIX, _regroup(head + bytes(share.value), 8, 5, pad=True))
    letters = text.removeprefix(f"{PREFIX}1")
    groups = [letters[start : start + GROUP_LETTERS] for start in range(0, len(letters), GROUP_LETTERS)]
    return " ".join((f"{PREFIX}1", *groups))


def read(typed: bytearray) -> Share:
    """The share somebody typed. Raises SheetUnreadable."""
    if len(typed) > TYPED_BYTES_MAX:
        raise SheetUnreadable("that is longer than a share")
    kept = bytearray(byte for byte in typed if byte not in _IGNORED)
    try:
        prefix, values = decode(kept)
        if prefix != PREFIX:
            raise SheetUnreadable("that is not a share: it does not begin with ucs1")
        plain = bytearray(_regroup(values, 5, 8, pad=False))
    finally:
        wipe(kept)
    if len(plain) != 1 + CEREMONY_BYTES + VALUE_BYTES:
        raise SheetUnreadable("a share is longer or shorter than that")
    head = plain[0]
    share = Share(bytes(plain[1 : 1 + CEREMONY_BYTES]), head >> 4, head & 0xF, plain[1 + CEREMONY_BYTES :])
    wipe(plain)
    return share


def encode(prefix: str, values: Iterable[int]) -> str:
    """Bech32m of five-bit values (BIP-350)."""
    data = list(values)
    check = _polymod([*_expanded(prefix), *data, *([0] * CHECK_LETTERS)]) ^ _BECH32M
    checked = data + [check >> 5 * (CHECK_LETTERS - 1 - place) & _FIVE for place in range(CHECK_LETTERS)]
    return f"{prefix}1" + "".join(LETTERS[value] for value in checked)


def decode(text: bytearray) -> tuple[str, bytearray]:
    """The prefix and the five-bit values before the checksum (BIP-350, without its bound of 90 letters).

    Raises SheetUnreadable.
    """
    if any(not 33 <= byte <= 126 for byte in text):  # noqa: PLR2004 - what BIP-173 allows: printable ASCII
        raise SheetUnreadable("there is a sign in it that no share has")
    if text.lower() != text and text.upper() != text:
        raise SheetUnreadable("capitals and small letters are mixed")
    lower = text.lower()
    prefix, parted, letters = lower.rpartition(b"1")
    if not parted or not prefix or len(letters) < CHECK_LETTERS:
        raise SheetUnreadable("a share begins with ucs1 and is longer than that")
    values = bytearray(LETTERS.encode().find(bytes((letter,))) & 0xFF for letter in letters)
    wipe(lower)
    wipe(letters)
    if max(values) > _FIVE:
        raise SheetUnreadable("there is a letter in it that no share has (b, i, o and 1 are not used)")
    if _polymod([*_expanded(prefix.decode()), *values]) != _BECH32M:
        raise SheetUnreadable("a letter is wrong, missing or too many: the check letters do not agree")
    return prefix.decode(), values[:-CHECK_LETTERS]


def _expanded(prefix: str) -> list[int]:
    return [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & _FIVE for letter in prefix)]


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def _regroup(values: Iterable[int], width: int, into: int, *, pad: bool) -> list[int]:
    """Bits of `width` a value as bits of `into` a value. Raises SheetUnreadable for bits that are left and not zero."""
    held, bits, made = 0, 0, []
    for value in values:
        held, bits = (held << width | value) & (1 << width + into) - 1, bits + width
        while bits >= into:
            bits -= into
            made.append(held >> bits & (1 << into) - 1)
    left = held & (1 << bits) - 1
    if pad and bits:
        made.append(left << into - bits)
    elif not pad and (left or bits >= width):
        raise SheetUnreadable("a share is longer or shorter than that")
    return made
