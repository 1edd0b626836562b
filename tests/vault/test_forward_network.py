"""Where a forward connects to: the registered name's own public address, under the name's own certificate."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import APPROVES, ROOT, Sandbox
from tests.support.database import DatabaseMaker
from tests.vault.bench import Bench, Person, open_bench, rows
from tests.vault.destination import company, forwarding
from tests.vault.forks import nursery
from tests.vault.killed import die, revive
from tests.vault.process import vault_process

NAME = "pay.destination.example"
URL = f"https://{NAME}/v1/guarantees"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What the system's resolver says: for a name, one list of addresses after another; each asking takes one."""
    answers: dict[str, list[list[str]]] = {}
    genuine = socket.getaddrinfo

    def ask(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in answers:
            return genuine(host, port, *rest, **more)
        found = answers[host].pop(0)
        return [one for address in found for one in genuine(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return answers


LED_ASTRAY = [
    ["10.0.0.1"],
    ["127.0.0.1"],
    ["169.254.169.254"],
    ["::1"],
    ["::ffff:10.0.0.1"],
    ["64:ff9b::a00:1"],
    ["fe80::1"],
    ["0.0.0.0"],  # noqa: S104 - nobody binds to it here
    ["93.184.215.14", "192.168.0.1"],
]


@pytest.mark.control("UC-F.1")
async def test_a_name_that_leads_into_a_private_network_is_not_followed_there(
    tmp_path: Path,
    shared_database: ServiceDatabase,
    processor: Sandbox,
    ada: Person,
    names: dict[str, list[list[str]]],
):
    async with company() as there, open_bench(tmp_path, shared_database, processor, sandbox=False) as bench:
        ready = await forwarding(bench, bench.databases, ada, there)
        by_name = await ready.registered(url=URL)
        for addresses in LED_ASTRAY:
            names[NAME] = [addresses]
            view = await ready.sent(destination_id=by_name)
            assert (view["state"], view["reason"]) == ("failed", "destination_address_refused"), addresses
        on_this_machine = await ready.sent()

    assert (on_this_machine["state"], on_this_machine["reason"]) == ("failed", "destination_address_refused")
    assert there.connections == 0


@pytest.mark.control("UC-F.1")
async def test_a_name_is_asked_for_once_and_what_it_says_later_is_not_heard(
    bench: Bench, ada: Person, names: dict[str, list[list[str]]]
):
    """Rebinding: a harmless address while it is looked at, and another when it is connected to."""
    async with company() as there:
        ready = await forwarding(bench, bench.databases, ada, there)
        url = there.url.replace("127.0.0.1", "localhost")
        names["localhost"] = [["127.0.0.1"], ["127.0.0.9"]]
        view = await ready.sent(destination_id=await ready.registered(url=url))

    assert view["state"] == "forwarded"
    assert names["localhost"] == [["127.0.0.9"]]
    assert there.received[0].headers["host"] == f"localhost:{there.port}"


async def test_a_name_that_nobody_knows_is_not_reached(bench: Bench, ada: Person, names: dict[str, list[list[str]]]):
    names[NAME] = [[]]
    async with company() as there:
        ready = await forwarding(bench, bench.databases, ada, there)
        view = await ready.sent(destination_id=await ready.registered(url=URL))

    assert (view["state"], view["reason"]) == ("failed", "destination_unreachable")


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's certificate for `name`, signed by itself; `authority.pem` is what whoever trusts it is told."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@pytest.mark.control("UC-F.1")
async def test_a_certificate_must_be_trusted_and_of_this_name(
    bench: Bench, ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with company(certified(tmp_path, "localhost")) as there:
        ready = await forwarding(bench, bench.databases, ada, there)
        by_name = await ready.registered(url=there.url.replace("127.0.0.1", "localhost"))
        unknown = await ready.sent(destination_id=by_name)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with open_bench(
            tmp_path, bench.databases, bench.processor, keys=bench.settings.keys,
            fingerprint_key=bench.settings.fingerprint_key,
        ) as trusting:  # fmt: skip
            ready.doors = trusting
            wrong_name = await ready.sent()
            received_before = len(there.received)
            trusted = await ready.sent(destination_id=by_name)

    assert (unknown["state"], unknown["reason"]) == ("failed", "destination_unreachable")
    assert (wrong_name["state"], wrong_name["reason"]) == ("failed", "destination_unreachable")
    assert (received_before, trusted["state"], len(there.received)) == (0, "forwarded", 1)


STEPS = {"forward_intended": 0, "forward_sent": 1, "forward_carried": 1}
"""Where the vault is killed → how often the destination had been sent the card by then."""


def test_no_crash_point_of_a_forward_is_left_out():
    folders = (ROOT / "vault" / "forwarding", ROOT / "vault" / "cleartext" / "forwarding")
    text = "".join(file.read_text() for folder in folders for file in folder.glob("*.py"))

    assert {one.split('"')[1] for one in text.split("reach(")[1:]} == set(STEPS)


@pytest.mark.control("UC-F.1")
async def test_a_vault_killed_at_any_step_says_unknown_afterwards_and_sends_no_card_twice(
    database: DatabaseMaker, processor: Sandbox, tmp_path: Path, ada: Person
):
    databases = database("vault")
    with nursery() as forks:
        async with (
            company() as there,
            vault_process(
                tmp_path, databases, processor, timeout_seconds=1, spawn=forks.spawn, clock=forks.clock
            ) as vault,
        ):
            ready = await forwarding(vault, databases, ada, there)
            for step, sent in STEPS.items():
                there.received.clear()
                order = ready.order()
                await die(vault, step, partial(vault.send, "/v1/forward", "forward", order))
                await revive(vault, put_forward=timedelta(minutes=5))
                _, view = await ready.send(order)
                assert (view["state"], view["reason"], len(there.received)) == ("unknown", "carrier_lost", sent), step

    kept = await rows(databases.app_dsn, "SELECT DISTINCT state, worked_until FROM forwards", ada.tenant_id)
    assert kept == [{"state": "unknown", "worked_until": None}]
    assert APPROVES not in (tmp_path / "vault.log").read_text()
