"""Every field that is signed, of the grant and of its sender's proof, turned in every way: each turn is refused.

The turns are generated, so a claim that is added later is turned too. What is refused here was signed again with the
genuine keys wherever a signature alone would have refused it.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.chassis.jwk import base64url, public_jwk
from tests.memory.conftest import PATHS, Bench, Subject
from tests.support.grants import TestMint

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group of Ed25519 (RFC 8032 section 5.1)."""
OTHER_TYPES = (None, True, 7, 1.5, ["x"], {"x": 1}, "")
FREE = frozenset({"jti", "txn", "dec", "act"})
"""A grant with another of these, signed by the gateway, is simply another genuine grant."""
Members = dict[str, Any]


def dumps(pairs: list[tuple[str, Any]]) -> bytes:
    """JSON of exactly these pairs; a value of bytes is JSON already."""
    texts = (value.decode() if isinstance(value, bytes) else json.dumps(value) for _, value in pairs)
    members = (f"{json.dumps(name)}:{text}" for (name, _), text in zip(pairs, texts, strict=True))
    return ("{" + ",".join(members) + "}").encode()


def other(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1_000
    if isinstance(value, dict):
        return {name: other(item) for name, item in value.items()}
    return value[:-1] + ("A" if value[-1] != "A" else "B")


def misshapen(members: Members) -> Iterator[tuple[str, bytes]]:
    """Each member removed, of each wrong type, twice (equal and different); and one too many."""
    for name, value in members.items():
        yield f"{name} removed", dumps([pair for pair in members.items() if pair[0] != name])
        for wrong in OTHER_TYPES:
            if type(wrong) is not type(value) or wrong in ("", {"x": 1}):
                yield f"{name} as {wrong!r}", dumps(list((members | {name: wrong}).items()))
        yield f"{name} twice", dumps([*members.items(), (name, value)])
        yield f"{name} twice, one other", dumps([(name, other(value)), *members.items()])
        if isinstance(value, dict):
            for inner, content in misshapen(value):
                yield f"{name}: {inner}", dumps(list((members | {name: content}).items()))
    yield "one too many", dumps([*members.items(), ("extra", "x")])


def parts(compact: str) -> tuple[Members, Members, str]:
    header, claims, signature = compact.split(".")
    return read(header), read(claims), signature


def read(segment: str) -> Members:
    members: Members = json.loads(base64.urlsafe_b64decode(segment + "=="))
    return members


def encoded(members: Members) -> str:
    return base64url(dumps(list(members.items())))


def unsigned_turns(compact: str) -> Iterator[tuple[str, str]]:
    """Each member of header and claims with another value, under the genuine signature."""
    header, claims, signature = parts(compact)
    for name, value in header.items():
        yield f"header {name} changed", f"{encoded(header | {name: other(value)})}.{encoded(claims)}.{signature}"
    for name, value in claims.items():
        yield f"{name} changed", f"{encoded(header)}.{encoded(claims | {name: other(value)})}.{signature}"


def signed_turns(compact: str, signer: TestMint) -> Iterator[tuple[str, str]]:
    """Misshapen header or claims, under a genuine signature of exactly those bytes."""
    header, claims, _ = parts(compact)
    for what, content in misshapen(header):
        yield f"header {what}", signer.sign(content, dumps(list(claims.items())))
    for what, content in misshapen(claims):
        yield what, signer.sign(dumps(list(header.items())), content)


def changed_turns(compact: str, signer: TestMint, free: frozenset[str]) -> Iterator[tuple[str, str]]:
    header, claims, _ = parts(compact)
    for name, value in claims.items():
        if name not in free:
            turned = dumps(list((claims | {name: other(value)}).items()))
            yield f"{name} changed and signed", signer.sign(dumps(list(header.items())), turned)


def respelled(compact: str) -> Iterator[tuple[str, str]]:
    """The same grant in other bytes: padding, spare bits, white space, S + L, members in another order."""
    header, claims, signature = compact.split(".")
    yield "padded", f"{header}.{claims}.{signature}=="
    yield "padded claims", f"{header}.{claims}{'=' * (-len(claims) % 4 or 4)}.{signature}"
    yield "spare bits", f"{header}.{claims}.{signature[:-1]}{spare(signature)}"
    yield "a line end", f"{header}.{claims}.{signature}\n"
    yield "standard alphabet", f"{header}.{claims}.{signature.replace('-', '+').replace('_', '/')}*"
    raw = base64.urlsafe_b64decode(signature + "==")
    scalar = int.from_bytes(raw[32:], "little") + ORDER
    yield "S + L", f"{header}.{claims}.{base64url(raw[:32] + scalar.to_bytes(32, 'little'))}"
    turned = dict(reversed(read(claims).items()))
    yield "reordered", f"{header}.{encoded(turned)}.{signature}"
    yield "four segments", f"{compact}."


def spare(signature: str) -> str:
    """Another last letter that decodes to the same bytes: 64 bytes leave four bits over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(signature[-1])
    return alphabet[at ^ 1]


async def accepted(bench: Bench, ada: Subject, turns: Iterator[tuple[str, str]], *, proofs: bool = False) -> list[str]:
    """Which of the turned grants (or turned proofs of the genuine one) were not answered with 403."""
    order, taken, tried = ada.recall(), [], 0
    for what, compact in turns:
        grant = bench.grant("recall", order) if proofs else compact
        headers = bench.mint.headers(grant, "POST", PATHS["recall"])
        if proofs:
            headers = {"Undercroft-Grant": compact.partition(" ")[0], "Undercroft-Proof": compact.partition(" ")[2]}
        answer = await bench.post("recall", order, [(name, value.encode()) for name, value in headers.items()])
        tried += 1
        if answer.status_code != 403:
            taken.append(f"{what}: {answer.status_code}")
    assert tried > 5
    return taken


@pytest.fixture
def grant(bench: Bench, ada: Subject) -> str:
    return bench.grant("recall", ada.recall())


@pytest.mark.control("UC-G.1")
async def test_every_field_of_a_grant_changed_is_refused(bench: Bench, ada: Subject, grant: str):
    assert await accepted(bench, ada, unsigned_turns(grant)) == []
    assert await accepted(bench, ada, changed_turns(grant, bench.mint, FREE)) == []


@pytest.mark.control("UC-G.1")
async def test_every_field_of_a_grant_removed_doubled_or_of_another_type_is_refused(
    bench: Bench, ada: Subject, grant: str
):
    assert await accepted(bench, ada, signed_turns(grant, bench.mint)) == []


@pytest.mark.control("UC-G.2")
async def test_every_field_of_a_proof_turned_in_any_way_is_refused(bench: Bench, ada: Subject, grant: str):
    proof = bench.mint.proof(grant, "POST", PATHS["recall"])
    signer = TestMint(bench.clock, "memory", key=bench.mint.sender)
    turns = [*unsigned_turns(proof), *signed_turns(proof, signer), *changed_turns(proof, signer, frozenset({"jti"}))]

    named = ((what, f"{grant} {turned}") for what, turned in turns)

    assert await accepted(bench, ada, named, proofs=True) == []
    assert (await bench.send("recall", ada.recall(), grant)).status_code == 200, "none of them used the grant up"


@pytest.mark.control("UC-G.1")
async def test_a_grant_in_another_spelling_is_refused_before_and_after_it_was_used(
    bench: Bench, ada: Subject, grant: str
):
    before = await accepted(bench, ada, respelled(grant))
    used = await bench.send("recall", ada.recall(), grant)
    after = await accepted(bench, ada, respelled(grant))

    assert (before, used.status_code, after) == ([], 200, [])


@pytest.mark.control("UC-G.1")
async def test_the_same_grant_signed_again_in_another_order_is_a_replay(bench: Bench, ada: Subject, grant: str):
    """Were the minting key to sign the same id twice: what counts is issuer and id, never bytes."""
    header, claims, _ = parts(grant)
    twin = bench.mint.sign(dumps(list(header.items())), dumps(list(reversed(claims.items()))))

    first = await bench.send("recall", ada.recall(), grant)
    second = await bench.send("recall", ada.recall(), twin)

    assert (first.status_code, second.status_code, second.json()["code"]) == (200, 409, "grant_replayed")


@pytest.mark.control("UC-G.2")
async def test_a_header_given_twice_is_refused(bench: Bench, ada: Subject, grant: str):
    order, headers = ada.recall(), bench.mint.headers(grant, "POST", PATHS["recall"])

    answers = [await bench.post("recall", order, [*headers.items(), (name, value)]) for name, value in headers.items()]

    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.control("UC-G.2")
async def test_a_stolen_grant_is_of_no_use_without_the_senders_key(bench: Bench, ada: Subject, grant: str):
    order, path = ada.recall(), PATHS["recall"]
    thief = TestMint(bench.clock, "memory")
    another = bench.grant("recall", order)
    stolen_proof = bench.mint.proof(grant, "POST", path)
    attempts = {
        "no proof": {"Undercroft-Grant": grant},
        "the thief's proof": thief.headers(grant, "POST", path),
        "the thief's proof under the sender's name": {
            "Undercroft-Grant": grant,
            "Undercroft-Proof": renamed(thief.proof(grant, "POST", path), public_jwk(bench.mint.sender)),
        },
        "another grant's proof": {"Undercroft-Grant": another, "Undercroft-Proof": stolen_proof},
        "for another route": bench.mint.headers(grant, "POST", PATHS["forget"]),
        "for another method": bench.mint.headers(grant, "GET", path),
        "the grant as its own proof": {"Undercroft-Grant": grant, "Undercroft-Proof": grant},
    }

    answers = {what: (await bench.post("recall", order, headers)).status_code for what, headers in attempts.items()}

    assert answers == dict.fromkeys(attempts, 403)


def renamed(proof: str, jwk: dict[str, str]) -> str:
    header, claims, signature = parts(proof)
    return f"{encoded(header | {'jwk': jwk})}.{encoded(claims)}.{signature}"
