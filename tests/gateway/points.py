"""An enforcement point at the AuthZEN listener of the shop's gateway."""

from typing import Any

import httpx2

from tests.gateway.shop import Talk

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"


class Point:
    """An enforcement point at the listener."""

    def __init__(self, client: httpx2.AsyncClient, bearer: str) -> None:
        self.client, self.bearer = client, bearer

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        return await self.client.post(path, json=body, headers={"Authorization": f"Bearer {self.bearer}", **headers})

    async def ask(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.post(path, body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def may(self, talk: Talk, action: str, kind: str, identifier: str, **more: Any) -> dict[str, Any]:
        properties = more.pop("properties", {})
        return await self.ask(
            EVALUATION,
            subject={"type": "conversation", "id": talk.conversation_id},
            action={"name": action, "properties": properties},
            resource={"type": kind, "id": identifier},
            **more,
        )
