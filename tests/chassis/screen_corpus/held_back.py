"""Held back: card numbers as people, programs and evaders write and say them. Written before the screen; see above."""

import base64
import random
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

from tests.chassis.screen_corpus import wording
from tests.chassis.screen_corpus.held_back_speech import SPEAKERS, Speaker
from tests.chassis.screen_corpus.shapes import HELD_BACK_CARDS, Maker, Sample, groups_of, in_script, printed

FRAMES: Final = {
    "english": (
        "Please put it on {}, I will be home all day.",
        "{} is what the plastic says",
        "could you charge {} for the lamp?",
        "Reading it off now: {}. Did you catch that?",
        "hi! i tried twice, my visa {} keeps failing at the last step",
        "{}",
    ),
    "spanish": (
        "Cóbrelo en esta: {}, gracias.",
        "mi tarjeta es la {} y caduca en mayo",
        "Le leo lo que pone delante, {}. ¿Lo tiene?",
        "{}",
    ),
    "french": (
        "Débitez plutôt celle-ci : {}, merci bien.",
        "le numéro de ma carte bleue c'est le {}",
        "Je vous lis ce qui est écrit dessus, {}. C'est bon ?",
        "{}",
    ),
    "german": (
        "Buchen Sie es bitte hiervon ab: {}, danke.",
        "auf der karte steht {} und sonst nichts",
        "Ich lese mal vor, {}. Haben Sie das?",
        "{}",
    ),
}
SEPARATORS: Final = (" / ", "_", "\u2013", "\u00a0", "\n", " . ", "\u200b", "\u00b7", " | ", ", ", "\t", "  ", "\u2011")
ZEROS: Final = {
    "persian": "\u06f0",
    "bengali": "\u09e6",
    "thai": "\u0e50",
    "tamil": "\u0be6",
    "khmer": "\u17e0",
    "mathematical bold": "\U0001d7ce",
    "monospace": "\U0001d7f6",
}
CIRCLED: Final = "\u24ea\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467\u2468"
SUPERSCRIPT: Final = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
Written = Callable[[random.Random, str], str]


def framed(chance: random.Random, said: str, language: str = "english") -> str:
    return chance.choice(FRAMES[language]).format(said)


def _written(form: str, write: Written) -> Maker:
    def make(chance: random.Random) -> Sample:
        language = chance.choice(list(FRAMES))
        return Sample((framed(chance, write(chance, chance.choice(HELD_BACK_CARDS)), language),), True, form, language)

    return make


def _separated(chance: random.Random, card: str) -> str:
    return chance.choice(SEPARATORS).join(printed(card))


def _pairs(chance: random.Random, card: str) -> str:
    return chance.choice((" ", "-", ".")).join(groups_of(card, (2,)))


def _halves(chance: random.Random, card: str) -> str:
    return chance.choice((" ", "-", " - ")).join(groups_of(card, (8,)))


def _uneven(chance: random.Random, card: str) -> str:
    sizes = [chance.randint(2, 5) for _ in range(8)]
    return " ".join(groups_of(card, sizes))


def _single(chance: random.Random, card: str) -> str:
    return chance.choice((" ", "-", "  ", ".")).join(card)


def _scripted(chance: random.Random, card: str) -> str:
    zero = chance.choice(list(ZEROS.values()))
    return chance.choice(("", " ")).join(in_script(group, zero) for group in printed(card))


def _decorated(chance: random.Random, card: str) -> str:
    row = chance.choice((CIRCLED, SUPERSCRIPT, [f"{digit}\ufe0f\u20e3" for digit in range(10)]))
    return "".join(row[int(digit)] for digit in card)


def _with_the_rest(chance: random.Random, card: str) -> str:
    month, code = f"{chance.randint(1, 12):02d}", chance.randint(100, 999)
    return chance.choice((f"{card} {month}/29 {code}", f"{card}|{month}|2029|{code}", f"{card}={month}29101{code}"))


def _as_json(chance: random.Random, card: str) -> str:
    return f'{{"amount": {chance.randint(100, 99_999)}, "source": "{card}", "live": false}}'


def _base64(chance: random.Random, card: str) -> str:
    sentence = chance.choice(("", "pay:", "number ", "my card is ")) + card + chance.choice(("", " ok", "\n"))
    code = chance.choice((base64.b64encode, base64.urlsafe_b64encode))(sentence.encode()).decode()
    return code.rstrip("=") if chance.random() < 0.5 else code


def _hexadecimal(chance: random.Random, card: str) -> str:
    plain = chance.choice((card, " ".join(printed(card)))).encode()
    code = plain.hex(*chance.choice(((), (" ",), (":",))))
    return chance.choice((code, code.upper(), f"0x{code}"))


