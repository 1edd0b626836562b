"""An answer without the card: what is removed in whatever writing, what stays, and what is withheld for doubt."""

import base64
import json
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from vault.cleartext.forwarding.redaction import MARK, Sent, Unshown, redact
from vault.cleartext.forwarding.views import CHARACTERS_MAX, TooManyViews, Views
from vault.cleartext.masking import showable
from vault.contract import Withheld

VISA, AMEX, UNION, DEBIT = "4242424242424242", "378282246310005", "6205500000000000004", "4000056655665556"
CARDS = [VISA, AMEX, UNION, DEBIT]
JSON = "application/json"
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def grouped(number: str, between: str) -> str:
    sizes = [4, 6, 5] if len(number) == 15 else [4] * 5
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return between.join(part for part in parts if part)


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda n: n,
    "spaced": lambda n: grouped(n, " "),
    "dashed": lambda n: grouped(n, "-"),
    "dotted": lambda n: grouped(n, "."),
    "each apart": " ".join,
    "stars between": "*".join,
    "words between": lambda n: grouped(n, " then "),
    "full width": lambda n: n.translate({48 + d: 0xFF10 + d for d in range(10)}),
    "Arabic digits": lambda n: n.translate({48 + d: 0x0660 + d for d in range(10)}),
    "zero width between": "\u200b".join,
    "base64": lambda n: packed(n.encode()),
    "base64, one later": lambda n: packed(b"a" + n.encode()),
    "base64, two later": lambda n: packed(b"ab" + n.encode() + b"c"),
    "base64 within base64": lambda n: packed(packed(n.encode()).encode()),
    "base64url of JSON": lambda n: base64.urlsafe_b64encode(json.dumps({"n>?": n}).encode()).decode().rstrip("="),
    "base64 glued to letters": lambda n: "xx" + packed(n.encode()) + "yyy",
    "base64 of grouped": lambda n: packed(grouped(n, "-").encode()),
    "base32": lambda n: base64.b32encode(n.encode()).decode(),
    "hex": lambda n: n.encode().hex(),
    "hex, upper, with colons": lambda n: n.encode().hex(":").upper(),
    "hex with 0x": lambda n: " ".join(f"0x{ord(d):02x}" for d in n),
    "hex of base64": lambda n: packed(n.encode()).encode().hex(),
    "hex one half-byte later": lambda n: "a" + n.encode().hex(),
    "URL": lambda n: "".join(f"%{ord(d):02X}" for d in n),
    "URL twice": lambda n: quote("".join(f"%{ord(d):02X}" for d in n)),
    "URL, form spaces": lambda n: grouped(n, "+"),
    "HTML, decimal": lambda n: "".join(f"&#{ord(d)};" for d in n),
    "HTML, hexadecimal": lambda n: "".join(f"&#x{ord(d):x};" for d in n),
    "JSON escapes": lambda n: "".join(f"\\u00{ord(d):02x}" for d in n),
    "JSON within JSON": lambda n: json.dumps({"card": json.dumps({"number": n})}),
    "XML": lambda n: f"<card><number>{n}</number></card>",
    "reversed": lambda n: n[::-1],
    "reversed and dashed": lambda n: grouped(n, "-")[::-1],
    "reversed in base64": lambda n: packed(n[::-1].encode()),
    "UTF-16 in base64": lambda n: packed(n.encode("utf-16-be")),
    "UTF-16 in hex": lambda n: n.encode("utf-16-le").hex(),
    "codes": lambda n: ", ".join(str(ord(d)) for d in n),
    "codes without gaps": lambda n: "".join(str(ord(d)) for d in n),
    "bits": lambda n: " ".join(f"{ord(d):08b}" for d in n),
    "quoted-printable": lambda n: "".join(f"={ord(d):02X}" for d in n),
    "in words": lambda n: " ".join(WORDS[int(d)] for d in n),
    "glued to letters": lambda n: f"pan{n}x",
    "longer row": lambda n: f"98{n}11",
    "first nine": lambda n: n[:9],
    "last nine": lambda n: n[-9:],
    "all but one": lambda n: n[:-1],
    "Luhn digit changed": lambda n: n[:-1] + str((int(n[-1]) + 1) % 10),
}  # fmt: skip


