"""Held back: how speakers of four languages say the groups of a card number. Each speaker has one habit."""

import random
from collections.abc import Callable, Mapping
from typing import Final

from tests.chassis.screen_corpus import wording
from tests.chassis.screen_corpus.shapes import groups_of

Speaker = Callable[[random.Random, list[str]], str]
"""From the groups as printed to what is said, in lower case, as a transcriber writes it down."""
Words = Callable[[int], str]

FILLERS: Final = {
    "english": ("uh", "let me see", "and then", "okay", "comma", "pause", "after that", "hang on", "I think"),
    "spanish": ("eh", "a ver", "y luego", "vale", "coma", "pausa", "después", "un momento"),
    "french": ("euh", "voyons", "et puis", "d'accord", "virgule", "pause", "après", "attendez"),
    "german": ("äh", "mal sehen", "und dann", "okay", "Komma", "Pause", "danach", "Moment"),
}
HOMOPHONES: Final = {
    "0": ("oh", "owe", "zero"),
    "1": ("won", "one"),
    "2": ("to", "too", "two"),
    "3": ("tree", "three", "free"),
    "4": ("for", "fore", "four"),
    "5": ("five", "fife"),
    "6": ("six", "sicks"),
    "7": ("seven",),
    "8": ("ate", "eight"),
    "9": ("nine", "niner"),
}
ASR: Final = {
    "spanish": {"5": "sinco", "7": "ciete", "0": "sero"},
    "french": {"7": "cet", "1": "hein", "2": "de", "5": "sink"},
    "german": {"4": "fier", "3": "drai", "1": "ein"},
}
REPEATED: Final = {
    "english": {2: "double {}", 3: "triple {}"},
    "spanish": {2: "doble {}", 3: "triple {}"},
    "french": {2: "double {}", 3: "triple {}"},
    "german": {2: "doppel {}", 3: "dreimal die {}"},
}
ONES: Final = {
    "english": wording.ENGLISH,
    "spanish": wording.SPANISH,
    "french": wording.FRENCH,
    "german": wording.GERMAN,
}
WORDS: Final[Mapping[str, Words]] = {
    "english": wording.english,
    "spanish": wording.spanish,
    "french": wording.french,
    "german": wording.german,
}


def _digits(language: str, group: str) -> str:
    return " ".join(ONES[language][int(digit)] for digit in group)


def _number(words: Words, language: str, digits: str) -> str:
    """As one number; leading zeros are said by themselves, as everybody does."""
    rest = digits.lstrip("0")
    zeros = [ONES[language][0]] * (len(digits) - len(rest))
    return " ".join([*zeros, words(int(rest))] if rest else zeros)


def by_digit(language: str) -> Speaker:
    return lambda _chance, groups: ", ".join(_digits(language, group) for group in groups)


def in_pairs(language: str, words: Words | None = None) -> Speaker:
    say = words or WORDS[language]
    return lambda _chance, groups: ", ".join(
        " ".join(_number(say, language, pair) for pair in groups_of(group, (2,))) for group in groups
    )


def in_numbers(language: str, size: int) -> Speaker:
    """Groups of up to `size` digits, each said as one number."""
    say = WORDS[language]
    return lambda _chance, groups: ", ".join(
        _number(say, language, part) for group in groups for part in groups_of(group, (size,))
    )


def repeating(language: str) -> Speaker:
    """Says "double four" and "triple zero" wherever it can, within a group."""

    def say(_chance: random.Random, groups: list[str]) -> str:
        return ", ".join(" ".join(_runs(language, group)) for group in groups)

    return say


def _runs(language: str, group: str) -> list[str]:
    said, at = [], 0
    while at < len(group):
        run = 1
        while run < 3 and group[at : at + run + 1] == group[at] * (run + 1):
            run += 1
        word = ONES[language][int(group[at])]
        said.append(REPEATED[language][run].format(word) if run > 1 else word)
        at += run
    return said


def hesitating(language: str) -> Speaker:
    def say(chance: random.Random, groups: list[str]) -> str:
        said = [_digits(language, groups[0])]
        for group in groups[1:]:
            said += [chance.choice(FILLERS[language]), _digits(language, group)]
        return " ".join(said)

    return say


def mixed(language: str) -> Speaker:
    """As transcribers do: some groups in digits, some in words."""

    def say(chance: random.Random, groups: list[str]) -> str:
        both = [chance.choice((group, _digits(language, group))) for group in groups]
        return " ".join(both)

    return say


def misheard(language: str) -> Speaker:
    def say(_chance: random.Random, groups: list[str]) -> str:
        heard = ASR[language]
        return " ".join(heard.get(digit, ONES[language][int(digit)]) for group in groups for digit in group)

    return say


def _homophones(chance: random.Random, groups: list[str]) -> str:
    return " ".join(chance.choice(HOMOPHONES[digit]) for group in groups for digit in group)


def _oh(_chance: random.Random, groups: list[str]) -> str:
    return " ".join(_digits("english", group).replace("zero", "oh") for group in groups)


def _shouted(_chance: random.Random, groups: list[str]) -> str:
    return " ".join(_digits("english", group) for group in groups).upper().replace(" ", "-")


def _hundreds(_chance: random.Random, groups: list[str]) -> str:
    """Round groups as "forty-two hundred", the others in pairs."""
    pairs = in_pairs("english")
    said = []
    for group in groups:
        round_one = len(group) == 4 and group.endswith("00") and group[0] != "0" and group[1] != "0"
        said.append(f"{wording.english(int(group[:2]), '-')} hundred" if round_one else pairs(_chance, [group]))
    return ", ".join(said)


def _in_a_breath(_chance: random.Random, groups: list[str]) -> str:
    """German compounds run together, two digits a word, none of them apart by a comma."""
    return in_pairs("german")(_chance, groups).replace(",", "")


def _zwo(_chance: random.Random, groups: list[str]) -> str:
    return " ".join(_digits("german", group).replace("zwei", "zwo") for group in groups)


SPEAKERS: Final[Mapping[str, Mapping[str, Speaker]]] = {
    "english": {
        "digits": by_digit("english"), "pairs": in_pairs("english"), "thousands": in_numbers("english", 4),
        "repeats": repeating("english"), "fillers": hesitating("english"), "mixed": mixed("english"),
        "sound-alikes": _homophones, "oh": _oh, "shouted": _shouted, "round hundreds": _hundreds,
    },
    "spanish": {
        "digits": by_digit("spanish"), "pairs": in_pairs("spanish"), "thousands": in_numbers("spanish", 4),
        "hundreds": in_numbers("spanish", 3), "repeats": repeating("spanish"), "fillers": hesitating("spanish"),
        "mixed": mixed("spanish"), "sound-alikes": misheard("spanish"),
    },
    "french": {
        "digits": by_digit("french"), "pairs": in_pairs("french"), "thousands": in_numbers("french", 4),
        "Belgian pairs": in_pairs("french", wording.belgian), "repeats": repeating("french"),
        "fillers": hesitating("french"), "mixed": mixed("french"), "sound-alikes": misheard("french"),
    },
    "german": {
        "digits": by_digit("german"), "pairs": in_pairs("german"), "thousands": in_numbers("german", 4),
        "one breath": _in_a_breath, "repeats": repeating("german"), "fillers": hesitating("german"),
        "mixed": mixed("german"), "sound-alikes": misheard("german"), "zwo": _zwo,
    },
}  # fmt: skip
