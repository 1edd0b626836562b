"""In the running house: the gateway's own process, the sandbox's provider, nothing shared but HTTP."""

import re
import secrets
import time

import httpx2
import jwt

from gateway.oauth.assertions import ASSERTION_TYPE
from infra.dev import provisioning
from infra.dev.house import House
from tests.support.identity import form_of


async def bearer_of(house: House, client: httpx2.AsyncClient, brand_id: str) -> str:
    agent, now = provisioning.agent_id(brand_id), int(time.time())
    claims = {"iss": agent, "sub": agent, "aud": house.urls["gateway"], "iat": now, "exp": now + 60}
    assertion = jwt.encode({**claims, "jti": secrets.token_hex(8)}, house.agent_key(brand_id), algorithm="EdDSA")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return str((await client.post("/oauth/token", data=form)).json()["access_token"])


async def test_a_person_signs_in_at_the_sandboxs_provider_and_approves_on_its_telephone(house: House):
    brand_id = next(iter(house.brands.values()))[0].brand_id
    email, people = f"{secrets.token_hex(6)}@example.com", f"{house.urls['inbox']}/openid/{provisioning.OPENID_REALM}"
    async with httpx2.AsyncClient(base_url=house.urls["gateway"]) as agent, httpx2.AsyncClient() as browser:
        agent.headers["Authorization"] = f"Bearer {await bearer_of(house, agent, brand_id)}"
        talk = (await agent.post("/v1/conversations", json={"brand_id": brand_id, "channel": "chat"})).json()
        path = f"/v1/conversations/{talk['conversation_id']}"
        asked = (await agent.post(f"{path}/challenges", json={"method": "openid_login"})).json()

        action, hidden = form_of((await browser.get(asked["url"])).text)
        left = await browser.post(house.urls["gateway"] + action, data={**hidden, "answer": "go"})
        page = await browser.get(left.headers["location"])
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))
        answer = {**fields, "email": email, "way": "two_factors", "answer": "sign_in"}
        back = await browser.post(left.headers["location"], data=answer)
        done = await browser.get(back.headers["location"])
        level = (await agent.get(path)).json()["assurance_level"]

        called = (await agent.post(f"{path}/challenges", json={"method": "phone_approval"})).json()
        phone = await browser.get(f"{people}/telephone", params={"email": email})
        waiting = re.search(r'name="auth_req_id" value="([^"]+)"', phone.text)
        assert waiting is not None, phone.text
        pressed = await browser.post(f"{people}/telephone", data={"auth_req_id": waiting[1], "answer": "approve"})

    assert "That worked" in done.text, done.text
    assert level == "strong"
    assert called["match_code"] in phone.text
    assert pressed.status_code == 303