def shown(value: Any, sent: Sent) -> Any:
    found = redact(json.dumps(value).encode(), JSON, {}, sent)
    assert found.body is not None
    return json.loads(found.body)


@pytest.mark.control("UC-3.4")
@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_a_number_in_any_usual_writing_is_removed(encoding: Callable[[str], str]):
    for number in CARDS:
        said = encoding(number)
        value = {"id": "gua_7", "note": f"for {said} indeed", "bare": said, "in": [{"deep": said}], "ok": True}

        left = shown(value, Sent(number))

        assert left == {"id": "gua_7", "note": MARK, "bare": MARK, "in": [{"deep": MARK}], "ok": True}


@pytest.mark.control("UC-3.4")
@pytest.mark.parametrize("number", CARDS)
def test_a_number_as_a_number_is_removed(number: str):
    value = {"whole": int(number[:18]), "exponent": float(number[:15]), "text": number, "amount": 7998}

    left = shown(value, Sent(number))

    assert left == {"whole": MARK, "exponent": MARK, "text": MARK, "amount": 7998}


@pytest.mark.control("UC-3.4")
def test_what_may_be_shown_of_a_card_and_ordinary_values_stay():
    for number in CARDS[1:]:
        value = {
            "bin": number[:6],
            "iin": int(number[: showable(len(number)).first]),
            "last4": number[-4:],
            "masked": f"{number[:6]}******{number[-4:]}",
            "stars": f"**** **** **** {number[-4:]}",
            "id": "gua_1Nx8sK2eZvKYlo2C",
            "uuid": "6f1c2a9e-58b3-4c5b-9a55-0e6f1d2c3b4a",
            "at": "2026-11-21T19:56:20.123Z",
            "epoch": 1795291380,
            "millis": 1795291380123,
            "amount": 7998,
            "phone": "+1 555 010 9988",
            "rate": 0.0825,
            "empty": "",
            "none": None,
            "yes": True,
            "jwt": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ",
            "text": "Held until Friday, 3 nights, room 12b.",
        }

        assert shown(value, Sent(number, code="739", holder="Ada Byron")) == value


def test_first_and_last_digits_stay_also_of_a_card_that_repeats_itself():
    value = {"bin": "424242", "last4": "4242", "masked": "424242******4242"}

    assert shown(value | {"masked": 1}, Sent(VISA)) == value | {"masked": 1}
    assert shown({"masked": value["masked"]}, Sent(VISA)) == {"masked": value["masked"]}


@pytest.mark.control("UC-3.4")
@pytest.mark.parametrize("number", [AMEX, "36227206271667", "4222222222222"])
def test_of_a_shorter_number_less_is_left(number: str):
    may = showable(len(number))
    value: dict[str, Any] = {
        "bin": number[: max(may.first + 1, 5)],
        "iin": int(number[:8]),
        "last4": number[-4:],
        "five": number[-5:],
    }
    value |= {"both": f"{number[:8]}{'*' * (len(number) - 12)}{number[-4:]}"}

    assert shown(value, Sent(number)) == {**dict.fromkeys(value, MARK), "last4": number[-4:]}


@pytest.mark.control("UC-3.4")
def test_another_card_number_is_removed_as_well():
    left = shown({"other": "5555 5555 5555 4444", "network_token": DEBIT, "ok": 1}, Sent(VISA))

    assert left == {"other": MARK, "network_token": MARK, "ok": 1}


@pytest.mark.control("UC-3.4")
def test_a_piece_from_the_middle_or_the_end_is_removed():
    value = {"middle": DEBIT[6:12], "end": DEBIT[-8:], "five": f"ends in {DEBIT[-5:]}", "four": DEBIT[-4:]}

    assert shown(value, Sent(DEBIT)) == {"middle": MARK, "end": MARK, "five": MARK, "four": DEBIT[-4:]}


@pytest.mark.control("UC-3.3.1")
@pytest.mark.parametrize(
    "said",
    ["739", "code 739", "937", packed(b"739"), "373339", "7 3 9", "&#55;&#51;&#57;", "%37%33%39", "\uff17\uff13\uff19"],
)
def test_the_code_is_removed(said: str):
    left = shown({"code": said, "zip": "73912", "at": "17:39:20"}, Sent(VISA, code="739"))

    assert left == {"code": MARK, "zip": "73912", "at": "17:39:20"}
    assert shown({"n": 739}, Sent(VISA, code="739")) == {"n": MARK}


