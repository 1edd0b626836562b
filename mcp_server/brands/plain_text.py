"""Text of a pack reaches models and people alike, so both must see the same characters."""

import re
import unicodedata

from mcp_server.brands.invalid import BrandPackInvalid

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})

# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties.txt) outside those categories, and blank Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def check_text(text: str, *, file: str, field: str) -> None:
    """Refuse what hides from the eye: control, invisible, bidirectional, private and blank characters.

    A line feed is allowed; so is the plain space, and no other space. Text is in Unicode form NFC.
    """
    for character in text:
        if character != "\n" and is_unseen(character):
            name = unicodedata.name(character, "unnamed")
            raise BrandPackInvalid(file, field, f"invisible or bidirectional character U+{ord(character):04X} ({name})")
    if not unicodedata.is_normalized("NFC", text):
        raise BrandPackInvalid(file, field, "text is not in Unicode form NFC")


def check_all_text(value: object, *, file: str, field: str = "") -> None:
    """Walk decoded TOML and check every key and every string in it."""
    if isinstance(value, str):
        check_text(value, file=file, field=field)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key, file=file, field=field or "the top level")
            check_all_text(inner, file=file, field=f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            check_all_text(inner, file=file, field=f"{field}[{position}]")


def is_unseen(character: str) -> bool:
    category = unicodedata.category(character)
    return (
        category in _UNSEEN_CATEGORIES
        or (category == "Zs" and character != " ")
        or _UNSEEN.match(character) is not None
    )
