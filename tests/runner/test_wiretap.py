import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.dev.ports import HOST, free_ports
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers all it heard, backwards, once the other side has said everything."""
    writer.write((await reader.read())[::-1])
    await writer.drain()
    writer.close()


@pytest.fixture
async def tapped(tmp_path: Path) -> AsyncIterator[tuple[int, Path]]:
    """The relay's port and its folder, in front of a server that shouts back."""
    server = await asyncio.start_server(shout, HOST, 0)
    target = server.sockets[0].getsockname()[1]
    (port,) = free_ports(1)
    relay = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.dev.wiretap", str(tmp_path), f"shouter={port}:{target}", cwd=ROOT
    )
    await wait_until(lambda: accepts(port))
    yield port, tmp_path
    relay.terminate()
    await relay.wait()
    server.close()


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def say(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(content)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_every_byte_passes_and_is_written_down_in_both_directions(tapped: tuple[int, Path]) -> None:
    port, folder = tapped
    contents = [secrets.token_bytes(300_000), b"", bytes(range(256)) * 10]

    answers = await asyncio.gather(*(say(port, content) for content in contents))

    assert answers == [content[::-1] for content in contents]
    heard = [path.read_bytes() for path in folder.rglob("shouter.*.in.wire")]
    told = [path.read_bytes() for path in folder.rglob("shouter.*.out.wire")]
    assert all(content in heard for content in contents)
    assert all(content[::-1] in told for content in contents)


async def test_a_service_that_is_down_answers_nothing_through_the_relay(
    tapped: tuple[int, Path], tmp_path: Path
) -> None:
    port, dead = free_ports(2)
    relay = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.dev.wiretap", str(tmp_path), f"nobody={port}:{dead}", cwd=ROOT
    )
    await wait_until(lambda: accepts(port))

    assert await say(port, b"") == b""

    relay.terminate()
    await relay.wait()
