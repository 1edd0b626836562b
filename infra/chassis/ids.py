"""Identifiers that say their kind and cannot look like a card number."""

import secrets

ALPHABET = "bcdfghjkmnpqrstvwxyz"
"""Letters only: no run of digits, so no id can pass a Luhn check; no vowels, so no words."""
BODY_LENGTH = 26
"""26 letters of 20 are 112 bits: unguessable, and no collision in any life of the system."""
BODIES = len(ALPHABET) ** BODY_LENGTH
_EVEN = 256 // len(ALPHABET) * len(ALPHABET)
_LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
_UNEVEN = bytes(range(_EVEN, 256))
"""Bytes that are drawn and thrown away: with them the first letters would be a little likelier than the others."""
_DRAWN_BYTES = BODY_LENGTH + 8
"""So that a second draw is hardly ever needed."""


def new_id(kind: str) -> str:
    """`kind` is the three-letter prefix of words.md, e.g. `pur` gives `pur_…`."""
    letters = b""
    while len(letters) < BODY_LENGTH:
        letters += secrets.token_bytes(_DRAWN_BYTES).translate(_LETTERS, _UNEVEN)
    return f"{kind}_{letters[:BODY_LENGTH].decode()}"
