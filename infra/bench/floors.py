"""The floors: a bare Litestar app on granian with asyncpg, the stack our services stand on, and nothing of ours.

Run by path, in a process of its own: `python -P floors.py PORT FILE [TENANT]`, FILE holding the database's URL.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

TABLE = "CREATE TABLE floor_rows (row_id text PRIMARY KEY, body text NOT NULL)"
INSERT = "INSERT INTO floor_rows (row_id, body) VALUES ($1, $2)"
MEMORIES = (
    "SELECT memory_id, brand_id, tier, sealed, remembered_at FROM memories WHERE tenant_id = $1 AND subject_id = $2"
)
CARD = "SELECT * FROM cards WHERE tenant_id = $1 AND token_id = $2"
CONNECTIONS = 10
"""As many as one of our services keeps."""

Pool = asyncpg.Pool
Body = dict[str, Any]


@post("/plain", status_code=200)
async def plain(data: JSONBody[Body]) -> Body:
    """JSON in, JSON out."""
    return data


@post("/insert", status_code=200)
async def insert(data: JSONBody[Body], pool: NamedDependency[Pool]) -> Body:
    """One row, committed."""
    await pool.execute(INSERT, data["row_id"], data["body"])
    return {"row_id": data["row_id"]}


@post("/memories", status_code=200)
async def memories(data: JSONBody[Body], pool: NamedDependency[Pool]) -> Body:
    """All rows of one subject, as they lie there; ten ids of them in the answer."""
    rows = await pool.fetch(MEMORIES, data["tenant_id"], data["subject_id"])
    return {"count": len(rows), "memory_ids": [row["memory_id"] for row in rows[:10]]}


@post("/card", status_code=200)
async def card(data: JSONBody[Body], pool: NamedDependency[Pool]) -> Body:
    """One stored card, as it lies there."""
    row = await pool.fetchrow(CARD, data["tenant_id"], data["token_id"])
    return {"token_id": row and row["token_id"]}


async def serve(port: int, url: str, tenant_id: str) -> None:
    """Until SIGTERM."""
    settings = {"undercroft.tenant": tenant_id}
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=settings) as pool:
        dependencies = {"pool": Provide(lambda: pool, sync_to_thread=False)}
        app = Litestar(
            [plain, insert, memories, card], dependencies=dependencies, openapi_config=None, logging_config=None
        )
        server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[3]))
