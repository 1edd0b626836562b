"""The sandbox as a real process on free ports, driven by the official SDK and, where it hides things, by plain HTTP."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import stripe
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.dev.ports import free_ports
from infra.sandbox.carrier import new_carrier
from tests.support.waiting import BUSY_SECONDS_MAX

ROOT = Path(__file__).parents[2]
API_KEY = "sk_test_sandbox"
APPROVES = "4242424242424242"
WEBHOOK_SECRET = "whsec_sandbox"
AIRWALLEX_KEY = "awx_sandbox_key"
CHECKOUT_SECRET = "checkout_sandbox_secret"
TEXTING_ACCOUNT, TEXTING_PASSWORD = f"AC{'0a' * 16}", "0b" * 16
# Every client would load the certificate authorities again (50 ms); all here speak plain HTTP.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_port() -> int:
    (port,) = free_ports(1)
    return port


def wait_until(condition: Callable[[], bool], *, seconds: float = BUSY_SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the condition did not come true in time")
        time.sleep(0.02)


@dataclass(slots=True)
class Sandbox:
    folder: Path
    port: int
    inbox_port: int
    environment: dict[str, str]
    airwallex_port: int = 0
    checkout_port: int = 0
    plain: httpx2.Client = field(default_factory=lambda: httpx2.Client(verify=NO_TLS, timeout=BUSY_SECONDS_MAX))
    opened: list[stripe.RequestsClient] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.inbox_port}"

    @property
    def airwallex_url(self) -> str:
        return f"http://127.0.0.1:{self.airwallex_port}"

    @property
    def checkout_url(self) -> str:
        return f"http://127.0.0.1:{self.checkout_port}"

    @property
    def updater_key(self) -> Path:
        """The private one, which only the vault has."""
        return self.folder / "updater.key"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.sandbox"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return all(
                self.plain.get(f"{url}/health").status_code == 200
                for url in (self.url, self.inbox_url, self.airwallex_url, self.checkout_url)
            )
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(BUSY_SECONDS_MAX)

    def end(self) -> None:
        """For fixtures: nothing of it is left."""
        self.kill()
        self.close()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(BUSY_SECONDS_MAX)

    def client(self, *, api_key: str = API_KEY, timeout: float = BUSY_SECONDS_MAX) -> stripe.StripeClient:
        http_client = stripe.RequestsClient(timeout=timeout)
        self.opened.append(http_client)
        return stripe.StripeClient(
            api_key, base_addresses={"api": self.url}, max_network_retries=0, http_client=http_client
        )

    def close(self) -> None:
        """Close every connection the tests opened."""
        self.plain.close()
        for http_client in self.opened:
            http_client.close()

    def http(self) -> httpx2.Client:
        """With the API key; `plain` is without."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx2.Client(base_url=self.url, headers=headers, verify=NO_TLS, timeout=BUSY_SECONDS_MAX)

    def fault(self, fault: str, **order: object) -> None:
        self.plain.post(f"{self.url}/_sandbox/faults", json={"fault": fault, **order}).raise_for_status()


def make_sandbox(folder: Path, *, webhook_url: str | None = None) -> Sandbox:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "api.key").write_text(f"{API_KEY}\n")
    (folder / "webhook.secret").write_text(f"{WEBHOOK_SECRET}\n")
    (folder / "airwallex.key").write_text(f"{AIRWALLEX_KEY}\n")
    (folder / "checkout.secret").write_text(f"{CHECKOUT_SECRET}\n")
    write_updater_key(folder / "updater.key", folder / "updater.pem")
    port, inbox_port, airwallex_port, checkout_port = free_ports(4)
    (folder / "texting.account").write_text(f"{TEXTING_ACCOUNT}:{TEXTING_PASSWORD}\n")
    trusted, carrier_key = new_carrier(datetime.now(UTC))
    (folder / "carriers").mkdir(exist_ok=True)
    for name, content in {
        **{f"carriers/{name}": pem for name, pem in trusted.items()},
        "carrier.pem": carrier_key,
    }.items():
        (folder / name).write_bytes(content)
    environment = {
        "PATH": os.environ["PATH"],
        "UNDERCROFT_SANDBOX_BIND": f"127.0.0.1:{port}",
        "UNDERCROFT_SANDBOX_INBOX_BIND": f"127.0.0.1:{inbox_port}",
        "UNDERCROFT_SANDBOX_AIRWALLEX_BIND": f"127.0.0.1:{airwallex_port}",
        "UNDERCROFT_SANDBOX_AIRWALLEX_KEY_FILE": str(folder / "airwallex.key"),
        "UNDERCROFT_SANDBOX_CHECKOUT_BIND": f"127.0.0.1:{checkout_port}",
        "UNDERCROFT_SANDBOX_CHECKOUT_SECRET_FILE": str(folder / "checkout.secret"),
        "UNDERCROFT_SANDBOX_CHECKOUT_SEALING_KEY_FILE": str(folder / "updater.pem"),
        "UNDERCROFT_SANDBOX_MOTO": "true",
        "UNDERCROFT_SANDBOX_STATE_FOLDER": str(folder / "state"),
        "UNDERCROFT_SANDBOX_API_KEY_FILE": str(folder / "api.key"),
        "UNDERCROFT_SANDBOX_CARRIER_KEY_FILE": str(folder / "carrier.pem"),
        "UNDERCROFT_SANDBOX_TEXTING_ACCOUNT_FILE": str(folder / "texting.account"),
    }
    if webhook_url is not None:
        environment["UNDERCROFT_SANDBOX_WEBHOOK_URL"] = webhook_url
        environment["UNDERCROFT_SANDBOX_WEBHOOK_SECRET_FILE"] = str(folder / "webhook.secret")
    return Sandbox(folder, port, inbox_port, environment, airwallex_port, checkout_port)


@cache
def updater_pems() -> tuple[bytes, bytes]:
    """A key under which new card numbers come, and its public half: PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return (
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def write_updater_key(private: Path, public: Path) -> None:
    for path, content in zip((private, public), updater_pems(), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)


def card(number: str, **changes: object) -> dict[str, object]:
    """The parameters of a payment method for one of Stripe's published test numbers."""
    code = "1234" if number.startswith(("34", "37")) else "123"
    return {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": code, **changes}}


def add_card(client: stripe.StripeClient, number: str, **changes: object) -> stripe.PaymentMethod:
    return client.v1.payment_methods.create(cast("Any", card(number, **changes)))


def open_intent(client: stripe.StripeClient, amount: object = 2_500, **more: object) -> stripe.PaymentIntent:
    parameters = {"amount": amount, "currency": "usd", "payment_method_types": ["card"], **more}
    return client.v1.payment_intents.create(cast("Any", parameters))


def pay(
    client: stripe.StripeClient, number: str = APPROVES, amount: int = 2_500, **more: object
) -> stripe.PaymentIntent:
    """Open an intent and confirm it with a new payment method, as the vault does."""
    intent = open_intent(client, amount, **more)
    return client.v1.payment_intents.confirm(intent.id, {"payment_method": add_card(client, number).id})


def charge_of(intent: stripe.PaymentIntent) -> str:
    assert isinstance(intent.latest_charge, str)
    return intent.latest_charge
