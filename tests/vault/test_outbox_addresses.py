"""A webhook calls nobody but whom it names, on the internet, over TLS; what comes back can do no harm."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.vault.receiver import Receiver
from vault.outbox.addresses import UrlRefused, may_connect, require_url
from vault.outbox.sending import HEADER_BYTES_MAX, Answer, Ending, Sender

NOT_INTERNET = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0." + "0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "192.88.99.1",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001::1", "2001:10::1", "3fff::1",
    "not an address", "",
]  # fmt: skip
INTERNET = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "2a00:1450::1"]
GOOD_URLS = ["https://hooks.example.com/undercroft", "https://example.com:8443/a?b=c", "https://8.8.8.8/x",
             "https://[2606:4700::1111]/x"]  # fmt: skip
BAD_URLS = [
    "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "example.com", "",
    "https://", "https:///x", "https://user@example.com/", "https://user:word@example.com/", "https://example.com/#x",
    "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://vault/", "https://db.internal/",
    "https://printer.local/", "https://x.localhost/", "https://router.home.arpa/",
    "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
    "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
    "https://[fe80::1%25eth0]/", "https://example.com:99999/", "https://example.com\\@127.0.0.1/",
    "https://exa mple.com/", "https://example.com/\r\nX: y", "https://ex\u00e4mple.com/", f"https://a.com/{'x' * 2048}",
]  # fmt: skip


class Names(AbstractResolver):
    """Answers with these addresses, the next list at each question: a name that changes between two looks."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for one in found
        ]

    async def close(self) -> None: ...


async def posted(url: str, *, sandbox: bool = True, resolver: Names | None = None, timeout: float = 30) -> Answer:  # noqa: ASYNC109 - handed on to the sender, whose limit is tested
    sender = Sender(sandbox=sandbox, resolver=resolver, timeout_seconds=timeout)
    try:
        return await sender.post(url, {}, b"{}")
    finally:
        await sender.close()


@pytest.mark.control("UC-W.2")
@pytest.mark.parametrize("address", NOT_INTERNET)
def test_no_connection_is_opened_to_an_address_that_is_not_on_the_internet(address: str):
    assert not may_connect(address, sandbox=False)


@pytest.mark.parametrize("address", INTERNET)
def test_a_connection_may_be_opened_to_the_internet(address: str):
    assert may_connect(address, sandbox=False)


def test_the_sandbox_reaches_this_machine_and_nothing_else_that_is_private():
    assert [may_connect(one, sandbox=True) for one in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.control("UC-W.2")
@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_leads_elsewhere_is_not_registered(url: str):
    with pytest.raises(UrlRefused) as refusal:
        require_url(url, sandbox=False)

    assert not url or url not in str(refusal.value)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_of_the_internet_is_registered(url: str):
    require_url(url, sandbox=False)


def test_plain_http_is_for_loopback_of_the_sandbox_only():
    require_url("http://127.0.0.1:7000/", sandbox=True)
    for url in ("http://example.com/", "http://10.0.0.1/"):
        with pytest.raises(UrlRefused):
            require_url(url, sandbox=True)


@pytest.mark.control("UC-W.2")
async def test_a_public_name_that_resolves_to_a_private_address_is_not_called(receiver: Receiver):
    port = receiver.url.rpartition(":")[2]
    url = f"http://hooks.example.com:{port}/"

    answers = [
        await posted(url, sandbox=False, resolver=Names(["127.0.0.1"])),
        await posted(url, sandbox=False, resolver=Names(["::1", "127.0.0.1"])),
        await posted(f"http://127.0.0.1:{port}/", sandbox=False),
        await posted(f"http://2130706433:{port}/", sandbox=False),
    ]

    assert {answer.ending for answer in answers[:3]} == {Ending.ADDRESS_FORBIDDEN}
    assert answers[3].status is None
    assert receiver.taken == []


@pytest.mark.control("UC-W.2")
async def test_the_address_that_was_judged_is_the_one_that_is_called(receiver: Receiver):
    """A name that shows a public address first and a private one at the next look is looked up once."""
    port = receiver.url.rpartition(":")[2]
    names = Names(["192.0.2.1"], ["127.0.0.1"])

    answer = await posted(f"http://hooks.example.com:{port}/", resolver=names)

    assert (answer.ending, names.asked, receiver.taken) == (Ending.ADDRESS_FORBIDDEN, 1, [])


@pytest.mark.control("UC-W.2")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, status: int):
    receiver.script["/"] = [web.Response(status=status, headers={"Location": f"{receiver.url}/inside"})]

    answer = await posted(receiver.url)

    assert (answer.ending, answer.status) == (Ending.REFUSED, status)
    assert [one.path for one in receiver.taken] == ["/"]


@pytest.mark.parametrize(
    ("status", "ending"),
    [(200, "delivered"), (204, "delivered"), (299, "delivered"), (400, "refused"), (401, "refused"), (404, "refused"),
     (410, "gone"), (429, "busy"), (500, "refused"), (502, "busy"), (503, "busy"), (504, "busy")],
)  # fmt: skip
async def test_each_status_means_what_the_specification_says(receiver: Receiver, status: int, ending: str):
    receiver.script["/"] = [status]

    assert await posted(receiver.url) == Answer(Ending(ending), status, None)


async def test_nothing_of_the_machine_goes_along(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    receiver.script["/"] = [web.Response(status=200, headers={"Set-Cookie": "a=b"})]
    sender = Sender(sandbox=True)
    for _ in range(2):
        await sender.post(receiver.url, {"webhook-id": "evt_x"}, b"{}")
    await sender.close()

    assert [sorted(name.lower() for name in one.headers) for one in receiver.taken] == [
        sorted(
            [
                "host",
                "content-type",
                "user-agent",
                "accept-encoding",
                "accept",
                "webhook-id",
                "content-length",
                "connection",
            ]
        )
    ] * 2
    assert {one.headers["User-Agent"] for one in receiver.taken} == {"Undercroft-Webhooks/1"}


async def test_an_answer_without_end_costs_nothing_once_its_status_is_there():
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()

    async with speaking(flood) as url:
        assert (await posted(url)).ending is Ending.DELIVERED


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * (HEADER_BYTES_MAX + 1) + b"\r\n\r\n",
     b"HTTP/1.1 2000000 OK\r\n\r\n", b"\x00" * 1000 + b"\r\n\r\n"],
)  # fmt: skip
async def test_what_is_not_http_is_a_failure(said: bytes):
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with speaking(say) as url:
        assert await posted(url) == Answer(Ending.BROKEN_OFF)


async def test_an_answer_that_drips_ends_with_the_time_for_all_of_it():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with speaking(drip) as url:
        assert await posted(url, timeout=0.5) == Answer(Ending.TIMED_OUT)


async def test_nobody_there_is_not_connected():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        assert await posted(f"http://127.0.0.1:{taken.getsockname()[1]}/") == Answer(Ending.NOT_CONNECTED)


@pytest.mark.control("UC-W.2")
async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path):
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))

    async with speaking(listen, certificate(tmp_path)) as url:
        answer = await posted(url.replace("http:", "https:"))

    assert (answer, heard) == (Answer(Ending.CERTIFICATE), [])


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def speaking(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await server.wait_closed()


def certificate(folder: Path) -> ssl.SSLContext:
    """Self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    both = folder / "server.pem"
    both.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
