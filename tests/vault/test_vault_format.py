"""The format is what vault/FORMAT.md says: the vault and a decoder made from that page open the same bytes."""

import json
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from infra.chassis.clock import FixedClock
from infra.chassis.keys import KeyService, KeyUnusable, RingFile, SoftwareKeyService
from infra.chassis.keys.kms import encryption_context
from infra.chassis.keys.pkcs11 import NEVER_EXPORTED, library_of
from infra.chassis.secret import Secret
from tests.support import softhsm
from tests.support.transit import KEY_NAME, transit_engine
from tests.vault import format_decoder as decoder
from vault.envelope import Context, SealBroken, open_sealed, seal
from vault.fingerprint import Fingerprints

VECTORS = json.loads((Path(__file__).parent / "vectors" / "format.json").read_text(encoding="utf-8"))
ROOTS = {int(version): bytes.fromhex(root) for version, root in VECTORS["roots"].items()}
CLOCK = FixedClock(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
HOLDERS = {"file": 1, "token": 2, "transit": 3}


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def expected(vector: dict[str, Any], field: str) -> bytes | None:
    return None if vector[field] is None else bytes.fromhex(vector[field])


@named(VECTORS["envelopes"])
def test_an_envelope_opens_by_the_page_and_by_the_vault_or_by_neither(vector: dict[str, Any]):
    key, sealed = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    by_page = by_vault = None
    with suppress(decoder.DoesNotOpen):
        by_page = decoder.envelope(key, sealed, vector["place"])
    with suppress(SealBroken):
        by_vault = open_sealed(Secret(key), sealed, Context(**vector["place"]))

    assert (by_page, by_vault) == (expected(vector, "plain"), expected(vector, "plain"))


@named([vector for vector in VECTORS["envelopes"] if vector["plain"] is not None])
def test_the_vault_seals_exactly_the_vectors_bytes(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "token_bytes", lambda _: bytes.fromhex(vector["random"]))

    sealed = seal(
        Secret(bytes.fromhex(vector["key"])),
        vector["version"],
        bytes.fromhex(vector["plain"]),
        Context(**vector["place"]),
    )

    assert sealed.hex() == vector["sealed"]


async def opened(keys: KeyService, vector: dict[str, Any]) -> bytes | None:
    try:
        return (await keys.unwrap(bytes.fromhex(vector["wrapped"]), bytes.fromhex(vector["context"]))).reveal()
    except KeyUnusable:
        return None


def opened_by_page(vector: dict[str, Any]) -> bytes | None:
    try:
        return decoder.wrap(ROOTS, vector["holder"], bytes.fromhex(vector["wrapped"]), bytes.fromhex(vector["context"]))
    except decoder.DoesNotOpen:
        return None


def of(holder: str) -> list[dict[str, Any]]:
    return [vector for vector in VECTORS["wraps"] if vector["holder"] == HOLDERS[holder]]


async def compare(keys: KeyService, holder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every vector of the holder, and where the vector's random may be given, the very bytes of a new wrap."""
    for vector in of(holder):
        wanted = expected(vector, "key")
        assert (opened_by_page(vector), await opened(keys, vector)) == (wanted, wanted), vector["name"]
    (newest,) = [vector for vector in of(holder) if vector["random"] is not None]
    key, context = Secret(bytes.fromhex(newest["key"])), bytes.fromhex(newest["context"])
    monkeypatch.setattr(secrets, "token_bytes", lambda _: bytes.fromhex(newest["random"]))
    assert (await keys.wrap(key, context)).hex() == newest["wrapped"]


async def test_wraps_by_a_root_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_text(VECTORS["root_file"])

    assert decoder.root_file(path.read_bytes()) == ROOTS
    assert decoder.root_file(ROOTS[1]) == {1: ROOTS[1]}
    await compare(SoftwareKeyService(RingFile(path), CLOCK), "file", monkeypatch)


async def test_wraps_by_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = softhsm.new_token(tmp_path)
    library_of(token.module).start_anew()
    with library_of(token.module).token(token.label).open(rw=True, user_pin=token.pin_file.read_text()) as inside:
        for version, root in ROOTS.items():
            bring_in(inside, f"{token.key_label}.v{version}", root)
    keys = softhsm.service(token)

    await compare(keys, "token", monkeypatch)
    await keys.close()


def bring_in(inside: pkcs11.Session, label: str, root: bytes) -> None:
    """A key from outside, as no real root ever is: the vectors' roots are public."""
    kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
    inside.create_object({**kind, **NEVER_EXPORTED, Attribute.LABEL: label, Attribute.VALUE: root})


async def test_wraps_by_a_transit_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with transit_engine(tmp_path) as engine:
        engine.transit.engine.keys[KEY_NAME].versions = {version: (root, 0) for version, root in ROOTS.items()}
        keys = engine.service()
        await compare(keys, "transit", monkeypatch)
        await keys.close()


def test_what_kms_is_told_about_a_wrap():
    (vector,) = VECTORS["kms"]
    first_six, context = bytes.fromhex(vector["first_six"]), bytes.fromhex(vector["context"])

    assert decoder.kms_context(first_six, context) == vector["encryption_context"]
    assert encryption_context(first_six, context) == vector["encryption_context"]


@pytest.mark.parametrize("vector", VECTORS["fingerprints"])
def test_a_fingerprint_by_the_page_and_by_the_vault(vector: dict[str, Any]):
    content, version, digits = vector["key_file"].encode(), vector["version"], vector["digits"].encode()
    content = content or bytes.fromhex(vector["key"])
    key = decoder.root_file(content)[version]
    by_vault = Fingerprints(Secret(content)).of(vector["tenant_id"], memoryview(digits), version)

    assert decoder.fingerprint(key, version, vector["tenant_id"], digits).hex() == vector["fingerprint"]
    assert by_vault.hex() == vector["fingerprint"]


def test_there_are_as_many_vectors_as_were_made_and_each_holder_has_some():
    opening = [vector for vector in VECTORS["envelopes"] if vector["plain"] is not None]

    assert (len(VECTORS["envelopes"]), len(opening)) == (22, 6)
    assert len(VECTORS["wraps"]) == 37
    assert {vector["holder"] for vector in VECTORS["wraps"] if vector["key"] is not None} == set(HOLDERS.values())
