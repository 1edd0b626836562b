"""Held back: texts full of digits and number words that say no card number. Written before the screen."""

import base64
import random
import uuid
from collections.abc import Callable
from typing import Final

from tests.chassis.screen_corpus import wording
from tests.chassis.screen_corpus.shapes import Maker, Sample, gs1_check_digit, iban, some_digits

Text = Callable[[random.Random], str]


def _order(chance: random.Random) -> str:
    number = chance.choice(
        (
            f"AB-{some_digits(chance, 9)}",
            f"2026-{some_digits(chance, 7)}",
            f"#{some_digits(chance, 10)}",
            f"SO{some_digits(chance, 8)}/{some_digits(chance, 2)}",
            f"{some_digits(chance, 3)}-{some_digits(chance, 7)}-{some_digits(chance, 7)}",
        )
    )
    return f"Any news about order {number}? It was promised for the {chance.randint(1, 28)}th."


def _phone(chance: random.Random) -> str:
    number = chance.choice(
        (
            f"+1 (212) {some_digits(chance, 3)}-{some_digits(chance, 4)} ext. {some_digits(chance, 3)}",
            f"+44 20 7{some_digits(chance, 3)} {some_digits(chance, 4)}",
            f"+49 (0)30 {some_digits(chance, 3)} {some_digits(chance, 2)} {some_digits(chance, 3)}",
            f"0033 6 {' '.join(some_digits(chance, 2) for _ in range(4))}",
            f"+34 6{some_digits(chance, 2)} {some_digits(chance, 3)} {some_digits(chance, 3)}",
            f"+55 11 9{some_digits(chance, 4)}-{some_digits(chance, 4)}",
        )
    )
    other = f"0{some_digits(chance, 3)} {some_digits(chance, 6)}"
    return chance.choice((f"My mobile is {number}, or try {other} in the evening.", f"Tel. {number}"))


def _tracking(chance: random.Random) -> str:
    number = chance.choice(
        (
            f"94{some_digits(chance, 20)}",
            f"9400 1{' '.join(['', *(some_digits(chance, 4) for _ in range(3))])} {some_digits(chance, 2)}",
            f"1Z{some_digits(chance, 3)}E{some_digits(chance, 12)}",
            some_digits(chance, 12),
            f"JJD00{some_digits(chance, 16)}",
            f"00340434{some_digits(chance, 12)}",
        )
    )
    return f"the parcel {number} has not moved since Tuesday"


def _iban(chance: random.Random) -> str:
    country, length = chance.choice((("DE", 18), ("ES", 20), ("AT", 16), ("FR", 23)))
    number = iban(country, some_digits(chance, length))
    if chance.random() < 0.6:
        number = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    return chance.choice((f"Bitte erstatten Sie auf {number}.", f"IBAN: {number}", f"virement vers {number} svp"))


def _timestamp(chance: random.Random) -> str:
    second = chance.randint(1_600_000_000, 1_900_000_000)
    clock = f"{chance.randint(0, 23):02d}:{chance.randint(0, 59):02d}:{chance.randint(0, 59):02d}"
    day = f"{chance.randint(2019, 2031)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"
    return chance.choice(
        (
            f"created={second}{some_digits(chance, 3)} updated={second + 5}{some_digits(chance, 3)}",
            f"at {second}{some_digits(chance, 9)} ns",
            f"{day}T{clock}.{some_digits(chance, 6)}+02:00",
            f"{day} {clock},{some_digits(chance, 3)} INFO 200 in {chance.randint(1, 999)} ms",
            day.replace("-", "") + clock.replace(":", ""),
            f"seen {day[8:]}/{day[5:7]}/{day[:4]} {clock} and {clock}",
        )
    )


def _barcode(chance: random.Random) -> str:
    body = chance.choice(("400", "426", "501", "502", "978", "57", "45", "84", "590", "87", "600"))
    body += some_digits(chance, 12 - len(body))
    return f"the barcode under it reads {body}{gs1_check_digit(body)}"


def _identifier(chance: random.Random) -> str:
    kind = uuid.UUID(int=chance.getrandbits(128), version=4)
    return chance.choice(
        (
            f"request {kind} failed",
            f"commit {chance.getrandbits(160):040x}",
            f"sha256:{chance.getrandbits(256):064x}",
            f"trace {chance.getrandbits(128):032x} span {chance.getrandbits(64):016x}",
            f"blob {base64.b64encode(chance.randbytes(36)).decode()}",
            f"mac {chance.randbytes(6).hex(':')} and {chance.randbytes(6).hex(':')}",
        )
    )


