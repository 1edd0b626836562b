"""Ids as Stripe writes them, but of letters only, so that none can contain the digits of a card."""

import secrets
import string

_LENGTH = 24  # 24 letters of 52 carry 136 bits


def new_id(kind: str) -> str:
    """`new_id("pi")` is `pi_` and 24 letters."""
    return f"{kind}_{letters(_LENGTH)}"


def letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters) for _ in range(count))


def as_letters(digest: bytes, count: int) -> str:
    """The first `count` bytes of a digest, written with letters."""
    return "".join(string.ascii_letters[byte % len(string.ascii_letters)] for byte in digest[:count])
