"""Every trap of compact JWSs at a brand's endpoint, where assistants bring their bearers."""

import httpx2
import jwt
import pytest

from infra.dev.house import House
from tests.mcp_server.conftest import Mint
from tests.support.forging import TRAPS, Genuine

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.fixture(scope="module")
def genuine(house: House, mint: Mint) -> Genuine:
    compact = mint()
    return Genuine(
        house.keyring.private_key("gateway/keys/bearer.pem"),
        jwt.get_unverified_header(compact),
        jwt.decode(compact, options={"verify_signature": False}),
    )


async def asked(http: httpx2.AsyncClient, endpoint: str, bearer: str) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json, text/event-stream"}
    return await http.post(endpoint, json=CALL, headers=headers)


async def test_what_the_traps_are_made_from_opens_the_door(http: httpx2.AsyncClient, endpoint: str, genuine: Genuine):
    assert (await asked(http, endpoint, genuine.compact)).status_code == 200


@pytest.mark.control("UC-8.1")
async def test_a_forged_bearer_is_answered_like_every_other(http: httpx2.AsyncClient, endpoint: str, genuine: Genuine):
    """In one test, because a request is 2 ms and setting up a test is 20."""
    let_in = {}
    for trap, forge in TRAPS.items():
        try:
            answer = await asked(http, endpoint, forge(genuine))
        except httpx2.LocalProtocolError:
            continue  # a line break in a header: no client can send it
        seen = (
            answer.status_code,
            answer.json()["code"],
            'error="invalid_token"' in answer.headers["www-authenticate"],
        )
        if seen != (401, "bearer_refused", True):
            let_in[trap] = seen

    assert let_in == {}


@pytest.mark.parametrize("changes", [{"act": {"sub": "mcp_main"}}, {"nbf": 1}, {"sub": ""}, {"tenant": 7}], ids=str)
async def test_a_bearer_of_the_gateways_own_key_that_is_not_shaped_like_an_assistants_is_refused(
    http: httpx2.AsyncClient, endpoint: str, genuine: Genuine, changes: dict[str, object]
):
    assert (await asked(http, endpoint, genuine.but(**changes))).status_code == 401