def _prices(chance: random.Random) -> str:
    cents = [chance.randint(199, 249_999) for _ in range(chance.randint(3, 6))]
    style = chance.choice(("${}.{:02d}", "{},{:02d} €", "£{}.{:02d}", "{}.{:02d}"))
    return "it came to " + ", ".join(style.format(*divmod(amount, 100)) for amount in cents) + " in the end"


def _address(chance: random.Random) -> str:
    return chance.choice(
        (
            f"{chance.randint(1, 9999)} Elm #{chance.randint(1, 9)}, {some_digits(chance, 5)}-{some_digits(chance, 4)}",
            f"Hauptstraße {chance.randint(1, 200)}, {some_digits(chance, 5)} Köln, Klingel {chance.randint(1, 40)}",
            f"{chance.randint(1, 90)} rue des Lilas, bât. {chance.randint(1, 9)}, 750{chance.randint(10, 20)} Paris",
            f"Calle Mayor {chance.randint(1, 90)}, {chance.randint(1, 9)}º, 280{chance.randint(10, 50)} Madrid",
            f"at {chance.randint(36, 55)}.{some_digits(chance, 6)}, {chance.randint(1, 20)}.{some_digits(chance, 6)}",
        )
    )


def _recipe(chance: random.Random) -> str:
    some = [chance.randint(1, 900) for _ in range(8)]
    return chance.choice(
        (
            "{} g flour, {} g butter, {} eggs, {} ml milk, {} of sugar, {} minutes at {} degrees, serves {}",
            "{} g Mehl, {} g Butter, {} Eier, {} ml Milch, {} EL Zucker, {} Minuten bei {} Grad, für {} Leute",
            "{} g de farine, {} g de beurre, {} œufs, {} ml de lait, {} sucres, {} minutes à {} degrés pour {}",
            "{} g de harina, {} g de manteca, {} huevos, {} ml de leche, {} de azúcar, {} minutos a {} grados, para {}",
        )
    ).format(*some)


def _prose(chance: random.Random) -> str:
    say, some = chance.choice(
        (
            (wording.english, "{} of us saw {} birds over {} houses, and {} more came at {}, for one or two hours"),
            (wording.spanish, "vimos {} pájaros y {} gatos, luego {} más sobre las {}, uno o dos para cada {}"),
            (
                wording.french,
                "nous avons vu {} oiseaux et {} chats, puis {} de plus vers {} heures, un ou deux pour {}",
            ),
            (wording.german, "wir sahen {} Vögel und {} Katzen, dann noch {} gegen {} Uhr, ein oder zwei für {}"),
        )
    )
    return some.format(*(say(chance.randint(0, 3000)) for _ in range(5)))


def _homophone_prose(chance: random.Random) -> str:
    return chance.choice(
        (
            "I ate too many, so I went to the tree for one more, for free, and won two for the price of one",
            "to be or not to be, one for all and all for one, two to go, too bad for the four of us",
            "is it free for two to four people, or for six to eight, and is ten too many for one table of nine",
            "won ton soup for two, to go, for eight o'clock; oh, and one for free, too",
            "des deux, cet été, un de plus : c'est de loin le vingt et un, cent pour cent, et sans un sou de trop",
            "ein oder zwei, vier für acht, acht auf eins, und eins, zwei, drei im Sauseschritt",
            "uno para todos y todos para uno, dos o tres de ocho, y a las siete en punto los otros dos",
        )
    )


def _date(chance: random.Random) -> str:
    day, year = chance.randint(1, 31), chance.randint(1950, 2040)
    return chance.choice(
        (
            f"born the {wording.english(day)} of May nineteen {wording.english(year % 100, '-')}, so thirty-two or so",
            f"el {wording.spanish(day)} de mayo de {wording.spanish(year)}, a las {wording.spanish(day % 12 + 1)}",
            f"le {wording.french(day)} mai {wording.french(year)} à {wording.french(chance.randint(1, 23))} heures",
            f"am {day}. Mai {wording.german(year)} um {wording.german(chance.randint(1, 23))} Uhr",
            f"from {day:02d}.05.{year} to {day:02d}.11.{year + 1}, not {day:02d}.12.",
            f"{year}/{year + 1}, {year + 2}/{year + 3} and {year + 4}/{year + 5}",
        )
    )


def _sixteen(chance: random.Random) -> str:
    """Identifiers of sixteen digits. Some pass for card numbers by chance; nothing tells those apart."""
    number = some_digits(chance, 16)
    shown = chance.choice((number, "-".join(number[at : at + 4] for at in range(0, 16, 4))))
    return f"loyalty number {shown}, member since 2019"


