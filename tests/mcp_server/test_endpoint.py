"""The door of a brand: who may come in, and what a malformed knock gets. Against the real process over real HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.dev.house import House
from tests.support.waiting import BUSY_SECONDS_MAX

Mint = Callable[..., str]
BOTH = "application/json, text/event-stream"
PAN = "4242424242424242"


def call(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def modern(
    method: str, capabilities: dict[str, Any] | None = None, **params: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Accept": BOTH}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return call(method, **params, _meta=meta), headers


def bearing(bearer: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {bearer}", "Accept": BOTH, "Content-Type": "application/json", **headers}


async def test_without_a_bearer_the_answer_says_where_to_read_on_and_what_to_ask_for(
    http: httpx2.AsyncClient, endpoint: str, house: House
):
    for method in ("GET", "POST", "DELETE"):
        answer = await http.request(method, endpoint)
        challenge = answer.headers["www-authenticate"]
        metadata = f"{house.urls['mcp_server']}/.well-known/oauth-protected-resource/brands/lumen-and-loom/mcp"
        assert answer.status_code == 401
        assert challenge == f'Bearer resource_metadata="{metadata}", scope="catalog memory purchase"'
        assert answer.json()["code"] == "bearer_refused"


async def test_the_metadata_names_exactly_this_endpoint_and_its_authorization_server(
    http: httpx2.AsyncClient, endpoint: str, house: House
):
    answer = await http.get(
        f"{house.urls['mcp_server']}/.well-known/oauth-protected-resource/brands/lumen-and-loom/mcp"
    )
    document = answer.json()
    assert (document["resource"], document["authorization_servers"]) == (endpoint, [house.urls["gateway"]])
    assert document["bearer_methods_supported"] == ["header"]
    for path in (
        "/.well-known/oauth-protected-resource/brands/other/mcp",
        "/brands/other/mcp",
        "/brands/lumen-and-loom/mcp/",
    ):
        missing = await http.post(house.urls["mcp_server"] + path) if "other/mcp" in path else answer
        assert missing.status_code in {200, 404, 405}


ANOTHER_KEY = Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere.example/mcp"},
        {"aud": ["https://elsewhere.example/mcp"]},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"exp": "9999999999"},
        {"iat": 99_999_999_999},
        {"kind": "agent"},
        {"kind": "mcp_server"},
        {"brand": "brd_other"},
        {"tenant": "tnt_other"},
        {"sub": ""},
        {"cnv": 7},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "undercroft-grant+jwt"}},
        {"header": {"kid": "unknown"}},
        {"key": ANOTHER_KEY},
        *[
            {"without": name}
            for name in (
                "aud",
                "exp",
                "iat",
                "iss",
                "jti",
                "sub",
                "client_id",
                "cnv",
                "brand",
                "tenant",
                "kind",
                "scope",
            )
        ],
    ],
    ids=lambda wrong: str(wrong) if wrong.get("key") is None else "another key",
)
@pytest.mark.control("UC-8.1")
async def test_a_bearer_that_is_wrong_in_any_one_way_is_refused_alike(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint, changes: dict[str, Any]
):
    answer = await http.post(endpoint, json=call(), headers=bearing(mint(**changes)))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["detail"] == "A valid bearer for this endpoint is needed."


async def test_an_audience_list_that_holds_this_endpoint_among_others_is_refused(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint
):
    answer = await http.post(endpoint, json=call(), headers=bearing(mint(aud=[endpoint, "https://other.example"])))
    assert answer.status_code == 401


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "bearer x.y.z", "Bearer " + "a" * 5000, "x"])
async def test_what_is_no_bearer_at_all_is_refused(http: httpx2.AsyncClient, endpoint: str, value: str):
    answer = await http.post(endpoint, json=call(), headers={"Authorization": value})
    assert answer.status_code == 401


async def test_a_bearer_in_the_address_is_refused_even_beside_a_good_one(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint
):
    bearer = mint()
    for headers in ({}, bearing(bearer)):
        answer = await http.post(f"{endpoint}?access_token={bearer}", json=call(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bearer_in_url")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403)],
)
async def test_another_host_or_origin_is_refused(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint, headers: dict[str, str], status: int
):
    answer = await http.post(endpoint, json=call(), headers={**bearing(mint()), **headers})
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD"])
async def test_only_post_is_answered(http: httpx2.AsyncClient, endpoint: str, mint: Mint, method: str):
    answer = await http.request(method, endpoint, headers=bearing(mint()))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xef\xbb\xbf{}", -32700),
        (b"\xff", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","name":"search_catalog"}}', -32700),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 30 + b',"method":"ping"}', -32700),
        (b"[" * 100 + b"]" * 100, -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'"ping"', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{"x":1},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":["' + PAN.encode() + b'"]}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","' + PAN.encode() + b'":1}', -32600),
    ],
)
@pytest.mark.control("UC-E.1")
async def test_a_message_that_is_not_one_plain_request_is_refused_without_an_echo(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint, body: bytes, code: int
):
    answer = await http.post(endpoint, content=body, headers=bearing(mint()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert PAN not in answer.text


async def test_five_megabytes_are_refused_before_anything_reads_them(house: House, mint: Mint):
    address = urlsplit(house.urls["mcp_server"])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    lines = [
        "POST /brands/lumen-and-loom/mcp HTTP/1.1",
        f"Host: {address.netloc}",
        "Content-Type: application/json",
        "Content-Length: 5000000",
        f"Authorization: Bearer {mint()}",
    ]
    writer.write("\r\n".join([*lines, "", "{"]).encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUSY_SECONDS_MAX)
    body = await asyncio.wait_for(reader.read(4_000), BUSY_SECONDS_MAX)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"body_too_large"' in body


async def test_another_content_type_is_refused(http: httpx2.AsyncClient, endpoint: str, mint: Mint):
    answer = await http.post(
        endpoint, content=json.dumps(call()).encode(), headers={**bearing(mint()), "Content-Type": "text/plain"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("tool", "scope"),
    [
        ("search_catalog", "catalog"),
        ("get_product", "catalog"),
        ("create_checkout", "catalog"),
        ("update_checkout", "catalog"),
        ("pay", "catalog purchase"),
        ("get_order", "purchase"),
        ("recall", "memory"),
        ("remember", "memory"),
    ],
)
async def test_a_tool_outside_the_bearers_scope_is_refused_naming_all_it_needs(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint, tool: str, scope: str
):
    others = " ".join({"catalog", "purchase", "memory"} - {scope.rsplit(maxsplit=1)[-1]})
    answer = await http.post(
        endpoint, json=call("tools/call", name=tool, arguments={}), headers=bearing(mint(scope=others))
    )
    assert answer.status_code == 403
    assert 'error="insufficient_scope", resource_metadata="http' in answer.headers["www-authenticate"]
    assert answer.headers["www-authenticate"].endswith(f'scope="{scope}"')


async def test_a_header_that_contradicts_the_body_is_refused(http: httpx2.AsyncClient, endpoint: str, mint: Mint):
    body, headers = modern("tools/call", name="search_catalog", arguments={})
    for wrong in ({"Mcp-Method": "tools/list"}, {"Mcp-Name": "pay"}):
        answer = await http.post(endpoint, json=body, headers={**bearing(mint()), **headers, **wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_a_request_state_nobody_sealed_is_refused(http: httpx2.AsyncClient, endpoint: str, mint: Mint):
    body, headers = modern(
        "tools/call", name="pay", arguments={"checkout_id": "chk_" + "b" * 26}, requestState="psd_forged"
    )
    answer = await http.post(endpoint, json=body, headers={**bearing(mint()), **headers})
    assert answer.json()["error"]["message"] == "Invalid or expired requestState"


async def test_an_unknown_tool_or_method_is_an_error_that_repeats_nothing(
    http: httpx2.AsyncClient, endpoint: str, mint: Mint
):
    body, headers = modern("tools/call", name="x" + PAN, arguments={})
    answer = await http.post(endpoint, json=body, headers={**bearing(mint()), **headers})
    assert answer.json()["error"]["code"] == -32602
    assert PAN not in answer.text
    body, headers = modern("resources/list")
    assert (await http.post(endpoint, json=body, headers={**bearing(mint()), **headers})).status_code == 404


async def test_a_handshake_belongs_to_who_made_it(http: httpx2.AsyncClient, endpoint: str, mint: Mint):
    initialize = call(
        "initialize",
        protocolVersion="2025-11-25",
        capabilities={"elicitation": {"url": {}}},
        clientInfo={"name": "t", "version": "1"},
    )
    given = (await http.post(endpoint, json=initialize, headers=bearing(mint()))).headers["mcp-session-id"]
    version = {"MCP-Protocol-Version": "2025-11-25"}
    mine = await http.post(endpoint, json=call(), headers=bearing(mint(), **version, **{"Mcp-Session-Id": given}))
    assert mine.status_code == 200
    for bearer, session in (
        (mint(sub="sub_other"), given),
        (mint(client_id="ast_other"), given),
        (mint(), given[:-2]),
        (mint(), "x"),
    ):
        answer = await http.post(
            endpoint, json=call(), headers=bearing(bearer, **version, **{"Mcp-Session-Id": session})
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "handshake_unknown")


async def test_pictures_are_shown_and_can_do_nothing(http: httpx2.AsyncClient, house: House):
    url = f"{house.urls['mcp_server']}/brands/lumen-and-loom/pictures"
    picture = await http.get(f"{url}/dusk-table-lamp.svg")
    assert (picture.status_code, picture.headers["content-type"].split(";")[0]) == (200, "image/svg+xml")
    assert "default-src 'none'" in picture.headers["content-security-policy"]
    for name in ("missing.svg", "..%2fcatalog.toml", "%2e%2e/brand.toml"):
        assert (await http.get(f"{url}/{name}")).status_code == 404
