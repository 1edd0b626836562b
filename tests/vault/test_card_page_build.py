"""The committed script is what its committed source builds, byte for byte: built again here, with Node."""

import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "vault/cleartext/page/build"


@pytest.mark.control("UC-6.4.3")
def test_building_the_script_again_gives_the_committed_bytes():
    node = shutil.which("node")
    if node is None or not (BUILD / "node_modules").is_dir():
        pytest.fail(f"needs Node and `npm ci` in {BUILD.name}/ of the card page: .ci/run does both")

    built = subprocess.run([node, "build.mjs", "--check"], cwd=BUILD, capture_output=True, text=True, check=False)

    assert (built.returncode, built.stderr) == (0, "")
