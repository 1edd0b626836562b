import json
import re
import string
from typing import Any

import httpx2
import msgspec
import pytest
from litestar import get, post
from litestar.params import JSONBody

from infra.chassis import http, ids, trace
from infra.chassis.ids import new_id


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    count: int
    name: str = "x"


@post("/v1/things")
async def make(data: JSONBody[Body]) -> Body:
    return data


@get("/v1/breaks")
async def breaks() -> None:
    msg = "secret 4242424242424242"
    raise RuntimeError(msg)


async def _missing() -> bool:
    raise OSError


@pytest.fixture
async def client():
    app = http.build_app(service="test", routes=[make, breaks], ready={"database": _missing})
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's and httpx2's scope types differ
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def send(client: httpx2.AsyncClient, body: bytes) -> httpx2.Response:
    return await client.post("/v1/things", content=body, headers={"content-type": "application/json"})


async def test_a_good_body_is_answered(client: httpx2.AsyncClient):
    answer = await send(client, b'{"count":3}')

    assert (answer.status_code, answer.json()) == (201, {"count": 3, "name": "x"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"count":1,"count":2}', 400, "body_invalid"),
        (b'{"count":NaN}', 400, "body_invalid"),
        (b'{"count":1e2}', 400, "body_invalid"),
        (b"\xef\xbb\xbf{}", 400, "body_invalid"),
        (b'{"count":"1"}', 422, "fields_invalid"),
        (b'{"count":true}', 422, "fields_invalid"),
        (b'{"count":1,"4242424242424242":1}', 422, "fields_invalid"),
        (b"{}", 422, "fields_invalid"),
        (b"[]", 422, "fields_invalid"),
        (b'{"name":"' + b"x" * 5_000_000 + b'"}', 413, "body_too_large"),
    ],
)
@pytest.mark.control("UC-E.1", "UC-L.1")
async def test_a_bad_body_gets_a_problem_that_repeats_nothing(
    client: httpx2.AsyncClient, body: bytes, status: int, code: str
):
    answer = await send(client, body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["type"] == f"urn:undercroft:problem:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "4242" not in answer.text


@pytest.mark.control("UC-L.1")
async def test_an_unexpected_error_is_a_bare_500(client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]):
    answer = await client.get("/v1/breaks")

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "4242" not in answer.text + capsys.readouterr().out


async def test_readiness_says_what_is_missing_and_health_does_not_depend_on_it(client: httpx2.AsyncClient):
    ready, health = await client.get("/ready"), await client.get("/health")

    assert (ready.status_code, ready.json()) == (503, {"database": "missing"})
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


async def test_metrics_count_by_route_template_and_hold_no_path(client: httpx2.AsyncClient):
    await client.get("/v1/unknown/4242424242424242")
    await send(client, b'{"count":1}')

    text = (await client.get("/metrics")).text

    assert 'http_requests_total{method="POST",route="/v1/things",status="201"} 1.0' in text
    assert "4242" not in text


@pytest.mark.control("UC-L.1")
async def test_a_made_up_method_is_no_label_of_a_metric(client: httpx2.AsyncClient):
    await client.request("4242424242424242", "/v1/things")

    text = (await client.get("/metrics")).text

    assert 'http_requests_total{method="other",route="unmatched",status="405"} 1.0' in text
    assert "4242" not in text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-42424242424242420000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce424242424242-00f067aa0ba902b7-01", True),
        ("00-42424242424a4242a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("nonsense", False),
        (None, False),
    ],
)
@pytest.mark.control("UC-L.1")
def test_a_trace_is_continued_unless_it_is_malformed_or_card_like(sent: str | None, kept: bool):
    here = trace.begin(sent)

    assert (sent is not None and here.trace_id in sent) is kept
    assert trace.TRACEPARENT.match(here.traceparent)


@pytest.mark.parametrize("sent", [None, "00-4bf92f3577b34da6a3ce424242424242-00f067aa0ba902b7-01"])
@pytest.mark.control("UC-3.1")
def test_no_trace_of_ours_has_thirteen_digits_in_a_row_with_dashes_or_without(sent: str | None):
    for _ in range(2_000):
        told = trace.begin(sent).traceparent
        assert re.search(r"[0-9]{13}", told.replace("-", "")) is None, told


@pytest.mark.parametrize("kind", ["tok", "cap", "chg", "evt", "jti", "x1"])
@pytest.mark.control("UC-3.1")
def test_an_id_of_any_kind_is_letters_but_for_its_kind(kind: str):
    """By its alphabet, so that no drawing can be unlucky."""
    assert set(ids.ALPHABET) <= set(string.ascii_lowercase)
    assert all(set(new_id(kind).removeprefix(f"{kind}_")) <= set(ids.ALPHABET) for _ in range(200))


@pytest.mark.control("UC-7.3")
async def test_problem_bodies_of_missing_things_differ_only_in_the_request_id(client: httpx2.AsyncClient):
    def stripped(answer: httpx2.Response) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(answer.text)
        del body["request_id"]
        return body

    first, second = await client.get("/v1/a"), await client.get("/v1/b/c")

    assert stripped(first) == stripped(second)
