"""What a destination answers, or does not: read in one meaning, searched, cut down or withheld; never followed."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from infra.dev.postgres import ServiceDatabase
from tests.sandbox.running import APPROVES, Sandbox
from tests.vault.bench import Person, open_bench, rows
from tests.vault.destination import Company, Forwarding, Received, answer, company, echo, forwarding, head


async def silence(request: Received, _writer: asyncio.StreamWriter) -> None:
    await request.over.wait()


async def cut_off(_request: Received, writer: asyncio.StreamWriter) -> None:
    """A chunk is promised and ends in its middle."""
    writer.write(head("200 OK", {"content-type": "application/json", "transfer-encoding": "chunked"}))
    writer.write(b'20\r\n{"number":"4242')


async def cut_short(_request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(head("200 OK", {"content-type": "application/json", "content-length": "500"}) + b'{"ok":')


async def no_http(_request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")


async def hangs_up(_request: Received, _writer: asyncio.StreamWriter) -> None:
    return


async def header_without_end(_request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 100_000 + b"\r\n\r\n")


async def test_an_answer_that_does_not_arrive_whole_is_unknown_and_nothing_is_sent_again(
    tmp_path: Path, shared_database: ServiceDatabase, processor: Sandbox, ada: Person, there: Company
):
    async with open_bench(tmp_path, shared_database, processor, forward_timeout_seconds=1) as bench:
        ready = await forwarding(bench, bench.databases, ada, there)
        for lost in (silence, cut_off, cut_short, no_http, hangs_up, header_without_end):
            there.received.clear()
            there.answering, order = lost, ready.order()
            _, view = await ready.send(order)
            _, again = await ready.send(order)
            assert (view["state"], view["reason"], view["body"]) == ("unknown", "answer_lost", None), lost
            assert (again["state"], again["reason"], len(there.received)) == ("unknown", "answer_lost", 1), lost

    kept = await rows(shared_database.app_dsn, "SELECT DISTINCT state, reason FROM forwards", ada.tenant_id)
    assert kept == [{"state": "unknown", "reason": "answer_lost"}]


async def test_a_redirect_is_an_answer_and_nobody_goes_there(ready: Forwarding):
    async with company() as attacker:
        away = f"{attacker.url}?pan={APPROVES}"
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"):
            ready.company.answering = answer(b"", None, status, location=away)
            view = await ready.sent()
            assert (view["state"], view["http_status"]) == ("forwarded", int(status[:3]))
            assert (view["headers"], view["body"]) == ({}, None)

    assert attacker.connections == 0


BOMB = gzip.compress(b"0" * 10_000_000)
ECHO_JSON = json.dumps({"number": APPROVES}).encode()


UNSEARCHABLE = [
    (answer(b"<html><body>4242 4242 4242 4242</body></html>", "text/html", "500 Oops"), "content_type"),
    (answer(ECHO_JSON, "text/plain"), "content_type"),
    (answer(ECHO_JSON, None), "content_type"),
    (answer(ECHO_JSON, "application/json; charset=utf-16"), "content_type"),
    (answer(ECHO_JSON, "application/json\r\ncontent-type: text/html"), "content_type"),
    (answer(BOMB, content_encoding="gzip"), "content_encoding"),
    (answer(gzip.compress(ECHO_JSON), content_encoding="gzip"), "content_encoding"),
    (answer(ECHO_JSON, content_encoding="identity, br"), "content_encoding"),
    (answer(gzip.compress(ECHO_JSON)), "unreadable"),
    (answer(b'{"a":1,"a":"4242"}'), "unreadable"),
    (answer(b'{"a":"42'), "unreadable"),
    (answer(b"\xff\xfe" + '{"a":1}'.encode("utf-16-le")), "unreadable"),
    (answer(b"[" * 100 + b"]" * 100), "unreadable"),
    (answer(b'"' + b"a" * 70_000 + b'"'), "too_large"),
]


async def test_what_cannot_be_searched_is_withheld(ready: Forwarding):
    for told, withheld in UNSEARCHABLE:
        ready.company.answering = told
        view = await ready.sent()

        shown = (view["state"], view["withheld"], view["body"], view["headers"])
        assert shown == ("forwarded", withheld, None, {}), (told, withheld)
        assert "4242" not in json.dumps(view)


async def test_an_answer_without_a_body_has_none(ready: Forwarding):
    ready.company.answering = answer(b"", None, "204 No Content")

    view = await ready.sent()

    assert (view["http_status"], view["body"], view["content_type"], view["withheld"]) == (204, None, None, None)


@pytest.mark.control("UC-3.4")
async def test_headers_are_shown_by_name_and_without_the_card(ready: Forwarding):
    named = ["x-request-id", "x-echo", "x-packed", "x-twice"]
    destination = await ready.registered(answer_headers=named)
    ready.company.answering = answer(
        b'{"ok":true}',
        x_request_id="req-1",
        x_echo="4242-4242-4242-4242",
        x_packed="NDI0MjQyNDI0MjQyNDI0Mg==",
        x_twice="one\r\nx-twice: two",
        x_other="never named",
        set_cookie="a=b",
    )

    view = await ready.sent(destination_id=destination)

    assert view["headers"] == {"x-request-id": "req-1"}
    assert view["redactions"] == 2


PARTS = {"number": "number", "name": "holder", "code": "code", "year": "exp_year"}


@pytest.mark.control("UC-3.4")
async def test_an_echo_comes_back_without_the_card_its_holder_and_its_code(ready: Forwarding):
    ready.company.answering = echo()
    template = json.dumps({
        "booking": "bk-7",
        "card": {part: f"{{{{card.{said}}}}}" for part, said in PARTS.items()},
    })  # fmt: skip

    view = await ready.sent(template)

    card = {"number": "[redacted]", "name": "[redacted]", "code": "[redacted]", "year": "2040"}
    assert json.loads(view["body"]) == {"booking": "bk-7", "card": card}
    assert view["redactions"] == 3
