"""What other people's tools said of this record and made for it, recorded once; see compliance/decisions/0014.

filippo.io/torchwood v0.8.0 (with golang.org/x/mod/sumdb v0.42.0) read a running gateway's tiles, and its cosigner
signed the checkpoint it had verified. Its key is made of 32 bytes of value 7.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.record.cosignatures import cosigned_message, cosigned_time
from gateway.record.notes import COSIGNATURE, NoteRefused, checkpoint_of, read_verifier_key, split_note

TORCHWOOD_NOTE = (
    "undercroft/record/tnt_north\n70703\nhVFPIBvZVApvkWXg8Hs4BIjDj56mqJxMjIo8g+gicyc=\n\n"
    "\u2014 undercroft/record/tnt_north "
    "qGmbuE5mU81838xVVT2dtmp7fknGrWhTtX+YaMmevnwAeS3zA40RRwZPW/Sq+tvgb6YmXZnzVXCXq0t8oheoel2U3QE=\n"
    "\u2014 witness.example/go 9wY/BQAAAABrAadd7g6qrTmRcqX3ZUxSFlAnpNgpMVnF4CkcwOmKOk5fIRbf/5X2NnkjZlaClsBAKERIFCAiDTF8"
    "G5O8Ct4GNKDKCg==\n"
)
TORCHWOOD_KEY = "witness.example/go+f7063f05+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
COSIGNED_AT = 1_795_270_493


def test_torchwoods_cosignature_holds_and_is_made_as_we_read_it():
    body, (_, line) = split_note(TORCHWOOD_NOTE)
    name, key = read_verifier_key(TORCHWOOD_KEY, kind=COSIGNATURE)

    assert (checkpoint_of(body).size, line.name) == (70_703, name)
    assert cosigned_time(line.signature, body, key) == COSIGNED_AT
    private = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    assert private.sign(cosigned_message(body, COSIGNED_AT)) == line.signature[8:]
    with pytest.raises(NoteRefused):
        cosigned_time(line.signature, body.replace("70703", "70704"), key)
