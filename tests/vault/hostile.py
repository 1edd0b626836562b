"""A server on loopback that answers as it pleases: what stands between us and a processor on a bad day."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

LOGIN = b'{"token": "bearer-of-the-day", "expires_at": "2099-01-01T00:00:00+0000"}'
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@dataclass(slots=True)
class Hostile:
    """`asked` counts requests that were answered in the hostile way; `url` is its address."""

    url: str
    behave: Behaviour
    asked: int = 0


def whole(status: str, body: bytes, *headers: bytes) -> bytes:
    lines = (f"HTTP/1.1 {status}".encode(), b"content-length: %d" % len(body), b"connection: close", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@asynccontextmanager
async def hostile(behave: Behaviour) -> AsyncIterator[Hostile]:
    """Logins work, so that it is the call itself which goes wrong."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        body = await reader.readexactly(length)
        if b"/authentication/login" in head.partition(b"\r\n")[0]:
            writer.write(whole("201 Created", LOGIN))
        else:
            stands.asked += 1
            await stands.behave(reader, writer, body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    stands = Hostile(f"http://127.0.0.1:{port}", behave)
    try:
        yield stands
    finally:
        server.close()
        await server.wait_closed()
