"""Identifiers that say their kind and cannot look like a card number."""

import secrets

ALPHABET = "bcdfghjkmnpqrstvwxyz"
"""Letters only: no run of digits, so no id can pass a Luhn check; no vowels, so no words."""
BODY_LENGTH = 26
"""26 letters of 20 are 112 bits: unguessable, and no collision in any life of the system."""


def new_id(kind: str) -> str:
    """`kind` is the three-letter prefix of words.md, e.g. `pur` gives `pur_…`."""
    return f"{kind}_{''.join(secrets.choice(ALPHABET) for _ in range(BODY_LENGTH))}"
