"""Numbers that say themselves what they are: account numbers with their check digits, dates, times, prices, places.

Asked only about what would otherwise be taken for a card number, so it costs nothing on ordinary text.
"""

import re
from typing import Final

_IBAN: Final = re.compile(r"(?<![a-z0-9])[a-z]{2}[0-9]{2}(?: ?[0-9a-z]{4}){2,7}(?: ?[0-9a-z]{1,4})?(?![a-z0-9])")
_DATE: Final = re.compile(
    r"(?<![0-9])(?:(?:19|20)[0-9]{2}([-./])[01]?[0-9]\1[0-3]?[0-9]|[0-3]?[0-9]([-./])[0-3]?[0-9]\2(?:19|20)[0-9]{2})(?![0-9])"
)
_TIME: Final = re.compile(r"(?<![0-9:])[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9])?(?![0-9:])")
_PRICES: Final = re.compile(r"(?:[0-9]{1,4}[.,][0-9]{2}[;,/]? +){2,}[0-9]{1,4}[.,][0-9]{2}")
_PLACE: Final = re.compile(r"[0-9]{1,3}\.[0-9]{3,8}[\s,;]+-?[0-9]{1,3}\.[0-9]{3,8}")
_DIGITS: Final = re.compile(r"[0-9]{2}")
_COUNTRY_CODE: Final = re.compile(r"\+[\s(]{0,2}\Z")
_TELEPHONE_DIGITS_MAX: Final = 15
"""ITU-T E.164."""
_AROUND: Final = 40
"""Characters of an IBAN, which is 34 without its gaps."""


def says_what_it_is(folded: str, start: int, end: int) -> bool:
    """Whether `folded[start:end]`, digits that pass for a card, belongs to something that is none."""
    shown = folded[start:end]
    if not _DIGITS.search(shown):
        return False
    if _DATE.search(shown) or _TIME.search(shown) or _PRICES.fullmatch(shown) or _PLACE.fullmatch(shown):
        return True
    digits = sum(character.isdecimal() for character in shown)
    if digits <= _TELEPHONE_DIGITS_MAX and _COUNTRY_CODE.search(folded, max(0, start - 4), start):
        return True
    before = max(0, start - _AROUND)
    return any(
        match.start() <= start and end <= match.end() and _is_account(match.group())
        for match in _IBAN.finditer(folded, before, end + _AROUND)
    )


def _is_account(found: str) -> bool:
    """ISO 13616: the check digits of ISO 7064 mod 97-10. A word that follows may look like the last group."""
    return any(
        int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1
        for plain in (found.replace(" ", ""), found.rpartition(" ")[0].replace(" ", ""))
        if plain
    )
