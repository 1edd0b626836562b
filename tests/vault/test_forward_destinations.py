"""Destinations: what an operator can register and nobody else can, and that a registration stays what it is."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infra.dev.postgres import ServiceDatabase
from tests.vault.bench import Bench, Person
from tests.vault.destination import company, forwarding
from vault.__main__ import main
from vault.forwarding.destinations import DestinationInvalid, Registration, read_registration, target_of

GOOD = "https://api.hotel.example/v1/guarantees"
REGISTRATION: dict[str, Any] = {
    "tenant_id": "tnt_larkspur",
    "destination_id": "dst_hotel",
    "brand_id": "brd_lamps",
    "url": GOOD,
    "method": "POST",
    "body": "json",
    "fields": {"/card/number": "number", "/card/expiry": "expiry"},
    "agents": ["agt_booking"],
}
ME = f"operator {pwd.getpwuid(os.getuid()).pw_name}"


def read(sandbox: bool = False, **changes: Any) -> Registration:
    return read_registration(json.dumps(REGISTRATION | changes).encode(), sandbox=sandbox)


@pytest.mark.parametrize(
    "url", [GOOD, "https://a.b.example:8443/x", "https://api.hotel.example:443/v1/", "https://x.example/~a/b-c_d.e"]
)
def test_a_plain_https_address_is_taken_byte_for_byte(url: str):
    target = target_of(read(url=url).url, sandbox=False)

    assert url.startswith(f"https://{target.host}")
    assert url.endswith(target.path)


@pytest.mark.control("UC-F.1")
@pytest.mark.parametrize(
    "url",
    [
        "http://api.hotel.example/v1", "ftp://api.hotel.example/v1", "//api.hotel.example/v1",
        "https:api.hotel.example/v1",
        "https://user@api.hotel.example/v1", "https://user:pw@api.hotel.example/v1", "https://good.example@evil.example/v1",
        "https://@api.hotel.example/v1", "https://api.hotel.example:@evil.example/v1",
        "https://api.hotel.example:22/v1", "https://api.hotel.example:80/v1", "https://api.hotel.example:99999/v1",
        "https://api.hotel.example:/v1", "https://api.hotel.example:0443/v1", "https://api.hotel.example:x/v1",
        "https://api.hotel.example", "https://api.hotel.example/", "https://api.hotel.example//v1",
        "https://api.hotel.example/v1/../admin", "https://api.hotel.example/./v1", "https://api.hotel.example/v1/..",
        "https://api.hotel.example/v1%2f..%2fadmin", "https://api.hotel.example/v1/%2e%2e/admin",
        "https://api.hotel.example/v1\\..\\admin", "https://api.hotel.example\\@evil.example/v1",
        "https://api.hotel.example/v1;x", "https://api.hotel.example/v1?x=1", "https://api.hotel.example/v1#x",
        "https://api.hotel.example/v1?", "https://api.hotel.example/v1#", "https://api.hotel.example/v1 x",
        "https://api.hotel.example/v1\r\nX: y", "https://api.hotel.example/v1\t", " https://api.hotel.example/v1",
        "https://127.0.0.1/v1", "https://10.0.0.1/v1", "https://[::1]/v1", "https://2130706433/v1", "https://0x7f.1/v1",
        "https://127.1/v1", "https://localhost/v1", "https://intranet/v1", "https://api.hotel.example./v1",
        "https://API.hotel.example/v1", "https://api..hotel.example/v1", "https://-api.hotel.example/v1",
        "https://api_x.hotel.example/v1", "https://hötel.example/v1", "https://xn--htel-5qa.example/v1",
        "https://\u0430pi.hotel.example/v1", "https://api\u3002hotel.example/v1", "https://api.hotel.example\uff0fv1",
        "https://1.2.3.4.5/v1", "https://" + "a" * 64 + ".example/v1", "https://api%2ehotel.example/v1",
    ],
)  # fmt: skip
def test_any_other_address_is_refused(url: str):
    with pytest.raises(DestinationInvalid):
        read(url=url)


def test_this_machine_is_a_destination_in_a_sandbox_only():
    url = "http://127.0.0.1:9000/v1/x"

    assert target_of(read(sandbox=True, url=url).url, sandbox=True).port == 9000
    for other in ("http://10.0.0.1:9000/v1/x", "http://api.hotel.example/v1/x", "http://127.0.0.2/x"):
        with pytest.raises(DestinationInvalid):
            read(sandbox=True, url=other)
    with pytest.raises(DestinationInvalid):
        read(url=url)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"}, {"method": "DELETE"}, {"method": "post"}, {"body": "xml"}, {"destination_id": "hotel"},
        {"destination_id": "tok_hotel"}, {"destination_id": "dst_../x"}, {"agents": []}, {"agents": ["*"]},
        {"fields": {}},
        {"fields": {"card": "number"}}, {"fields": {"": "number"}}, {"fields": {"/": "number"}},
        {"fields": {"/a~2": "number"}}, {"fields": {"/a": "everything"}}, {"fields": {"/a\nb": "number"}},
        {"body": "form", "fields": {"/card/number": "number"}}, {"credential_header": "host"},
        {"credential_header": "Authorization"}, {"credential_header": "x\r\ny"},
        {"credential_header": "content-length"},
        {"credential_header": "idempotency-key"}, {"answer_headers": ["set-cookie"]}, {"answer_headers": ["location"]},
        {"answer_headers": ["x: y"]}, {"unheard_of": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_registration_that_says_something_else_is_refused(changes: dict[str, Any]):
    with pytest.raises(DestinationInvalid):
        read(**changes)


def test_a_registration_with_a_member_twice_is_refused():
    text = json.dumps(REGISTRATION)[:-1] + ', "url": "https://evil.example/v1"}'

    with pytest.raises(DestinationInvalid):
        read_registration(text.encode(), sandbox=False)


@pytest.fixture
def command(shared_database: ServiceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's settings; the path of his registration."""
    url = tmp_path / "owner.url"
    url.write_text(shared_database.owner_dsn)
    monkeypatch.setenv("UNDERCROFT_VAULT_OWNER_DATABASE_URL_FILE", str(url))
    return tmp_path / "destination.json"


