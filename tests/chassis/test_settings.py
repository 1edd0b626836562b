from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.chassis.secret import Secret
from infra.chassis.settings import Bind, SettingsIncomplete, load


@dataclass(frozen=True, slots=True)
class Example:
    bind: Bind
    url: str
    key: Secret[bytes]
    sandbox: bool = False


def test_settings_are_read_once_and_whole(tmp_path: Path):
    (tmp_path / "key").write_bytes(b"\x00 raw \n")
    environ = {
        "UNDERCROFT_X_BIND": "127.0.0.1:70",
        "UNDERCROFT_X_URL": "http://a",
        "UNDERCROFT_X_KEY_FILE": str(tmp_path / "key"),
        "UNDERCROFT_X_SANDBOX": "true",
    }

    got = load(Example, "X", environ)

    assert (got.bind, got.url, got.key.reveal(), got.sandbox) == (
        Bind("127.0.0.1", 70),
        "http://a",
        b"\x00 raw \n",
        True,
    )


@pytest.mark.control("UC-3.6")
def test_incomplete_settings_name_every_missing_variable_and_no_value(tmp_path: Path):
    environ = {"UNDERCROFT_X_BIND": "hunter2", "UNDERCROFT_X_KEY_FILE": str(tmp_path / "absent")}

    with pytest.raises(SettingsIncomplete) as refused:
        load(Example, "X", environ)

    text = str(refused.value)
    assert "UNDERCROFT_X_URL is missing" in text
    assert "UNDERCROFT_X_BIND cannot be used" in text
    assert "UNDERCROFT_X_KEY_FILE cannot be used" in text
    assert "hunter2" not in text
