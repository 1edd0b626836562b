"""The split the screen was tuned on: its own frames, habits, fillers, separators, scripts and numbers."""

import base64
import random
from collections.abc import Callable, Mapping
from typing import Final

from tests.chassis.screen_corpus import wording
from tests.chassis.screen_corpus.shapes import TUNING_CARDS, Maker, Sample, groups_of, in_script, printed

Say = Callable[[random.Random, str], str]

FRAMES: Final = (
    "{}", "my card number is {}", "use {} please", "My card: {}. Thanks!", "pay with {} and ship it to me",
    "tarjeta {} por favor", "carte {} s'il vous plaît", "meine Karte {} bitte", "number {} and it is a Visa",
)  # fmt: skip
ONES: Final = {
    "english": wording.ENGLISH, "spanish": wording.SPANISH, "french": wording.FRENCH, "german": wording.GERMAN,
}  # fmt: skip
BETWEEN: Final = {
    "english": ("um", "then", "dash", "space", "and", "next", "followed by"),
    "spanish": ("este", "luego", "guión", "espacio", "y", "sigue"),
    "french": ("ben", "puis", "tiret", "espace", "et", "ensuite"),
    "german": ("ähm", "dann", "Strich", "Leerzeichen", "und", "weiter"),
}
HEARD: Final = {"1": "won", "2": "to", "3": "tree", "4": "for", "6": "sicks", "8": "ate", "0": "o"}


def _digits(language: str, digits: str) -> str:
    return " ".join(ONES[language][int(digit)] for digit in digits)


def _pair(language: str, pair: str) -> str:
    words: Mapping[str, Callable[[int], str]] = {
        "english": lambda number: wording.english(number, "-"),
        "spanish": wording.spanish,
        "french": lambda number: wording.french(number, " "),
        "german": wording.german,
    }
    if pair.startswith("0") or len(pair) == 1:
        return _digits(language, pair)
    return words[language](int(pair))


def _singles(language: str) -> Say:
    return lambda _chance, card: _digits(language, card)


def _pairs(language: str) -> Say:
    return lambda _chance, card: " ".join(_pair(language, pair) for pair in groups_of(card, (2,)))


def _filled(language: str) -> Say:
    def say(chance: random.Random, card: str) -> str:
        said = _digits(language, card).split()
        for _ in range(3):
            said.insert(chance.randrange(1, len(said)), chance.choice(BETWEEN[language]))
        return " ".join(said)

    return say


def _by_fours(language: str) -> Say:
    return lambda _chance, card: " ".join(_fours(language, group) for group in printed(card))


def _fours(language: str, group: str) -> str:
    if group.startswith("0") or len(group) != 4:
        return _digits(language, group)
    if language == "english":
        round_one = group[1:] == "000"
        return (
            f"{_pair(language, group[:2])} hundred"
            if round_one
            else f"{_pair(language, group[:2])} {_pair(language, group[2:])}"
        )
    return {"spanish": wording.spanish, "french": wording.french, "german": wording.german}[language](int(group))


def _zeros(language: str) -> Say:
    """Counts zeros: three zeros, quatre zéros."""
    many = {"english": "zeros", "spanish": "ceros", "french": "zéros", "german": "Nullen"}[language]

    def say(_chance: random.Random, card: str) -> str:
        said, at = [], 0
        while at < len(card):
            run = len(card[at : at + 6]) - len(card[at : at + 6].lstrip("0"))
            said.append(f"{ONES[language][run]} {many}" if run > 1 else ONES[language][int(card[at])])
            at += max(run, 1)
        return " ".join(said)

    return say


def _heard(_chance: random.Random, card: str) -> str:
    return " ".join(HEARD.get(digit, wording.ENGLISH[int(digit)]) for digit in card)


def _doubles(_chance: random.Random, card: str) -> str:
    said, at = [], 0
    while at < len(card):
        twice = card[at : at + 2] == card[at] * 2
        said.append(("double " if twice else "") + wording.ENGLISH[int(card[at])])
        at += 1 + twice
    return " ".join(said)


def _unlisted(chance: random.Random, card: str) -> str:
    return chance.choice((" whatchamacallit ", " ehrlich ", " err what was it ")).join(
        _digits("english", group) for group in printed(card)
    )


WAYS: Final[Mapping[str, Say]] = {
    "plain": lambda _chance, card: card,
    "grouped": lambda chance, card: chance.choice((" ", "-", ".", " - ")).join(printed(card)),
    "singles": lambda _chance, card: " ".join(card),
    "pairs": lambda _chance, card: " ".join(groups_of(card, (2,))),
    "threes": lambda _chance, card: " ".join(groups_of(card, (3,))),
    "full width": lambda _chance, card: in_script(card, "\uff10"),
    "arabic": lambda _chance, card: in_script(card, "\u0660"),
    "devanagari": lambda _chance, card: in_script(card, "\u0966"),
    "base64": lambda _chance, card: base64.b64encode(f"x{card}".encode()).decode(),
    "hex": lambda _chance, card: card.encode().hex(),
    "url": lambda _chance, card: "".join(f"%{ord(digit):x}" for digit in card),
    "html": lambda _chance, card: "".join(f"&#{ord(digit)};" for digit in card),
    "glued": lambda chance, card: f"{card}{chance.randint(1, 12):02d}29{chance.randint(100, 999)}",
    "letters for zeros": lambda _chance, card: " ".join(printed(card.replace("0", "O"))),
    "sound-alikes": _heard,
    "doubles": _doubles,
    "unlisted fillers": _unlisted,
    **{f"digits, {language}": _singles(language) for language in ONES},
    **{f"pairs, {language}": _pairs(language) for language in ONES},
    **{f"fillers, {language}": _filled(language) for language in ONES},
    **{f"fours, {language}": _by_fours(language) for language in ONES},
    **{f"zeros, {language}": _zeros(language) for language in ONES},
}


def _maker(form: str, say: Say) -> Maker:
    def make(chance: random.Random) -> Sample:
        text = chance.choice(FRAMES).format(say(chance, chance.choice(TUNING_CARDS)))
        return Sample((text,), True, form, "any")

    return make


TURNS: Final = ("{}", "then {}", "{}.", "the first ones are {}", "next {}", "{} right?")


def _turns(form: str, say: Say) -> Maker:
    def make(chance: random.Random) -> Sample:
        card = chance.choice(TUNING_CARDS)
        parts = chance.choice((printed(card), groups_of(card, (4,)), groups_of(card, (7,))))
        return Sample(tuple(chance.choice(TURNS).format(say(chance, part)) for part in parts), True, form, "any")

    return make


POSITIVES: Final[tuple[Maker, ...]] = (
    *(_maker(form, say) for form, say in WAYS.items()),
    _turns("turns: written", WAYS["plain"]),
    *(_turns(f"turns: spoken {language}", WAYS[f"digits, {language}"]) for language in ONES),
    _turns("turns: pairs", _pairs("english")),
)
