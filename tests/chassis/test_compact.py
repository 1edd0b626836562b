"""Signatures of compact JWSs, beside a library that checks them as well."""

import json

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.chassis.compact import is_signed_by
from infra.chassis.jwk import base64url

OURS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RFC_8037_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_8037_JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def library_takes(key: Ed25519PublicKey, compact: str) -> bool:
    try:
        jwt.decode(compact, key, algorithms=["EdDSA"])
    except jwt.PyJWTError:
        return False
    return True


def variants(compact: str) -> list[str]:
    """Each character of the text changed, left out, or with another beside it."""
    other = {place: "A" if character != "A" else "B" for place, character in enumerate(compact)}
    changed = [compact[:place] + other[place] + compact[place + 1 :] for place in other]
    return [
        *changed,
        *(compact[:place] + compact[place + 1 :] for place in other),
        *(compact[:place] + "A" + compact[place:] for place in other),
        *(compact + end for end in ("=", "==", ".", "\n", " ", "é", "\x00")),
        compact.rpartition(".")[0] + ".",
        "." + compact,
        "",
    ]


def test_the_published_signature_is_taken_and_no_change_of_it():
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = Ed25519PublicKey.from_public_bytes(raw)

    assert base64url(raw) == RFC_8037_KEY
    assert is_signed_by(key, RFC_8037_JWS)
    assert [one for one in variants(RFC_8037_JWS) if is_signed_by(key, one)] == []


def test_nothing_is_taken_that_the_library_would_not_take():
    compact = jwt.encode({"iss": "us", "n": 1}, OURS, algorithm="EdDSA")
    key, stranger = OURS.public_key(), Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()

    taken = [one for one in [compact, *variants(compact)] if is_signed_by(key, one)]

    assert taken == [compact]
    assert [library_takes(key, one) for one in taken] == [True]
    assert not is_signed_by(stranger, compact)


def test_what_somebody_else_signed_or_nobody_is_not_taken():
    claims = base64url(json.dumps({"iss": "us"}).encode())
    header = base64url(json.dumps({"alg": "none"}).encode())
    shared = jwt.encode({"iss": "us"}, "a" * 32, algorithm="HS256")

    assert not [one for one in (f"{header}.{claims}.", shared) if is_signed_by(OURS.public_key(), one)]
