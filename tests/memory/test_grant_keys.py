"""Which keys' grants are taken: those in the file now, public, Ed25519, not ended."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import RSAAlgorithm

from infra.chassis.clock import Clock
from infra.chassis.jwk import JwksFile, base64url, published
from tests.memory.conftest import ISSUER, Bench, Subject
from tests.support.grants import TestMint

Jwk = dict[str, Any]


def write(path: Path, *documents: Any) -> None:
    path.write_text(json.dumps({"keys": documents}))


def jwk(key: Ed25519PrivateKey) -> Jwk:
    return published(key.public_key()).document()


async def status_of(bench: Bench, ada: Subject, key: Ed25519PrivateKey) -> int:
    mint = TestMint(bench.clock, "memory", ISSUER, key, bench.mint.sender)
    return (await bench.send("recall", ada.recall(), mint.grant("recall", ada.recall()))).status_code


@pytest.mark.control("UC-G.3")
async def test_keys_come_and_go_with_the_file_without_a_restart(bench: Bench, ada: Subject):
    first, second = bench.mint.key, Ed25519PrivateKey.generate()
    seen = []
    for keys in ([first], [first, second], [second], [first]):
        write(bench.trusted, *map(jwk, keys))
        seen.append((await status_of(bench, ada, first), await status_of(bench, ada, second)))

    assert seen == [(200, 403), (200, 200), (403, 200), (200, 403)]


@pytest.mark.control("UC-G.3")
async def test_a_retiring_key_ends_by_itself(bench: Bench, ada: Subject):
    ends = int(bench.clock.now().timestamp()) + 35
    write(bench.trusted, jwk(bench.mint.key) | {"exp": ends}, jwk(Ed25519PrivateKey.generate()))
    bench.clock.advance(timedelta(seconds=34))
    before = await status_of(bench, ada, bench.mint.key)
    bench.clock.advance(timedelta(seconds=1))

    assert (before, await status_of(bench, ada, bench.mint.key)) == (200, 403)


UNFIT: dict[str, Callable[[Ed25519PrivateKey], Jwk]] = {
    "private": lambda key: jwk(key) | {"d": base64url(key.private_bytes_raw())},
    "another algorithm": lambda key: jwk(key) | {"alg": "HS256"},
    "for encryption": lambda key: jwk(key) | {"use": "enc"},
    "a symmetric key": lambda key: {"kty": "oct", "k": jwk(key)["x"], "kid": jwk(key)["kid"], "alg": "HS256"},
    "an agreement key": lambda key: jwk(key) | {"crv": "X25519"},
    "another key's name": lambda key: jwk(key) | {"kid": jwk(Ed25519PrivateKey.generate())["kid"]},
    "a second spelling": lambda key: jwk(key) | {"x": jwk(key)["x"] + "="},
    "an end that is no time": lambda key: jwk(key) | {"exp": "tomorrow"},
    "an end beyond time": lambda key: jwk(key) | {"exp": 10**17},
    "an RSA key": lambda key: json.loads(RSAAlgorithm.to_jwk(_rsa().public_key())) | {"kid": jwk(key)["kid"]},
}


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.control("UC-G.3")
async def test_an_unfit_key_that_appears_is_refused_and_the_others_go_on(bench: Bench, ada: Subject, what: str):
    unfit = Ed25519PrivateKey.generate()
    write(bench.trusted, UNFIT[what](unfit), jwk(bench.mint.key))

    assert await status_of(bench, ada, bench.mint.key) == 200
    assert await status_of(bench, ada, unfit) == 403
    with pytest.raises(ValueError, match=r".*"):
        JwksFile(bench.trusted, bench.clock)


@pytest.mark.parametrize("content", [b"", b'{"keys": [', b'{"keys": []}', b"[]", b'{"keys": {}}', b"\xff", None])
@pytest.mark.control("UC-G.3")
async def test_a_file_that_cannot_be_read_is_forgiven_for_a_minute(bench: Bench, ada: Subject, content: bytes | None):
    good = bench.trusted.read_bytes()
    bench.trusted.unlink()
    if content is not None:
        bench.trusted.write_bytes(content)
    at_once = await status_of(bench, ada, bench.mint.key)
    bench.clock.advance(timedelta(seconds=59))
    later = await status_of(bench, ada, bench.mint.key)
    bench.clock.advance(timedelta(seconds=1))
    too_late = await status_of(bench, ada, bench.mint.key)
    bench.trusted.write_bytes(good)

    assert (at_once, later, too_late) == (200, 200, 403)
    assert await status_of(bench, ada, bench.mint.key) == 200, "and it is read again when it is whole"


def test_sixteen_keys_are_the_most(tmp_path: Path, bench: Bench):
    clock: Clock = bench.clock
    keys = [jwk(Ed25519PrivateKey.generate()) for _ in range(17)]
    write(tmp_path / "many", *keys)
    write(tmp_path / "most", *keys[:16])

    with pytest.raises(ValueError, match="between one and 16"):
        JwksFile(tmp_path / "many", clock)
    assert JwksFile(tmp_path / "most", clock).find(keys[15]["kid"]) is not None
