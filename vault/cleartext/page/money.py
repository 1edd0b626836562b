"""An amount as a person reads it, after the Unicode CLDR's rules for their language (Babel brings them)."""

import re
from decimal import Decimal
from typing import Final

from babel.core import Locale
from babel.numbers import NumberPattern, get_currency_symbol, parse_pattern

from vault.cleartext.page.language import direction_of
from vault.contract import PageLanguage
from vault.currencies import minor_places

_LETTER_BESIDE_DIGIT: Final = re.compile(r"(?<=[^\W\d_])(?=\d)")
"""Where the CLDR wants a space that Babel leaves out (`CHF1.00`)."""
_LOCALES: Final = {language: Locale.parse(language.value) for language in PageLanguage}


def amount_text(amount_minor: int, currency: str, language: PageLanguage) -> str:
    """`7998, "USD"` becomes `$79.98 USD`, `79,98 $ USD` or `79,98 US$`: no dollar is to be taken for another.

    `amount_minor` counts ISO 4217's minor units. Digits are 0 to 9 in every language, as on the card. In a language
    from right to left the sign is isolated (Unicode UAX 9), or `US$` would be shown as `$US`.
    """
    places = minor_places(currency)
    locale = _LOCALES[language]
    amount = Decimal(amount_minor).scaleb(-places)
    text = _pattern(locale, places).apply(amount, locale, currency=currency, currency_digits=False)
    if not any(character.isalpha() for character in text):
        return f"{text} {currency}"
    spaced = _LETTER_BESIDE_DIGIT.sub("\N{NO-BREAK SPACE}", text)
    if direction_of(language) == "rtl":
        sign = get_currency_symbol(currency, locale)
        return spaced.replace(sign, f"\N{FIRST STRONG ISOLATE}{sign}\N{POP DIRECTIONAL ISOLATE}")
    return spaced


def _pattern(locale: Locale, places: int) -> NumberPattern:
    pattern = parse_pattern(locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (places, places)
    return pattern
