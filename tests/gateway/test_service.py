"""The process itself: what it needs to start, and what it says to input that makes no sense."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import load_keys
from infra.chassis.settings import SettingsIncomplete
from tests.gateway.shop import AGENT, CART, GOOD_CARD, LARKSPUR, MCP, Shop
from tests.support.waiting import BUSY_SECONDS_MAX


def run_gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("UNDERCROFT_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=BUSY_SECONDS_MAX,
        check=False,
    )


def test_without_settings_the_process_does_not_start_and_names_what_is_missing():
    ended = run_gateway()

    assert ended.returncode == 2
    for name in ("BIND", "PUBLIC_URL", "DATABASE_URL_FILE", "VAULT_URL", "MEMORY_URL", "INBOX_URL", "KEYS_FOLDER"):
        assert f"UNDERCROFT_GATEWAY_{name} is missing" in ended.stderr


def test_plain_http_is_for_the_sandbox_only(tmp_path: Path):
    (tmp_path / "url").write_text("postgresql+asyncpg://nobody@localhost/nothing")
    named = {
        "BIND": "127.0.0.1:0",
        "PUBLIC_URL": "http://gateway.example",
        "VAULT_PAGE_URL": "https://cards.example",
        "VAULT_URL": "http://vault",
        "MEMORY_URL": "http://memory",
        "INBOX_URL": "http://inbox",
        "TEXTING_URL": "http://texting",
        "TEXTING_FROM": "+15005550006",
        "TEXTING_ACCOUNT_FILE": str(tmp_path / "url"),
        "KEYS_FOLDER": str(tmp_path),
        "CARRIERS_FOLDER": str(tmp_path),
        "DATABASE_URL_FILE": str(tmp_path / "url"),
    }

    ended = run_gateway(**{f"UNDERCROFT_GATEWAY_{name}": value for name, value in named.items()})

    assert (ended.returncode, "UNDERCROFT_GATEWAY_PUBLIC_URL must be https" in ended.stderr) == (2, True)


def test_missing_keys_are_named_without_what_they_hold(tmp_path: Path):
    (tmp_path / "grant.pem").write_bytes(b"not a key at all")

    with pytest.raises(SettingsIncomplete) as refused:
        load_keys(tmp_path)

    said = str(refused.value)
    assert all(name in said for name in ("bearer.pem", "grant.pem", "record.pem", "contact.key"))
    assert "not a key" not in said


async def test_it_is_ready_and_describes_itself(shop: Shop):
    ready = await shop.client.get("/ready")
    described = (await shop.client.get("/schema/openapi.json")).json()

    assert ready.json() == {"database": "ok"}
    assert {"/v1/purchases", "/v1/recalls", "/v1/conversations"} <= described["paths"].keys()


ROUTES = [
    ("POST", "/v1/conversations"),
    ("GET", "/v1/conversations/cnv_x"),
    ("POST", "/v1/conversations/cnv_x/challenges"),
    ("POST", "/v1/challenges/chl_x/answers"),
    ("PUT", "/v1/quotes/cko_x"),
    ("GET", "/v1/quotes/cko_x"),
    ("POST", "/v1/purchases"),
    ("GET", "/v1/purchases"),
    ("POST", "/v1/purchases/pur_x/refunds"),
    ("POST", "/v1/memories"),
    ("POST", "/v1/recalls"),
    ("POST", "/v1/erasures"),
    ("GET", "/v1/mandates"),
    ("POST", "/v1/mandates/mnd_x/revocations"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_route_answers_without_a_bearer(shop: Shop, method: str, path: str):
    answers = [
        await shop.client.request(method, path, json={} if method != "GET" else None),
        await shop.call(method, path, "not-a-bearer", {} if method != "GET" else None),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "bearer_refused")}


PURCHASE = '"checkout_id":"cko_nothing","conversation_id":"cnv_nothing"'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f'{{{PURCHASE},"cart_sha256":"{CART}","cart_sha256":"{CART}"}}', 400),
        (f'{{{PURCHASE},"cart_sha256":NaN}}', 400),
        (f'{{{PURCHASE},"cart_sha256":1e2}}', 400),
        (f'\ufeff{{{PURCHASE},"cart_sha256":"{CART}"}}', 400),
        ("[" * 200, 400),
        ("", 422),
        ("[]", 422),
        (f"{{{PURCHASE}}}", 422),
        (f'{{{PURCHASE},"cart_sha256":"{CART}","subject_id":"sub_ada"}}', 422),
        (f'{{"checkout_id":"cko\u200b_nothing","conversation_id":"cnv_nothing","cart_sha256":"{CART}"}}', 422),
        ('{"text":"' + "x" * 5_000_000 + '"}', 413),
    ],
    ids=["twice", "NaN", "1e2", "BOM", "deep", "empty", "list", "missing", "unknown", "zero width", "5 MB"],
)
async def test_a_body_that_makes_no_sense_is_refused(shop: Shop, body: str, status: int):
    headers = {"Authorization": f"Bearer {await shop.bearer(AGENT)}", "Content-Type": "application/json"}

    answer = await shop.client.post("/v1/purchases", content=body.encode(), headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("named", ["cko_x' OR 1=1", "cko_%00", "x", "cko_" + "a" * 80, f"cko_{GOOD_CARD}"])
async def test_an_id_that_is_none_names_nothing(shop: Shop, named: str):
    quote: dict[str, Any] = {
        "brand_id": LARKSPUR,
        "cart_sha256": CART,
        "amount_minor": 1,
        "currency": "USD",
        "description": "x",
    }

    put = await shop.call("PUT", f"/v1/quotes/{named}", await shop.bearer(MCP), quote)
    refunded = await shop.call(
        "POST",
        f"/v1/purchases/{named}/refunds",
        await shop.bearer(AGENT),
        {"amount_minor": 1, "request_key": "some-key-1"},
    )

    assert put.status_code in {404, 422}
    assert refunded.status_code == 404
