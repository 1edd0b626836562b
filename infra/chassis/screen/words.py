"""Words that say digits, in English, Spanish, French and German, as they are written and as they are misheard.

All languages are read at once: people mix them, and nobody tells the screen which one is spoken. Words are folded
(lower case, no accents). A *soft* word is mostly something else ("for", "un", "once"): it is a digit only among digits.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Kind(IntEnum):
    """What a word does in a number."""

    GROUP = 0  # written digits
    DIGIT = 1
    TEEN = 2  # 10 to 19, and the single words of Spanish up to 29
    TEN = 3  # dix, which makes dix-sept of sept
    TENS = 4  # 20, 30 … 90
    SOIXANTE = 5  # 60, and 70 to 79 with what follows
    VINGT = 6  # 20, and 80 to 99 after quatre
    HUNDRED = 7
    HUNDREDS = 8  # doscientos, quinientos
    THOUSAND = 9
    REPEAT = 10  # double, triple
    TIMES = 11  # "three times five"
    PLURAL = 12  # "three fives"
    AND = 13
    FILLER = 14


@dataclass(frozen=True, slots=True)
class Word:
    kind: Kind
    value: int = 0
    soft: bool = False


def words(several: str) -> frozenset[str]:
    """Those between the spaces."""
    return frozenset(several.split())


def _row(kind: Kind, first: int, words: str, step: int = 1, *, soft: bool = False) -> dict[str, Word]:
    """Words that count up from `first` by `step`; several for one number with a bar between, a dash for none."""
    return {
        word: Word(kind, first + place * step, soft)
        for place, several in enumerate(words.split())
        for word in several.split("|")
        if word != "-"
    }


_HARD: Final = {
    **_row(Kind.DIGIT, 0, "zero one two three four five six seven eight nine"),
    **_row(
        Kind.DIGIT, 0,
        "cero|sero|zerro uno dos tres|trez cuatro|quatro cinco|sinco seis|ceis siete|ciete ocho nueve|nuebe",
    ),
    **_row(Kind.DIGIT, 0, "zero - deux trois|troi quatre|katre cinq|cinque six sept huit neuf"),
    **_row(Kind.DIGIT, 0, "null|nul eins zwei|zwo drei vier funf|fuenf|fumf sechs|seks sieben|siben acht neun"),
    **_row(Kind.TEEN, 10, "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"),
    **_row(
        Kind.TEEN, 10,
        "diez - doce trece catorce quince dieciseis diecisiete dieciocho diecinueve veinte veintiuno",
    ),
    **_row(
        Kind.TEEN, 22,
        "veintidos veintitres veinticuatro veinticinco veintiseis veintisiete veintiocho veintinueve",
    ),
    **_row(Kind.TEEN, 11, "onze douze treize quatorze quinze seize"),
    **_row(
        Kind.TEEN, 10,
        "zehn - zwolf|zwoelf dreizehn vierzehn funfzehn|fuenfzehn sechzehn siebzehn achtzehn neunzehn",
    ),
    **_row(Kind.TEN, 10, "dix"),
    **_row(Kind.TENS, 20, "twenty thirty forty|fourty fifty sixty seventy eighty ninety", 10),
    **_row(Kind.TENS, 30, "treinta cuarenta cincuenta sesenta setenta ochenta noventa", 10),
    **_row(Kind.TENS, 30, "trente quarante cinquante - septante huitante|octante nonante", 10),
    **_row(Kind.TENS, 20, "zwanzig dreissig|dreizig vierzig funfzig|fuenfzig sechzig siebzig achtzig neunzig", 10),
    **_row(Kind.SOIXANTE, 60, "soixante"),
    **_row(Kind.VINGT, 20, "vingt|vingts"),
    **_row(Kind.HUNDRED, 100, "hundred|hundreds|ciento|cien|cent|cents|hundert"),
    **_row(
        Kind.HUNDREDS,
        200,
        "doscientos|doscientas trescientos|trescientas cuatrocientos|cuatrocientas quinientos|quinientas "
        "seiscientos|seiscientas setecientos|setecientas ochocientos|ochocientas novecientos|novecientas",
        100,
    ),
    **_row(Kind.THOUSAND, 1000, "thousand|mil|mille|tausend"),
    **_row(
        Kind.REPEAT, 2,
        "double|dubble|doble|doppel|doppelte|doppelt|zweimal|twice triple|treble|dreimal|dreifach|thrice",
    ),
    **_row(Kind.REPEAT, 4, "quadruple|cuadruple|viermal|vierfach funfmal|fuenfmal sechsmal siebenmal achtmal"),
    **_row(Kind.TIMES, 0, "times|fois|veces|mal"),
    **_row(
        Kind.PLURAL,
        0,
        "zeros|zeroes|ceros|nullen|ohs ones|unos|einsen twos|doses|zweien|zweier threes|treses|dreien|dreier "
        "fours|cuatros|vieren|vierer fives|cincos|funfen|funfer sixes|seises|sechsen|sechser sevens|sietes|siebener "
        "eights|ochos|achten|achter nines|nueves|neunen|neuner",
    ),
}  # fmt: skip
_SOFT: Final = {
    **_row(
        Kind.DIGIT,
        0,
        "o|oh|owe|ow|aught|nil|nada|rien won|wan|hun to|too|tu|toe tree|free|thre for|fore|foe|fur fife|fiv|hive "
        "sex|sicks|sics|sick sven|zeven ate|ait|hate niner|nein|nin|nigh",
        soft=True,
    ),
    **_row(
        Kind.DIGIT,
        0,
        "- un|une|hein|una|ein|eine|einz de|deu|deus|zwai|tzwei troie|trwa|drai|dry cat|kat|fier|fir|vir|phier "
        "sein|sain|sink|saint|finf sis|six cet|cette|set|sete|septe huite|wit|aacht|ach|hocho neufs|noeuf|neu|noin",
        soft=True,
    ),
    **_row(Kind.TEEN, 10, "dis|tin once|elf", soft=True),
    **_row(Kind.VINGT, 20, "vin|vint|vain", soft=True),
    **_row(Kind.AND, 0, "y|et|und"),
}  # fmt: skip
_ZEROS: Final = {"o" * count: Word(Kind.GROUP, count, soft=True) for count in range(2, 7)}
"""The letter typed for the digit: 4OOO."""
_FILLERS: Final = words(
    # hesitation and politeness
    "um uh er erm hm hmm mhm ah eh ehm euh heu ben bah ahm oh so well like okay ok right yes yeah yep no sorry please "
    "sir madam you see know wait let me hold hang just well "
    "pues este bueno vale si claro por favor a ver mire espere perdon digame "
    "alors donc voila bon oui euh attendez pardon merci "
    "ahm ah also na ja gut genau moment bitte warten sie so "
    # what comes next
    "and then next now after that followed by again more last finally the group is it its s that thats got another "
    "e luego despues entonces sigue seguido otra vez el la los las ahora ultimo ultimos final "
    "puis ensuite apres suivi encore le les l d c est maintenant dernier derniers enfin suite "
    "dann danach jetzt nochmal noch weiter gefolgt von die der das ist zuletzt schliesslich "
    # what stands between
    "dash hyphen space minus point dot comma slash period stop pause break blank number digit digits "
    "guion espacio punto coma barra menos raya pausa numero "
    "tiret espace virgule barre trait moins numero "
    "strich bindestrich leerzeichen punkt komma schragstrich leer lucke pause nummer ziffer"
)
LEXICON: Final[dict[str, Word]] = {
    **{word: Word(Kind.FILLER) for word in _FILLERS},
    **_ZEROS,
    **_SOFT,
    **_HARD,
}
_GLUE: Final = {
    "ein": Word(Kind.DIGIT, 1), "un": Word(Kind.DIGIT, 1), "elf": Word(Kind.TEEN, 11), "once": Word(Kind.TEEN, 11),
    "und": Word(Kind.AND), "i": Word(Kind.AND), "y": Word(Kind.AND),
}  # fmt: skip
_PARTS: Final = {
    **{word: known for word, known in _HARD.items() if known.kind <= Kind.THOUSAND},
    **_GLUE,
}
_PART_LENGTHS: Final = sorted({len(part) for part in _PARTS}, reverse=True)
_BEGINNINGS: Final = frozenset(part[:3] for part in _PARTS)
COMPOUND_MIN: Final = 6
"""Letters: sixone is as short as they get."""
COMPOUND_MAX: Final = 120
"""Letters: a number of sixteen digits in one German word. What is longer is no word."""


def parts_of(word: str) -> list[Word] | None:
    """The number words that `word` is written together from (zweiundvierzig, fourtwo), or None."""
    if not COMPOUND_MIN <= len(word) <= COMPOUND_MAX or word[:3] not in _BEGINNINGS:
        return None
    # From the end: the longest part with which the rest can be read.
    rest: list[list[Word] | None] = [None] * len(word) + [[]]
    for start in range(len(word) - 1, -1, -1):
        for length in _PART_LENGTHS:
            after = rest[start + length] if start + length <= len(word) else None
            part = _PARTS.get(word[start : start + length]) if after is not None else None
            if after is not None and part is not None:
                rest[start] = [part, *after]
                break
    return rest[0]
