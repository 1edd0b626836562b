"""What one tool call over MCP costs beside a plain POST."""

import json
from typing import Any

from infra.bench.callers import assistant_headers, first_brand
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure
from infra.bench.stage import Door, client, floors_beside, fresh_house, measured

MODERN = "2026-07-28"
SEARCH_BAR = 12.0
"""Ours: 9.2 was measured, a third is margin. A bearer is checked, the official SDK reads and writes the message, forty
products are ranked and their stock is looked up."""


async def measure() -> list[Figure]:
    with fresh_house("gateway", "mcp_server") as house:
        tenant_id, brand = first_brand(house)
        async with floors_beside(house, "mcp_server") as floors, client() as http:
            endpoint = Endpoint(Door(http, brand.resource_url), assistant_headers(house, tenant_id, brand))
            plain = Door(http, floors)

            async def search() -> Call:
                return lambda: endpoint.tool("search_catalog", query="bedside lamp", price_minor_max=10_000)

            async def post() -> Call:
                body, _ = request("search_catalog", query="bedside lamp", price_minor_max=10_000)
                return lambda: plain.post("/plain", body)

            comparison = Comparison(
                figure="mcp_server: tools/call search_catalog",
                floor_is="a bare Litestar handler that answers the JSON it was sent",
                ours=search,
                floor=post,
                bar=SEARCH_BAR,
            )
            return [await measured(comparison)]


def request(tool: str, **arguments: Any) -> tuple[bytes, dict[str, str]]:
    """One `tools/call` of the protocol's 2026 era, in which a request stands alone, and the headers that go with it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    return json.dumps(message).encode(), headers


class Endpoint:
    """A brand's MCP endpoint, spoken to without the SDK's client, whose cost is not ours."""

    def __init__(self, door: Door, headers: dict[str, str]) -> None:
        self._door = door
        self._headers = headers

    async def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer. Raises BenchFailed when the tool refused."""
        body, headers = request(name, **arguments)
        answer = json.loads(await self._door.post("", body, {**self._headers, **headers}))
        result: dict[str, Any] = answer.get("result", {})
        if "structuredContent" not in result or result.get("isError"):
            raise BenchFailed(f"{name} was answered {str(answer)[:300]}")
        content: dict[str, Any] = result["structuredContent"]
        return content
