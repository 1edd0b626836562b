"""Numbers below ten thousand in words: facts of four languages, written from their grammars, not from the screen."""

from typing import Final


def _row(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ENGLISH: Final = _row(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
ENGLISH_TENS: Final = _row("- - twenty thirty forty fifty sixty seventy eighty ninety")
SPANISH: Final = _row(
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis "
    "veintisiete veintiocho veintinueve"
)
SPANISH_TENS: Final = _row("- - - treinta cuarenta cincuenta sesenta setenta ochenta noventa")
SPANISH_HUNDREDS: Final = _row(
    "- ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
)
FRENCH: Final = _row(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept "
    "dix-huit dix-neuf"
)
FRENCH_TENS: Final = _row("- - vingt trente quarante cinquante soixante")
GERMAN: Final = _row(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn"
)
GERMAN_TENS: Final = _row("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
SMALL: Final = 20
HUNDRED: Final = 100
THOUSAND: Final = 1000


def english(number: int, joint: str = " ") -> str:
    """`joint` stands in twenty-two."""
    if number < SMALL:
        return ENGLISH[number]
    if number < HUNDRED:
        tens, ones = divmod(number, 10)
        return ENGLISH_TENS[tens] + (f"{joint}{ENGLISH[ones]}" if ones else "")
    unit, name = (THOUSAND, "thousand") if number >= THOUSAND else (HUNDRED, "hundred")
    many, rest = divmod(number, unit)
    return f"{english(many, joint)} {name}" + (f" {english(rest, joint)}" if rest else "")


def spanish(number: int) -> str:
    if number < len(SPANISH):
        return SPANISH[number]
    if number < HUNDRED:
        tens, ones = divmod(number, 10)
        return SPANISH_TENS[tens] + (f" y {SPANISH[ones]}" if ones else "")
    if number == HUNDRED:
        return "cien"
    if number < THOUSAND:
        hundreds, rest = divmod(number, HUNDRED)
        return SPANISH_HUNDREDS[hundreds] + (f" {spanish(rest)}" if rest else "")
    many, rest = divmod(number, THOUSAND)
    return (f"{spanish(many)} mil" if many > 1 else "mil") + (f" {spanish(rest)}" if rest else "")


def french(number: int, joint: str = "-") -> str:
    """As in France: soixante-dix, quatre-vingts, quatre-vingt-douze."""
    if number < SMALL:
        return FRENCH[number]
    if number < 60:
        tens, ones = divmod(number, 10)
        return FRENCH_TENS[tens] + _french_ones(ones, joint)
    if number < 80:
        return "soixante" + _french_ones(number - 60, joint)
    if number < HUNDRED:
        return f"quatre{joint}vingt" + (f"{joint}{FRENCH[number - 80]}" if number > 80 else "s")
    unit, name = (THOUSAND, "mille") if number >= THOUSAND else (HUNDRED, "cent")
    many, rest = divmod(number, unit)
    return (f"{french(many, joint)} {name}" if many > 1 else name) + (f" {french(rest, joint)}" if rest else "")


def belgian(number: int) -> str:
    """As French but septante and nonante; below a hundred."""
    tens, ones = divmod(number, 10)
    if tens in {7, 9}:
        return {7: "septante", 9: "nonante"}[tens] + _french_ones(ones, "-")
    return french(number)


def german(number: int) -> str:
    """One word, as the Duden writes it."""
    if number < SMALL:
        return GERMAN[number]
    if number < HUNDRED:
        tens, ones = divmod(number, 10)
        before = "ein" if ones == 1 else GERMAN[ones]
        return (f"{before}und" if ones else "") + GERMAN_TENS[tens]
    unit, name = (THOUSAND, "tausend") if number >= THOUSAND else (HUNDRED, "hundert")
    many, rest = divmod(number, unit)
    return ("ein" if many == 1 else german(many)) + name + (german(rest) if rest else "")


def _french_ones(ones: int, joint: str) -> str:
    if not ones:
        return ""
    return f" et {FRENCH[ones]}" if ones in {1, 11} else f"{joint}{FRENCH[ones]}"
