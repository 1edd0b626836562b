"""The sandbox's transit engine against what a real server answered: 29 pairs, recorded from Vault 1.8.0-dev.

The recording is of a server that ignores associated data; bearers in it are redacted, and what is random (ciphertexts,
keys, ids, times) is compared by its form.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.sandbox.transit.app import Faults, Transit
from infra.sandbox.transit.engine import Refused

GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "transit" / "golden.json").read_text())
CIPHERTEXT = re.compile(r"(vault:v\d+:)([A-Za-z0-9+/=]+)")
RANDOM = {"request_id", "accessor", "id", "client_token", "plaintext", "creation_time", "server_time_utc"}
SERVERS_OWN = {"version", "cluster_name", "cluster_id"}


class Player:
    """Plays the recording to an engine, telling it its own ciphertexts where the recording has the real server's."""

    def __init__(self, server: Transit) -> None:
        self.server = server
        self.bearer = server.root_token
        self.ours: dict[str, str] = {}

    def play(self, pair: dict[str, Any]) -> tuple[int, Any]:
        asked = self._translated(pair["req"] or {})
        try:
            status, answer = self.server.answer(
                pair["method"].upper(), pair["path"].removeprefix("/v1/"), self.bearer, asked
            )
        except Refused as refusal:
            status, answer = refusal.status, {"errors": refusal.errors}
        self._learn(pair["resp"], answer)
        if answer is not None and answer.get("auth"):
            self.bearer = answer["auth"]["client_token"]
        return status, answer

    def _translated(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {name: self.ours.get(value, value) if isinstance(value, str) else value for name, value in asked.items()}

    def _learn(self, theirs: Any, ours: Any) -> None:
        for one, other in zip(ciphertexts(theirs), ciphertexts(ours), strict=True):
            self.ours[one] = other


def ciphertexts(answer: Any) -> list[str]:
    data = (answer or {}).get("data") or {}
    return [one["ciphertext"] for one in data.get("batch_results", [data]) if "ciphertext" in one]


def form(value: Any, name: str = "") -> Any:
    """What does not change from server to server and from run to run."""
    if isinstance(value, dict):
        return {key: form(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [form(one, name) for one in value]
    if name in RANDOM | SERVERS_OWN:
        return (name, type(value).__name__, len(value) if name == "plaintext" else None)
    if isinstance(value, str) and (found := CIPHERTEXT.fullmatch(value)):
        return (found[1], len(found[2]))
    return value


def test_every_recorded_request_is_answered_as_the_real_server_answered_it():
    server = Transit("root")
    server.misbehave(Faults(ignores_associated_data=True))
    player = Player(server)

    assert len(GOLDEN) == 29
    for number, pair in enumerate(GOLDEN):
        status, answer = player.play(pair)
        assert status == pair["status"], f"pair {number}: {pair['method']} {pair['path']}: {answer}"
        assert form(answer) == form(pair["resp"]), f"pair {number}: {pair['method']} {pair['path']}"


def test_with_associated_data_counting_one_recorded_pair_is_refused_and_no_other():
    player = Player(Transit("root"))

    others = [number for number, pair in enumerate(GOLDEN) if player.play(pair)[0] != pair["status"]]

    assert [GOLDEN[number]["req"].get("associated_data") for number in others] == ["Qg=="]


def test_what_was_sealed_before_a_rotation_opens_again_as_it_was():
    server = Transit("root")
    for path in ("sys/mounts/transit", "transit/keys/k"):
        server.answer("POST", path, "root", {})
    sealed = server.engine.seal("k", {"plaintext": "eHg="})["ciphertext"]
    server.answer("POST", "transit/keys/k/rotate", "root", {})

    _, opened = server.answer("POST", "transit/decrypt/k", "root", {"ciphertext": sealed})

    assert opened is not None
    assert opened["data"] == {"plaintext": "eHg="}


@pytest.mark.parametrize(
    ("ciphertext", "said"),
    [
        ("", "invalid ciphertext: no prefix"),
        ("vault:v1", "invalid ciphertext: wrong number of fields"),
        ("vault:v2:AAAA", "invalid ciphertext: version is too new"),
        ("vault:v1:?", "failed to base64-decode ciphertext"),
    ],
)
def test_a_text_that_is_no_ciphertext_is_refused(ciphertext: str, said: str):
    server = Transit("root")
    for path in ("sys/mounts/transit", "transit/keys/k"):
        server.answer("POST", path, "root", {})

    with pytest.raises(Refused) as refused:
        server.answer("POST", "transit/decrypt/k", "root", {"ciphertext": ciphertext})

    assert (refused.value.status, refused.value.errors) == (400, [said])
