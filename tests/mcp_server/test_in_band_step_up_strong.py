# ruff: noqa: S608 - the ids in the statements are the house's own
"""An assistant denied for want of a second factor: challenged in band, its person approves on the phone, it is paid."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client

from gateway.bearers import public_jwk
from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.assistant import Keeper
from infra.dev.demo.person import FormSender, Inbox, Limits
from infra.dev.house import House
from infra.dev.provisioning import OPENID_REALM
from infra.sandbox.openid.realm import realm_of
from tests.mcp_server.test_in_band_step_up import IN_BAND, Shopper
from tests.mcp_server.test_pay import checkout
from tests.support.waiting import BUSY_SECONDS_MAX

Connect = Callable[..., AbstractAsyncContextManager[Client]]
DESK = "agt_desk_of_strong"


class Hands(FormSender):
    """Where one more step is asked for, it is the phone's: asked on the page, approved at the sandbox's telephone."""

    telephone = ""
    steps = 0

    async def agree(self, authorize_url: str, address: str, **limits: str) -> Limits:
        await self._get(authorize_url)
        await self._submit({"email": address})
        await self._submit({"code": await self._inbox.code_for(address)})
        if "One more step" in self._html:
            self.steps += 1
            await self._submit({})
            await self._press(address)
            await self._wait_for_consent()
        await self._submit({**limits, "answer": "agree"})
        return Limits("", "")

    async def _press(self, address: str) -> None:
        async with self._http.get(self.telephone, params={"email": address}) as page:
            found = re.search(r'name="auth_req_id" value="([^"]+)"', await page.text())
        assert found is not None, self._html
        answer = {"auth_req_id": found.group(1), "answer": "approve"}
        async with self._http.post(self.telephone, data=answer) as pressed:
            assert pressed.status == 200

    async def _wait_for_consent(self) -> None:
        """The provider is asked as often as it allows; the page looks at what it said."""
        deadline = asyncio.get_running_loop().time() + BUSY_SECONDS_MAX
        while 'value="agree"' not in self._html:
            assert asyncio.get_running_loop().time() < deadline, self._html
            await asyncio.sleep(0.25)
            await self._get(self._url)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def desk(house: House, http: aiohttp.ClientSession) -> ChatAgent:
    """An agent of the tenant that may change its rules."""
    key = Ed25519PrivateKey.generate()
    house.clusters["house"].sql(
        "INSERT INTO client_directory (client_id, kind, tenant_id, name, scopes, public_jwk)"
        f" VALUES ('{DESK}', 'agent', 'tnt_halden', 'Desk', '{{policy}}', '{json.dumps(public_jwk(key))}');",
        database="gateway",
    )
    agent = ChatAgent(http, house.urls["gateway"], DESK, key)
    await agent.sign_in()
    return agent


@pytest.mark.control("UC-8.9")
async def test_denied_in_band_approved_on_the_phone_and_paid(
    house: House, endpoint: str, assistant: Connect, http: aiohttp.ClientSession, desk: ChatAgent
):
    hands = Hands(http, Inbox(house.urls["inbox"], http))
    hands.telephone = f"{house.urls['inbox']}/openid/{OPENID_REALM}/telephone"
    shopper = Shopper(house, endpoint, hands, Keeper(), f"ada.{secrets.token_hex(6)}@example.com")
    bearer = await shopper.sign_in()
    claims = jwt.decode(bearer, options={"verify_signature": False})
    async with http.get(hands.telephone, params={"email": shopper.address}) as known:
        assert known.status == 200
    sub = realm_of(OPENID_REALM, [], "http://unused.invalid", time.time).sub_of(shopper.address)
    house.clusters["house"].sql(
        "INSERT INTO identity_links (tenant_id, issuer, sub, subject_id, linked_at) VALUES ('tnt_halden',"
        f" '{house.urls['inbox']}/openid/{OPENID_REALM}', '{sub}', '{claims['sub']}', now());",
        database="gateway",
    )
    rule = (
        f'@id("assurance_too_low")\nforbid (principal == Caller::"{claims["client_id"]}",'
        ' action == Action::"purchase", resource)\nwhen { context.level < 3 };\n'
    )
    name = (await desk.post("/v1/policies", {"overlay": {"purchase": rule}}, expect=200))["version_sha256"]
    await desk.post(f"/v1/policies/{name}/shadow", {}, expect=200)
    await desk.post(f"/v1/policies/{name}/activations", {"replaces": None}, expect=200)

    async with assistant(bearer) as client:
        checkout_id = await checkout(client)
        denied = await client.call_tool("pay", {"checkout_id": checkout_id})
    (challenge,) = (denied.meta or {})[IN_BAND]
    told = dict(re.findall(r'([a-z_]+)="([^"]*)"', challenge))
    stronger = await shopper.sign_in(acr_values=told["acr_values"], max_age=told["max_age"])
    async with assistant(stronger) as client:
        allowed = await client.call_tool("pay", {"checkout_id": checkout_id})
    await desk.post("/v1/policies/rollbacks", {"replaces": name}, expect=200)

    assert denied.is_error
    assert (told["acr_values"], told["max_age"]) == ("urn:undercroft:acr:strong", "900")
    assert "uses a passkey or approves it on their phone" in denied.structured_content["message"]
    assert hands.steps == 1
    assert not allowed.is_error
    assert allowed.structured_content["state"] == "needs_card"
