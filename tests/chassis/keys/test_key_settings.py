"""One setting names the key service; incomplete or careless, and nothing starts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.chassis.clock import SystemClock
from infra.chassis.keys import SoftwareKeyService
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.keys.sparing import SparingKeyService
from infra.chassis.settings import SettingsIncomplete, load
from memory import __main__ as memory
from tests.support.keys import root_file
from vault import __main__ as vault
from vault.settings import Settings as VaultSettings

PIN = "4711-is-not-shown"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.write_text(PIN)
    return path


def pkcs11(file: Path) -> KeySettings:
    return KeySettings("pkcs11", root_key_name="r", pkcs11_module=file, pkcs11_token="t", pkcs11_pin_file=file)


def transit(file: Path, url: str = "https://transit.internal") -> KeySettings:
    return KeySettings("transit", root_key_name="r", transit_url=url, transit_bearer_file=file)


def kms(_: Path) -> KeySettings:
    return KeySettings("kms", root_key_name="r", kms_region="eu-central-1")


@pytest.mark.parametrize("make", [pkcs11, transit, kms])
async def test_what_each_needs_is_enough_and_none_of_it_can_be_left_out(
    make: Callable[[Path], KeySettings], file: Path
):
    whole = make(file)
    needed = {"root_key_name": "", "pkcs11_module": None, "pkcs11_token": "", "pkcs11_pin_file": None}
    needed |= {"transit_url": "", "transit_bearer_file": None, "kms_region": ""}
    given: dict[str, Any] = {name: empty for name, empty in needed.items() if getattr(whole, name)}

    opened = open_key_service(whole, SystemClock())
    await opened.close()

    assert whole.faults() == []
    assert isinstance(opened, SparingKeyService)
    for name, empty in given.items():
        assert replace(whole, **{name: empty}).faults() == [f"{name.upper()} is missing"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key_service": "hsm"}, "KEY_SERVICE must be one of software, pkcs11, transit, kms"),
        ({"transit_url": "http://transit.internal"}, "TRANSIT_URL must be https"),
        ({"transit_url": "http://127.0.0.1.evil.example"}, "TRANSIT_URL must be https"),
        ({"transit_url": "ftp://127.0.0.1"}, "TRANSIT_URL must be https"),
        ({"key_service_timeout_seconds": 0}, "too small"),
        ({"key_cache_seconds": -1}, "too small"),
    ],
)
def test_a_careless_setting_is_a_fault(changes: dict[str, Any], said: str, file: Path):
    (fault,) = replace(transit(file), **changes).faults()

    assert said in fault


def test_plain_http_is_taken_from_this_machine_only(file: Path):
    for url in ("http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200", "https://transit.internal"):
        assert transit(file, url).faults() == []


def test_a_root_file_that_others_may_read_is_not_used_and_one_of_ours_is(tmp_path: Path):
    path = root_file(tmp_path)
    assert isinstance(open_key_service(KeySettings(root_key_file=path), SystemClock()), SoftwareKeyService)
    path.chmod(0o644)

    assert KeySettings(root_key_file=path).faults() == ["ROOT_KEY_FILE cannot be used (RingUnusable)"]


def test_faults_of_a_group_stand_beside_the_others_and_hold_no_value(file: Path):
    environ = {"UNDERCROFT_VAULT_KEY_SERVICE": PIN, "UNDERCROFT_VAULT_BIND": PIN}

    with pytest.raises(SettingsIncomplete) as refused:
        load(VaultSettings, "VAULT", environ)

    assert "UNDERCROFT_VAULT_KEY_SERVICE must be one of" in str(refused.value)
    assert "UNDERCROFT_VAULT_BIND cannot be used" in str(refused.value)
    assert PIN not in str(refused.value)


@pytest.mark.parametrize(("service", "main"), [("VAULT", vault.main), ("MEMORY", memory.main)])
def test_the_root_is_shown_and_rotated_on_the_command_line_without_any_key(
    service: str,
    main: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    path = root_file(tmp_path)
    monkeypatch.setenv(f"UNDERCROFT_{service}_ROOT_KEY_FILE", str(path))

    codes, shown = [], []
    for command in (["root"], ["root", "rotate"]):
        codes.append(main(command))
        shown.append(capsys.readouterr().out)

    ring = json.loads(path.read_bytes())
    states = [[version["state"] for version in json.loads(one)["versions"]] for one in shown]
    assert codes == [0, 0]
    assert states == [["active"], ["retired", "active"]]
    assert [kept["version"] for kept in ring["versions"]] == [1, 2]
    assert not any(kept["key"][:20] in shown[1] for kept in ring["versions"])
    monkeypatch.setenv(f"UNDERCROFT_{service}_ROOT_KEY_FILE", str(tmp_path / "absent"))
    assert main(["root", "rotate"]) == 2
