"""A second processor is given whole or not at all, and the default is one that is there."""

from pathlib import Path

import pytest

from infra.chassis.settings import SettingsIncomplete, load
from vault.processors import ProcessorSettings
from vault.settings import PREFIX

WHOLE = {
    "AIRWALLEX_URL": "https://api.airwallex.example",
    "AIRWALLEX_CLIENT_ID": "client",
    "AIRWALLEX_KEY_FILE": "key",
    "AIRWALLEX_WEBHOOK_SECRET_FILE": "secret",
}


def loaded(folder: Path, **values: str) -> ProcessorSettings:
    for name in ("key", "secret"):
        (folder / name).write_text(f"{name}\n")
    (folder / "empty").write_text("\n")
    paths = {name: str(folder / value) if name.endswith("_FILE") else value for name, value in values.items()}
    return load(ProcessorSettings, PREFIX, {f"UNDERCROFT_VAULT_{name}": value for name, value in paths.items()})


def test_nothing_said_is_stripe_alone_and_everything_said_is_both(tmp_path: Path):
    alone, both = loaded(tmp_path), loaded(tmp_path, **WHOLE, DEFAULT_PROCESSOR="airwallex")

    assert (alone.default_processor, alone.has_airwallex) == ("stripe", False)
    assert (both.default_processor, both.has_airwallex) == ("airwallex", True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({name: ""}, f"UNDERCROFT_VAULT_{name} is missing") for name in WHOLE),
        ({"AIRWALLEX_KEY_FILE": "missing"}, "UNDERCROFT_VAULT_AIRWALLEX_KEY_FILE cannot be used"),
        ({"AIRWALLEX_WEBHOOK_SECRET_FILE": "empty"}, "UNDERCROFT_VAULT_AIRWALLEX_WEBHOOK_SECRET_FILE cannot be used"),
        ({"DEFAULT_PROCESSOR": "nobody"}, "UNDERCROFT_VAULT_DEFAULT_PROCESSOR must be one of stripe, airwallex"),
        ({"PHONE_PROCESSORS": "stripe,nobody"}, "UNDERCROFT_VAULT_PHONE_PROCESSORS may name stripe, airwallex"),
        (dict.fromkeys(WHOLE, "") | {"PHONE_PROCESSORS": "airwallex"}, "PHONE_PROCESSORS may name stripe"),
        (dict.fromkeys(WHOLE, "") | {"DEFAULT_PROCESSOR": "airwallex"}, "must be one of stripe"),
    ],
)
def test_half_a_processor_does_not_start(tmp_path: Path, changes: dict[str, str], said: str):
    values = {name: value for name, value in (WHOLE | changes).items() if value}

    with pytest.raises(SettingsIncomplete) as incomplete:
        loaded(tmp_path, **values)

    assert said in str(incomplete.value)
