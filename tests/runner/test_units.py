"""The units of systemd, judged by systemd itself, without a running one: `systemd-analyze security --offline`."""

import re
import subprocess
from pathlib import Path

import pytest

from compliance.checks.tree import SERVICES
from infra.chassis.walls.settings import WallSettings
from infra.dev.house import DATABASE_CLUSTER
from infra.dev.ports import Ports
from tests.sandbox.running import ROOT
from vault.scrubbing import OVERWRITTEN

UNITS = sorted((ROOT / "infra" / "deploy" / "systemd").glob("*.service"))
EXPOSURE_MAX = 15  # tenths, of 100; what Debian ships without a sandbox stands at 96
WEAKER = ["CapabilityBoundingSet=", "SystemCallFilter=", "RestrictNamespaces="]


def judged(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_COLORS": "0", "LANG": "C.UTF-8"},
    )


def of(unit: Path) -> dict[str, list[str]]:
    """Directives of [Service], each with its values in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.control("UC-2.2")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_a_unit_little_exposed(unit: Path):
    answer = judged(unit)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Overall exposure level" in answer.stdout


@pytest.mark.parametrize("line", WEAKER)
def test_a_weakened_unit_is_found_too_exposed(tmp_path: Path, line: str):
    whole = (ROOT / "infra" / "deploy" / "systemd" / "undercroft-gateway.service").read_text(encoding="utf-8")
    weak = tmp_path / "undercroft-gateway.service"
    weak.write_text("\n".join(one for one in whole.splitlines() if not one.startswith(line)), encoding="utf-8")

    assert weak.read_text() != whole
    assert judged(weak).returncode != 0


def test_each_service_has_a_unit_a_user_and_a_folder_of_its_own():
    assert {of(unit)["ExecStart"][0].rpartition(" ")[2] for unit in UNITS} == set(SERVICES)
    assert len({of(unit)["User"][0] for unit in UNITS}) == len(UNITS)
    for unit in UNITS:
        service = of(unit)["ExecStart"][0].rpartition(" ")[2]
        assert of(unit)["TemporaryFileSystem"] == ["/etc/undercroft"]
        assert of(unit)["BindReadOnlyPaths"] == [f"/etc/undercroft/{service}"]
        assert "root" not in of(unit)["User"][0]


def test_a_unit_lets_its_service_listen_on_its_documented_ports_and_no_other():
    usual = Ports.usual().named()
    expected = {
        "vault": f"tcp:{usual['vault']}-{usual['vault_webhooks']}",
        "gateway": f"tcp:{usual['gateway']}-{usual['authzen']}",
        "memory": f"tcp:{usual['memory']}",
        "mcp_server": f"tcp:{usual['mcp_server']}",
    }

    found = {of(unit)["ExecStart"][0].rpartition(" ")[2]: of(unit) for unit in UNITS}

    assert set(found) == set(DATABASE_CLUSTER)
    assert {service: values["SocketBindAllow"][0] for service, values in found.items()} == expected
    assert all(values["SocketBindDeny"] == ["any"] for values in found.values())


def test_the_vaults_unit_asks_for_every_wall():
    vault = of(ROOT / "infra" / "deploy" / "systemd" / "undercroft-vault.service")

    asked, *allocators = vault["Environment"]
    assert asked == "UNDERCROFT_VAULT_WALLS=require"
    assert dict(setting.split("=", 1) for setting in allocators) == OVERWRITTEN
    assert WallSettings(walls="require").faults() == []
    assert vault["LimitMEMLOCK"] == ["infinity"]
    assert "4" in vault["RestartPreventExitStatus"][0].split()
