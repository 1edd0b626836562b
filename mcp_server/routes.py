"""What is public: each brand's MCP endpoint, its resource metadata, its pictures."""

from collections.abc import Sequence
from typing import Any

from litestar import Response, asgi, get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from infra.chassis.problems import NotFound
from mcp_server.brands.pack import BrandPack
from mcp_server.endpoint import Address, Endpoint

PICTURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "public, max-age=86400",
    "Access-Control-Allow-Origin": "*",
}
METADATA_HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


def brand_routes(
    pack: BrandPack, address: Address, endpoint: Endpoint, *, issuer: str, scopes: Sequence[str]
) -> list[ControllerRouterHandler]:
    @asgi(address.path, copy_scope=True)
    async def mcp(scope: Scope, receive: Receive, send: Send) -> None:
        """Exactly this path: a mount would change `scope["path"]`."""
        await endpoint(scope, receive, send)

    @get(address.metadata_path)
    async def metadata() -> Response[dict[str, Any]]:
        """RFC 9728: whose bearers this endpoint takes."""
        document = {
            "resource": address.url,
            "authorization_servers": [issuer],
            "scopes_supported": list(scopes),
            "bearer_methods_supported": ["header"],
            "resource_name": pack.brand.name,
        }
        return Response(document, headers=METADATA_HEADERS)

    @get(f"/brands/{address.slug}/pictures/{{name:str}}")
    async def picture(name: FromPath[str]) -> Response[bytes]:
        content = pack.pictures.get(name)
        if content is None:
            raise NotFound
        return Response(content, media_type="image/svg+xml", headers=PICTURE_HEADERS)

    return [mcp, metadata, picture]
