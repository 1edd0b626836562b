"""Identifiers that say their kind and cannot look like a card number."""

import secrets

ALPHABET = "bcdfghjkmnpqrstvwxyz"
"""Letters only: no run of digits, so no id can pass a Luhn check; no vowels, so no words."""
BODY_LENGTH = 26
"""26 letters of 20 are 112 bits: unguessable, and no collision in any life of the system."""
BODIES = len(ALPHABET) ** BODY_LENGTH
"""One draw among all bodies is as even as a draw for each letter, at a twentieth of the time."""


def new_id(kind: str) -> str:
    """`kind` is the three-letter prefix of words.md, e.g. `pur` gives `pur_…`."""
    number, letters = secrets.randbelow(BODIES), []
    for _ in range(BODY_LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return f"{kind}_{''.join(letters)}"