def _table(chance: random.Random) -> str:
    return chance.choice(
        (
            "draw of the week: " + " ".join(f"{chance.randint(1, 49):02d}" for _ in range(7)),
            "scores " + ", ".join(f"{chance.randint(0, 120)}-{chance.randint(0, 120)}" for _ in range(5)),
            "row " + ";".join(str(chance.randint(0, 9999)) for _ in range(6)),
            "bus at " + ", ".join(f"{chance.randint(5, 23)}:{chance.randint(0, 59):02d}" for _ in range(6)),
            "k2, p2, k4, yo, k2tog, p1, k3, repeat rows 3 to 6 until 42 rows, then cast off 8, 6, 4, 4, 2",
            f"ping 10.0.{chance.randint(0, 255)}.7 from 192.168.16.{chance.randint(0, 255)}: 64 bytes",
            f"IMEI 35{some_digits(chance, 6)} {some_digits(chance, 6)} {some_digits(chance, 1)}",
            "sizes 36 38 40 42 44 in stock, 46 48 on request",
        )
    )


def _counting(chance: random.Random) -> str:
    words = chance.choice((wording.ENGLISH, wording.SPANISH, wording.FRENCH, wording.GERMAN))
    first = chance.randint(0, 3)
    return f"he counted: {', '.join(words[first : first + chance.randint(6, 11)])}... and then he stopped"


def _chat(chance: random.Random) -> str:
    return chance.choice((
        "Do you have the tall one in oak?", "¿Cuándo llega mi pedido?", "Je voudrais changer l'adresse svp",
        "Meine Lampe flackert seit gestern, was kann ich tun?", "thanks, that was quick!",
        "I prefer calls after five and never on Sundays, and please no more than two a week.",
    ))  # fmt: skip


def _conversation(chance: random.Random) -> tuple[str, ...]:
    """What a caller is asked in turn: several numbers of several kinds, none of them a card."""
    asked = [
        f"my order is {some_digits(chance, 8)}",
        f"my zip code is {some_digits(chance, 5)}",
        f"{some_digits(chance, 3)} {some_digits(chance, 3)} {some_digits(chance, 4)}, that is my mobile",
        f"I was born on the {chance.randint(1, 28)}th of July {chance.randint(1950, 2005)}",
        f"{chance.randint(2, 12)} of them, please",
        f"the total said {chance.randint(10, 900)}.{some_digits(chance, 2)}",
        f"house number {chance.randint(1, 400)}",
        f"the code you texted me says {some_digits(chance, 6)}",
        "yes that is right",
    ]
    return tuple(chance.sample(asked, chance.randint(3, 6)))


def _spoken_conversation(chance: random.Random) -> tuple[str, ...]:
    say = wording.english

    def spelled(count: int) -> str:
        return " ".join(say(int(digit)) for digit in some_digits(chance, count))

    asked = [
        f"the order is {spelled(6)}",
        f"zip {spelled(5)}",
        f"you can reach me on {spelled(3)}, {spelled(3)}, {spelled(4)}",
        f"{say(chance.randint(2, 60))} please, for {say(chance.randint(2, 9))} people",
        f"at about {say(chance.randint(1, 12))} thirty",
        "no thanks, that would be too much for me",
    ]
    return tuple(chance.sample(asked, chance.randint(3, 6)))


TEXTS: Final[dict[str, tuple[Text, str]]] = {
    "order numbers": (_order, "english"),
    "telephone numbers": (_phone, "several"),
    "tracking numbers": (_tracking, "english"),
    "IBANs": (_iban, "several"),
    "timestamps": (_timestamp, "none"),
    "barcodes": (_barcode, "english"),
    "identifiers and hashes": (_identifier, "none"),
    "prices": (_prices, "english"),
    "addresses": (_address, "several"),
    "recipes": (_recipe, "several"),
    "prose with number words": (_prose, "several"),
    "prose with sound-alikes": (_homophone_prose, "several"),
    "dates": (_date, "several"),
    "sixteen-digit identifiers": (_sixteen, "english"),
    "tables and lists": (_table, "english"),
    "counting aloud": (_counting, "several"),
    "chat": (_chat, "several"),
}


def _one(form: str, write: Text, language: str) -> Maker:
    return lambda chance: Sample((write(chance),), False, form, language)


NEGATIVES: Final[tuple[Maker, ...]] = (
    *(_one(form, write, language) for form, (write, language) in TEXTS.items()),
    lambda chance: Sample(_conversation(chance), False, "conversations with numbers", "english"),
    lambda chance: Sample(_spoken_conversation(chance), False, "spoken conversations", "english"),
)
