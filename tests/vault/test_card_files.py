"""The sealed file of cards by itself: what a thief on the way can do with it, and what a stranger may put in."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis import strict_json
from infra.chassis.secret import Secret
from tests.support.cases import cases
from tests.vault import format_decoder as decoder
from tests.vault.batches import VISA, card, sealed, written
from vault.cleartext.batch.lines import CardLine, LineRefused, read_line
from vault.cleartext.batch.sealed_file import (
    BEGINS,
    CHUNK_BYTES_MAX,
    LINE_BYTES_MAX,
    Recipient,
    SealedFileRefused,
    lines_of,
    open_key,
    read_head,
    recipient_of,
)
from vault.cleartext.batch.sending import NotSealed, seal_file
from vault.cleartext.hpke import PrivateKey, SealSuite, key_pair
from vault.envelope import Context, open_sealed

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
FOLDER = Path(__file__).parent / "vectors"
VECTORS = json.loads((FOLDER / "cards.json").read_text(encoding="utf-8"))
HPKE_VECTORS = json.loads((FOLDER / "hpke.json").read_text(encoding="utf-8"))
LINES_OF_THREE_CHUNKS = written(*[card(reference=f"cus {place}") for place in range(1_000)])


def key_of(suite: SealSuite = SealSuite.X25519, seed: bytes = bytes(range(32))) -> tuple[Recipient, PrivateKey]:
    private, public = key_pair(suite, seed)
    until = NOW + timedelta(days=7)
    made = Recipient(tenant_id="tnt_next", key_id="imk_vector", suite=suite, public_key=public, good_until=until)
    return made, private


def opened(file: BinaryIO, private: PrivateKey) -> list[bytes]:
    head = read_head(file)
    return list(lines_of(file, head, open_key(head, private)))


def opened_bytes(folder: Path, content: bytes, private: PrivateKey) -> list[bytes]:
    path = folder / "changed"
    path.write_bytes(content)
    with path.open("rb") as file:
        return opened(file, private)


def parts_of(content: bytes, suite: SealSuite = SealSuite.X25519) -> tuple[bytes, list[bytes]]:
    """The head with its sealed key, and the chunks, cut by FORMAT.md."""
    length = 20 + int.from_bytes(content[18:20], "big") + {SealSuite.X25519: 32, SealSuite.X_WING: 1120}[suite] + 48
    head, rest, chunks = content[:length], content[length:], []
    while rest:
        end = 5 + int.from_bytes(rest[1:5], "big")
        chunks.append(rest[:end])
        rest = rest[end:]
    return head, chunks


@pytest.mark.parametrize("suite", list(SealSuite))
def test_what_was_sealed_is_opened_line_by_line_in_chunks(tmp_path: Path, suite: SealSuite):
    recipient, private = key_of(suite)

    content = sealed(tmp_path / "cards", recipient, LINES_OF_THREE_CHUNKS).read_bytes()

    assert opened_bytes(tmp_path, content, private) == LINES_OF_THREE_CHUNKS
    assert [chunk[:1] for chunk in parts_of(content, suite)[1]] == [b"\x00", b"\x00", b"\x01"]
    assert VISA.encode() not in content


def test_a_file_of_no_lines_is_a_whole_file(tmp_path: Path):
    recipient, private = key_of()

    assert opened_bytes(tmp_path, sealed(tmp_path / "none", recipient, []).read_bytes(), private) == []


def rearranged(chunks: list[bytes], others: list[bytes]) -> dict[str, list[bytes]]:
    first, second, last = chunks
    return {
        "swapped": [second, first, last],
        "repeated": [first, first, second, last],
        "left out": [first, last],
        "cut off": [first, second],
        "cut off, and the last called last": [first, b"\x01" + second[1:]],
        "the last called another": [first, second, b"\x00" + last[1:]],
        "of another file": [others[0], second, last],
        "put behind": [first, second, last, last],
        "nothing": [],
    }


@pytest.mark.control("UC-T.4")
@pytest.mark.parametrize("how", list(rearranged([b"", b"", b""], [b""])))
def test_chunks_stand_where_they_were_sealed_or_nothing_opens(tmp_path: Path, how: str):
    recipient, private = key_of()
    head, chunks = parts_of(sealed(tmp_path / "one", recipient, LINES_OF_THREE_CHUNKS).read_bytes())
    _, others = parts_of(sealed(tmp_path / "two", recipient, LINES_OF_THREE_CHUNKS).read_bytes())

    with pytest.raises(SealedFileRefused):
        opened_bytes(tmp_path, head + b"".join(rearranged(chunks, others)[how]), private)
    assert opened_bytes(tmp_path, head + b"".join(chunks), private) == LINES_OF_THREE_CHUNKS


@pytest.mark.control("UC-T.4")
def test_the_head_names_the_tenant_the_key_and_the_file_and_cannot_name_others(tmp_path: Path):
    recipient, private = key_of()
    content = sealed(tmp_path / "one", recipient, written(card())).read_bytes()

    for name, other in ((b"tnt_next", b"tnt_text"), (b"imk_vector", b"imk_victor"), (b"bat_", b"but_")):
        assert name in content
        with pytest.raises(SealedFileRefused, match="somebody else"):
            opened_bytes(tmp_path, content.replace(name, other), private)


@pytest.mark.control("UC-T.4")
@cases(60)
@given(st.data())
def test_no_bit_of_a_file_can_be_changed(data: st.DataObject):
    """Every bit is bound: whichever is drawn, the file is refused."""
    content = bytearray(bytes.fromhex(VECTORS["file"]))
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    content[place] ^= 1 << bit

    assert refused_bytes(bytes(content), key_pair(SealSuite.X25519, bytes.fromhex(VECTORS["seed"]))[0])


@cases(100)
@given(st.binary(max_size=300))
def test_whatever_is_no_file_of_cards_is_refused(content: bytes):
    for tried in (content, BEGINS + content, BEGINS + b"\x02" + content):
        assert refused_bytes(tried, key_of()[1])


@cases(100)
@given(st.binary(max_size=300))
def test_whatever_is_no_key_is_refused(content: bytes):
    with pytest.raises(SealedFileRefused):
        recipient_of(content)


TEXTS = st.text(max_size=30) | st.sampled_from([VISA, "cus_1", "sub_ada", "brd_a"])
VALUES = TEXTS | st.integers(-5, 3000) | st.none() | st.booleans() | st.dictionaries(TEXTS, TEXTS, max_size=2)
NAMES = st.sampled_from([*card(), "brand_id", "terms", "cvc", "other"])


@pytest.mark.control("UC-T.4")
@cases(200)
@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_any_line_is_a_card_or_refused_with_reasons_and_never_repeats_a_number(members: dict[str, Any]):
    line = json.dumps({**card(), **members}).encode()
    found = read(line)

    if isinstance(found, LineRefused):
        assert found.reasons
        assert VISA not in f"{found}{found.reference}"
        assert found.__cause__ is None
    else:
        assert (found.details.number.last4, VISA in found.reference) == (VISA[-4:], False)
        assert strict_json.decode(line).keys() <= {*card(), "brand_id", "terms"}


def read(line: bytes) -> CardLine | LineRefused:
    try:
        return read_line(line, NOW)
    except LineRefused as refused:
        return refused


@cases(200)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_refused(line: bytes):
    with pytest.raises(LineRefused):
        read_line(line, NOW)


def test_a_line_longer_than_one_may_be_is_refused(tmp_path: Path):
    recipient, _ = key_of()
    long = b"x" * (LINE_BYTES_MAX + 1)
    path = tmp_path / "plain"
    path.write_bytes(b"\n".join([*written(card()), long]))

    with pytest.raises(ValueError, match="not one line"):
        sealed(tmp_path / "one", recipient, [long])
    with pytest.raises(LineRefused, match="line_too_long"):
        read_line(long, NOW)
    with pytest.raises(NotSealed, match="line 2: line_too_long"):
        seal_file(path, recipient, tmp_path / "out", NOW)


def test_a_line_that_may_not_travel_makes_no_file(tmp_path: Path):
    recipient, _ = key_of()
    path, out = tmp_path / "plain", tmp_path / "out"
    for line, reason in ((card(cvv2="123"), "code_given"), (card(more=1), "line_unreadable")):
        path.write_bytes(b"\n".join(written(card(), line)))
        with pytest.raises(NotSealed, match=f"^line 2: {reason}$"):
            seal_file(path, recipient, out, NOW)
    with pytest.raises(NotSealed, match="the key has ended"):
        seal_file(path, recipient, out, recipient.good_until)

    assert sorted(one.name for one in tmp_path.iterdir()) == ["plain"]


def test_a_sealed_file_is_its_owners_and_a_chunk_is_no_larger_than_it_may_be(tmp_path: Path):
    recipient, private = key_of()
    path, out = tmp_path / "plain", tmp_path / "out"
    path.write_bytes(b"\n".join(LINES_OF_THREE_CHUNKS))

    done = seal_file(path, recipient, out, NOW)

    assert (done.lines, out.stat().st_mode & 0o777) == (1_000, 0o600)
    assert all(len(chunk) <= 5 + 72 + CHUNK_BYTES_MAX for chunk in parts_of(out.read_bytes())[1])
    assert opened_bytes(tmp_path, out.read_bytes(), private) == LINES_OF_THREE_CHUNKS


def test_the_files_of_the_vectors_open_by_the_page_and_by_the_vault(tmp_path: Path):
    """Made by the vault once; the decoder is written from FORMAT.md alone."""
    seed, content = bytes.fromhex(VECTORS["seed"]), bytes.fromhex(VECTORS["file"])
    private, public = key_pair(SealSuite.X25519, seed)

    by_vault = opened_bytes(tmp_path, content, private)
    by_page = decoder.card_file(seed, content)

    assert by_vault == by_page == [line.encode() for line in VECTORS["lines"]]
    assert public.hex() == VECTORS["public_key"]
    assert json.loads(content[20 : 20 + int.from_bytes(content[18:20], "big")]) == VECTORS["notice"]


@pytest.mark.parametrize("vector", HPKE_VECTORS, ids=[vector["suite"] for vector in HPKE_VECTORS])
def test_a_seed_gives_the_public_key_that_other_implementations_give_it(vector: dict[str, str]):
    seed = bytes.fromhex(vector["private_key"])

    assert key_pair(SealSuite(vector["suite"]), seed)[1].hex() == vector["public_key"]


def test_the_import_key_of_the_vectors_opens_by_the_page_and_by_the_vault():
    vector = VECTORS["import_key"]
    key, held = bytes.fromhex(vector["tenant_key"]), bytes.fromhex(vector["sealed"])

    by_page = decoder.envelope(key, held, vector["place"])

    assert by_page.hex() == open_sealed(Secret(key), held, Context(**vector["place"])).hex() == VECTORS["seed"]


def refused_bytes(content: bytes, private: PrivateKey) -> str:
    """What is said of them; fails if they open."""
    with tempfile.TemporaryFile() as file, pytest.raises(SealedFileRefused) as refused:
        opened(_wound_back(file, content), private)
    return str(refused.value)


def _wound_back(file: BinaryIO, content: bytes) -> BinaryIO:
    file.write(content)
    file.seek(0)
    return file