def test_the_operator_registers_lists_and_withdraws(command: Path, ada: Person, capsys: pytest.CaptureFixture[str]):
    command.write_text(json.dumps(REGISTRATION | {"tenant_id": ada.tenant_id}))

    codes = [
        main(["destinations", *words])
        for words in (
            ["add", str(command)],
            ["add", str(command)],
            ["list", ada.tenant_id],
            ["withdraw", ada.tenant_id, "dst_hotel"],
            ["withdraw", ada.tenant_id, "dst_hotel"],
            ["add", str(command)],
            ["list", ada.tenant_id],
            ["list", "tnt_other"],
        )
    ]

    said = capsys.readouterr()
    assert codes == [0, 1, 0, 0, 1, 1, 0, 0]
    lines = said.out.splitlines()
    assert lines[0] == f"dst_hotel: POST {GOOD}, for agt_booking"
    assert lines[1].startswith(
        f"dst_hotel  open  brd_lamps  POST {GOOD}  json: /card/expiry expiry, /card/number number"
    )
    assert f"by {ME}" in lines[1]
    assert [line.split("  ")[1].split()[0] for line in lines if line.startswith("dst_hotel  ")] == ["open", "withdrawn"]
    assert said.err.count("destinations: ") == 3


def test_the_command_says_what_it_does_not_take(command: Path, capsys: pytest.CaptureFixture[str]):
    command.write_text(json.dumps(REGISTRATION | {"url": "https://127.0.0.1/v1"}))

    codes = [main(["destinations", "add", str(path)]) for path in (command, command.with_name("nowhere"))]

    assert codes == [1, 1]
    assert capsys.readouterr().err.splitlines()[0].startswith("destinations: url: the host must be")


NOT_THE_SERVICES = [
    "INSERT INTO destinations SELECT * FROM destinations",
    "UPDATE destinations SET url = 'https://evil.example/v1'",
    "UPDATE destinations SET agents = agents || 'agt_evil'::text",
    "UPDATE destinations SET withdrawn_at = NULL",
    "DELETE FROM destinations",
    "DELETE FROM forwards",
    "UPDATE forwards SET forward_id = 'fwd_other'",
]
NOBODYS = [
    ("UPDATE destinations SET url = 'https://evil.example/v1'", "a destination does not change"),
    ("UPDATE destinations SET agents = agents || 'agt_evil'::text", "a destination does not change"),
    ("UPDATE forwards SET state = 'failed', http_status = NULL", "the end of a forward stands"),
    ("UPDATE forwards SET state = 'intended', worked_until = now(), http_status = NULL", "the end of a forward stands"),
]


@pytest.mark.control("UC-F.1", "UC-7.2")
async def test_the_serving_process_cannot_write_destinations_and_nobody_rewrites_where_cards_went(
    bench: Bench, ada: Person
):
    async with company() as there:
        assert (await (await forwarding(bench, bench.databases, ada, there)).sent())["state"] == "forwarded"

    for statement in NOT_THE_SERVICES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _run(bench.databases.app_dsn, ada.tenant_id, statement)
    for statement, said in NOBODYS:
        with pytest.raises(asyncpg.CheckViolationError, match=said):
            await _run(bench.databases.owner_dsn, ada.tenant_id, statement)


async def test_a_row_written_past_the_command_is_checked_again(bench: Bench, ada: Person):
    """Whoever writes into the database past the command is held to the same rules when a card is about to be sent."""
    async with company() as there:
        ready = await forwarding(bench, bench.databases, ada, there)
        for url in ("http://10.0.0.1/v1/x", "https://10.0.0.1/v1/x", "https://pay.example:8080/v1/x"):
            ready.destination_id = await ready.registered(url=url)
            view = await ready.sent()
            assert (view["state"], view["reason"]) == ("failed", "destination_address_refused")


async def _run(dsn: str, tenant_id: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn.replace("postgresql+asyncpg", "postgresql"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('undercroft.tenant', $1, true)", tenant_id)
            await connection.execute(statement)
    finally:
        await connection.close()
