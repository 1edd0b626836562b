"""Signed notes against the Go implementation's example, and what is no note."""

import base64
import string

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.notes import Checkpoint, NoteRefused, checkpoint_of, key_id, open_note, sign_note, verifier_key

# golang.org/x/mod/sumdb/note, the example of its documentation.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{GO_TEXT}\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "undercroft/record/tnt_north"
TEXT = f"{NAME}\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def go_key() -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(GO_VERIFIER.split("+", 2)[2])[1:])


def signed(text: str = TEXT, name: str = NAME, key: Ed25519PrivateKey = KEY) -> str:
    return sign_note(text, name=name, key=key.public_key(), sign=key.sign)


def opened(note: str) -> str:
    return open_note(note, name=NAME, key=KEY.public_key())


def test_the_published_note_opens_and_our_signature_of_its_text_is_the_same_bytes():
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(GO_SIGNER.split("+", 4)[4])[1:])

    assert verifier_key("PeterNeumann", go_key()) == GO_VERIFIER
    assert open_note(GO_NOTE, name="PeterNeumann", key=go_key()) == GO_TEXT
    assert signed(GO_TEXT, "PeterNeumann", private) == GO_NOTE


def test_a_checkpoint_is_three_lines_and_reads_back():
    checkpoint = Checkpoint(origin=NAME, size=20_852_163, root=bytes(range(32)))

    note = signed(checkpoint.text)

    assert note.split("\n")[:4] == [NAME, "20852163", base64.b64encode(bytes(range(32))).decode(), ""]
    assert checkpoint_of(opened(note)) == checkpoint


def test_witnesses_signatures_may_stand_beside_ours():
    witness = Ed25519PrivateKey.generate()
    line = signed(name="witness.example", key=witness).split("\n\n")[1]

    assert opened(signed() + line) == TEXT
    assert opened(TEXT + "\n" + line + signed().split("\n\n")[1]) == TEXT


def test_our_name_with_a_bad_signature_refuses_the_note_though_a_good_one_follows():
    head, line = signed().split("\n\n")
    broken = base64.b64encode(key_id(NAME, KEY.public_key()) + bytes(64)).decode()

    with pytest.raises(NoteRefused):
        opened(f"{head}\n\n\u2014 {NAME} {broken}\n{line}")


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        TEXT,
        TEXT + "\n",
        signed().removesuffix("\n"),
        signed().replace("\u2014", "-"),
        signed().replace("\n3\n", "\n4\n"),
        signed().replace("\n3\n", "\n3\r\n"),
        signed() + "\n",
        signed() + "\u2014 witness.example notbase64!\n",
        signed() + "\u2014 witness.example AAAA\n",
        signed() + "\u2014 with+plus AAAAAAAA\n",
        signed(name="someone.else"),
        signed(key=Ed25519PrivateKey.from_private_bytes(bytes(32))),
        signed() + "\u2014 witness.example AAAAAAAA\n" * 6_000,
    ],
)
def test_what_is_no_note_of_ours_is_refused(note: str):
    with pytest.raises(NoteRefused):
        opened(note)


@given(st.integers(0, len(signed()) - 1), st.sampled_from(string.printable))
@pytest.mark.control("UC-10.3")
def test_any_changed_character_is_refused(place: int, character: str):
    note = signed()
    changed = note[:place] + character + note[place + 1 :]

    if changed == note:
        assert opened(changed) == TEXT
    else:
        with pytest.raises(NoteRefused):
            opened(changed)


def test_a_signature_written_in_another_way_is_refused():
    note = signed()
    respelled = note[:-3] + chr(ord(note[-3]) + 1) + note[-2:]

    assert base64.b64decode(respelled.split()[-1]) == base64.b64decode(note.split()[-1])
    with pytest.raises(NoteRefused):
        opened(respelled)


@given(st.text())
def test_no_text_breaks_the_reader(text: str):
    with pytest.raises(NoteRefused):
        opened(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one line\n",
        f"{NAME}\n03\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        f"{NAME}\n{2**63}\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        f"{NAME}\n-3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        f"{NAME}\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jx\n",
        f"{NAME}\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        f"{NAME}\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
        "\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str):
    with pytest.raises(NoteRefused):
        checkpoint_of(text)


def test_extension_lines_are_passed_over():
    assert checkpoint_of(TEXT + "an extension\n").size == 3


@pytest.mark.parametrize(
    ("text", "name"), [("no newline", NAME), ("tab\t\n", NAME), (TEXT, "a b"), (TEXT, "a+b"), (TEXT, "")]
)
def test_what_may_not_be_a_note_is_not_signed(text: str, name: str):
    with pytest.raises(NoteRefused):
        signed(text, name)