def _percent(chance: random.Random, card: str) -> str:
    once = "".join(f"%{ord(digit):02X}" for digit in card)
    grouped = quote(" ".join(printed(card)))
    return chance.choice((once, quote(once), grouped, grouped.replace("%20", "+"), f"pay?n={once}&x=1"))


def _entities(chance: random.Random, card: str) -> str:
    write = chance.choice(("&#{:d};", "&#x{:x};", "&#{:03d};", "&#X{:X};"))
    return "".join(write.format(ord(digit)) for digit in card)


def _escaped(chance: random.Random, card: str) -> str:
    write = chance.choice(("\\u{:04x}", "\\x{:02x}", "\\u{{{:x}}}"))
    return "".join(write.format(ord(digit)) for digit in card)


def _quoted_printable(_chance: random.Random, card: str) -> str:
    return "".join(f"={ord(digit):02X}" for digit in card)


def _spoken(language: str, speaker: Speaker, name: str) -> Maker:
    def make(chance: random.Random) -> Sample:
        said = speaker(chance, printed(chance.choice(HELD_BACK_CARDS)))
        if chance.random() < 0.2:
            said = said.capitalize()
        return Sample((framed(chance, said, language),), True, f"spoken: {name}", language)

    return make


TURN_FRAMES: Final = {
    "english": ("{}", "{}, ok?", "the next bit is {}", "and {} after that", "{} got it?"),
    "spanish": ("{}", "{}, ¿sí?", "lo que sigue es {}", "y {} a continuación"),
    "french": ("{}", "{}, d'accord ?", "la suite c'est {}", "et {} pour suivre"),
    "german": ("{}", "{}, okay?", "als nächstes {}", "und {} hinterher"),
}
CHATTER: Final = {
    "english": ("hold on, somebody is at the door", "sorry, my glasses"),
    "spanish": ("espere, llaman a la puerta", "perdone, las gafas"),
    "french": ("attendez, on sonne", "pardon, mes lunettes"),
    "german": ("Moment, es klingelt", "Entschuldigung, meine Brille"),
}


def _over_turns(language: str, *, spoken: bool) -> Maker:
    def make(chance: random.Random) -> Sample:
        card = chance.choice(HELD_BACK_CARDS)
        parts = _parts(chance, card)
        if spoken:
            speaker = chance.choice([speaker for name, speaker in SPEAKERS[language].items() if name != "mixed"])
            parts = [speaker(chance, [part]) for part in parts]
        turns = [chance.choice(TURN_FRAMES[language]).format(part) for part in parts]
        if len(turns) < 6 and chance.random() < 0.3:
            turns.insert(chance.randrange(1, len(turns)), chance.choice(CHATTER[language]))
        return Sample(tuple(turns), True, "turns, spoken" if spoken else "turns, written", language)

    return make


def _parts(chance: random.Random, card: str) -> list[str]:
    """Of two to six turns: as printed, in halves, or in threes and the rest."""
    cut: Sequence[int] = chance.choice(((), (8,), (3,), (5,), (6, 6)))
    return groups_of(card, cut) if cut and len(groups_of(card, cut)) <= 6 else printed(card)


def _each_digit_spelled(chance: random.Random, card: str) -> str:
    """Two languages in one number, as people who live in two do."""
    one, other = chance.sample((wording.ENGLISH, wording.SPANISH, wording.FRENCH, wording.GERMAN), 2)
    half = len(card) // 2
    return " ".join([one[int(digit)] for digit in card[:half]] + [other[int(digit)] for digit in card[half:]])


WRITTEN: Final[dict[str, Written]] = {
    "written: plain": lambda _chance, card: card,
    "written: separated": _separated,
    "written: in pairs": _pairs,
    "written: in halves": _halves,
    "written: uneven groups": _uneven,
    "written: digit by digit": _single,
    "written: other scripts": _scripted,
    "written: decorated digits": _decorated,
    "written: with expiry and code": _with_the_rest,
    "written: in JSON": _as_json,
    "encoded: base64": _base64,
    "encoded: hexadecimal": _hexadecimal,
    "encoded: URL": _percent,
    "encoded: HTML entities": _entities,
    "encoded: escapes": _escaped,
    "encoded: quoted-printable": _quoted_printable,
    "spoken: two languages": _each_digit_spelled,
}
POSITIVES: Final[tuple[Maker, ...]] = (
    *(_written(form, write) for form, write in WRITTEN.items()),
    *(_spoken(language, speaker, name) for language, all_of in SPEAKERS.items() for name, speaker in all_of.items()),
    *(_over_turns(language, spoken=spoken) for language in SPEAKERS for spoken in (False, True)),
)
