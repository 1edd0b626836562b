"""The brand's own chat agent: its key, its bearer, and the gateway's REST API."""

import time
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.chassis.ids import new_id
from infra.dev.demo.story import DidNotHappen

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ChatAgent:
    """Signs in with `private_key_jwt` (RFC 7523) and speaks JSON."""

    def __init__(self, http: aiohttp.ClientSession, gateway_url: str, client_id: str, key: Ed25519PrivateKey) -> None:
        self._http = http
        self._gateway = gateway_url
        self._client_id = client_id
        self._key = key
        self._bearer = ""

    async def sign_in(self) -> None:
        now = int(time.time())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._gateway,
            "iat": now,
            "exp": now + 60,
            "jti": new_id("jti"),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(claims, self._key, algorithm="EdDSA"),
        }
        async with self._http.post(f"{self._gateway}/oauth/token", data=form) as answer:
            body = await answer.json()
            if "access_token" not in body:
                raise DidNotHappen(f"the agent got no bearer: {body.get('error')}")
            self._bearer = body["access_token"]

    async def post(self, path: str, body: dict[str, Any], *, expect: int | None = None) -> dict[str, Any]:
        return await self._send("POST", path, body, expect)

    async def get(self, path: str) -> dict[str, Any]:
        return await self._send("GET", path, None, 200)

    async def _send(self, method: str, path: str, body: dict[str, Any] | None, expect: int | None) -> dict[str, Any]:
        """The JSON answer, with its status under `http_status`; raises when `expect` is another one."""
        headers = {"Authorization": f"Bearer {self._bearer}"}
        async with self._http.request(method, self._gateway + path, json=body, headers=headers) as answer:
            document: dict[str, Any] = await answer.json(content_type=None)
            if expect is not None and answer.status != expect:
                raise DidNotHappen(f"{method} {path} answered {answer.status} {document.get('code', '')}")
            return {**document, "http_status": answer.status}
