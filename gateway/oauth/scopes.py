"""What an assistant may be allowed to do, and how the consent page says it."""

from typing import Final

SCOPES: Final = {
    "catalog": ("Look around", "Search the catalogue and put things in a basket for you."),
    "purchase": ("Buy for you", "Start purchases. Each one is checked against the limits you set below."),
    "memory": ("Use what you have shared", "Recall and add to what this brand remembers about you."),
}
"""In the order in which a person reads them."""


def in_order(scopes: frozenset[str]) -> list[str]:
    return [scope for scope in SCOPES if scope in scopes]