def test_the_holder_and_the_credential_are_removed():
    sent = Sent(VISA, holder="Ada Byron", credential="Bearer s3cr3t")
    value = {"to": "ADA BYRON", "greeting": packed(b"Dear Ada Byron!"), "sent": "authorization: Bearer s3cr3t"}

    assert set(shown(value, sent).values()) == {MARK}


SPLIT: dict[str, Callable[[str], Any]] = {
    "a name": lambda n: {n: 1},
    "a name in base64": lambda n: {packed(n.encode()): 1},
    "one digit an item": list,
    "one number an item": lambda n: [int(d) for d in n],
    "codes": lambda n: [ord(d) for d in n],
    "fours": lambda n: {"a": n[:4], "b": n[4:8], "c": n[8:12], "d": n[12:]},
    "backwards": lambda n: list(n[::-1]),
    "with places": lambda n: [{"place": place, "digit": d} for place, d in enumerate(n)],
    "base64 in fours": lambda n: [packed(n.encode())[at : at + 4] for at in range(0, 28, 4)],
    "names and values": lambda n: {n[:4]: n[4:8], "x": {n[8:12]: n[12:]}},
}  # fmt: skip


@pytest.mark.control("UC-3.4")
@pytest.mark.parametrize("split", SPLIT.values(), ids=list(SPLIT))
def test_a_number_told_in_pieces_is_withheld(split: Callable[[str], Any]):
    for number in CARDS:
        with pytest.raises(Unshown) as unshown:
            shown({"answer": split(number)}, Sent(number))

        assert unshown.value.reason is Withheld.UNSURE
        assert number not in str(unshown.value)


def test_pieces_are_found_across_headers_and_the_body_too():
    with pytest.raises(Unshown):
        redact(
            b'{"rest":"' + VISA[8:12].encode() + b'","end":"4242"}',
            JSON,
            {"x-a": VISA[:4], "x-b": VISA[4:8]},
            Sent(VISA),
        )


def test_a_form_is_searched_value_by_value():
    found = redact(f"a=1&b={VISA}&c=%34%32%34%32".encode(), "application/x-www-form-urlencoded", {}, Sent(VISA))

    assert (found.body, found.redactions) == ("a=1&b=%5Bredacted%5D&c=4242", 1)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}{}", b'{"a":1,"a":2}', b"NaN", b"1e999", b'"\\ud800"', b"\xef\xbb\xbf{}", b"9" * 40]
)
def test_what_has_more_than_one_meaning_or_none_is_not_read(body: bytes):
    with pytest.raises(Unshown) as unshown:
        redact(body, JSON, {}, Sent(VISA))

    assert unshown.value.reason is Withheld.UNREADABLE


@pytest.mark.parametrize(
    "said", ["text/html", "application/xml", "application/jsonp", "", "application/json; charset=x"]
)
def test_other_kinds_of_answers_are_not_read(said: str):
    with pytest.raises(Unshown) as unshown:
        redact(b"{}", said, {}, Sent(VISA))

    assert unshown.value.reason is Withheld.CONTENT_TYPE


@pytest.mark.parametrize(
    "said", ["application/json;charset=UTF-8", "application/problem+json", 'APPLICATION/JSON; charset="utf-8"']
)
def test_json_has_several_names(said: str):
    assert redact(b'{"a": 1.50}', said, {}, Sent(VISA)).body == '{"a":1.5}'


def test_an_answer_that_says_too_much_in_too_many_ways_is_withheld():
    """Escapes of escapes and base64 at every offset: the search ends by its own bound."""
    said = [f"{place}:" + "%25" * 900 + packed(secrets.token_bytes(900)) for place in range(16)]
    body = json.dumps([packed(text.encode()) for text in said]).encode()
    views = Views()
    times = CHARACTERS_MAX // len(body) + 1

    with pytest.raises(TooManyViews):
        deque((view for _ in range(times) for view in views.of(body.decode())), maxlen=0)
