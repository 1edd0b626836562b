"""Who may import whom: the contracts of pyproject.toml, kept, and covering what the house plan says."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compliance.checks.tree import PRODUCT, ROOT, Source


@pytest.mark.control("UC-1.2")
def test_the_import_contracts_are_kept():
    finished = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_import_contracts_cover_every_room():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

    assert set(settings["root_packages"]) == set(PRODUCT)
    restrained = {
        room for contract in settings["contracts"] for room in contract.get("source_modules", contract.get("modules"))
    }
    assert restrained >= {"gateway", "vault", "memory", "mcp_server", "infra.chassis"}


@pytest.mark.control("UC-1.2")
@pytest.mark.parametrize(
    ("room", "reads"),
    [
        ("mcp_server", {"gateway": "gateway.contract"}),
        ("gateway", {"vault": "vault.contract", "memory": "memory.contract"}),
        ("vault", {}),
        ("memory", {}),
        ("infra/chassis", {}),
    ],
)
def test_a_room_reads_nothing_of_another_but_its_contract(room: str, reads: dict[str, str], sources: list[Source]):
    """The contracts above forbid what they list; this one allows only what the house plan lists."""
    services = {"gateway", "vault", "memory", "mcp_server"} - {room}

    for file in sources:
        if not file.path.startswith(f"{room}/"):
            continue
        for module in file.imports():
            top = module.partition(".")[0]
            assert top not in services or module == reads.get(top), f"{file.path} imports {module}"
            assert top not in {"compliance", "tests"}, f"{file.path} imports {module}"
