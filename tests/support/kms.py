"""AWS KMS as moto plays it, on a port of this process. Truthful about contexts and aliases; never about deletion."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

from infra.chassis.keys.kms import Account, KmsKeyService
from tests.support.serving import free_port

REGION = "eu-central-1"


class KmsServer:
    """What it holds is moto's, so it is there again after a stop."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: ThreadedMotoServer | None = None

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None


@contextmanager
def kms_server() -> Iterator[KmsServer]:
    server = KmsServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def account(folder: Path, url: str) -> Account:
    """A root name of its own, and made-up credentials in AWS's form."""
    path = folder / f"credentials-{secrets.token_hex(4)}"
    path.touch(mode=0o600)
    path.write_text(
        f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_hex(20)}\n"
    )
    return Account(REGION, f"undercroft-{secrets.token_hex(4)}", url, path)


def service(found: Account, timeout_seconds: float = 20.0) -> KmsKeyService:
    return KmsKeyService(found, timeout_seconds)
