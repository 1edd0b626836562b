"""SoftHSM2 tokens of this test run's own: real PKCS#11, with keys that cannot be taken out. Debian: softhsm2."""

import atexit
import os
import secrets
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from infra.chassis.keys.pkcs11 import Pkcs11KeyService, Token

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
CONFIGURATION = "SOFTHSM2_CONF"
TIMEOUT_SECONDS = 20.0


@cache
def configuration() -> Path:
    """The library reads where its tokens are once a process, so all tests of one share a folder."""
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    path = folder / "softhsm2.conf"
    path.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ[CONFIGURATION] = str(path)
    return path


def tokens() -> Path:
    return configuration().parent / "tokens"


def new_token(folder: Path) -> Token:
    """A token with a PIN of its own and no key yet."""
    label, pin = f"undercroft-{secrets.token_hex(4)}", secrets.token_hex(8)
    pins = ("--so-pin", secrets.token_hex(8), "--pin", pin)
    subprocess.run(
        ("softhsm2-util", "--init-token", "--free", "--label", label, *pins),
        check=True,
        capture_output=True,
        env={**os.environ, CONFIGURATION: str(configuration())},
    )
    pin_file = folder / f"{label}.pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(pin)
    return Token(module=MODULE, label=label, pin_file=pin_file, key_label="undercroft-root")


def service(token: Token, timeout_seconds: float = TIMEOUT_SECONDS) -> Pkcs11KeyService:
    return Pkcs11KeyService(token, timeout_seconds)


def pull(keys: Pkcs11KeyService) -> None:
    """As when the token is pulled out: our session is gone, and everybody of this process is logged out."""
    session = keys._session  # noqa: SLF001 - PKCS#11 has no call by which a token pulls itself
    if session is not None:
        session.close()
