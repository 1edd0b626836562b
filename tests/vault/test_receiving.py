"""What a vault receives comes in pieces that are no larger than it says."""

import asyncio
from asyncio import selector_events

import pytest

from tests.support.waiting import wait_until
from vault import scrubbing

SENT = b"x" * (5 * scrubbing.RECEIVED_BYTES_MAX)


class Pieces(asyncio.Protocol):
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.all_there = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if sum(self.sizes) == len(SENT):
            self.all_there.set_result(None)


async def test_what_is_received_comes_in_pieces_that_are_no_larger_than_what_is_taken_for_them(
    monkeypatch: pytest.MonkeyPatch,
):
    transport_class = selector_events._SelectorTransport  # type: ignore[attr-defined]  # noqa: SLF001 - as in scrubbing.py
    monkeypatch.setattr(transport_class, "max_size", transport_class.max_size)  # put back afterwards
    made: list[Pieces] = []

    def protocol() -> Pieces:
        made.append(Pieces())
        return made[-1]

    scrubbing.receive_in_small_pieces()
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(SENT)
    await writer.drain()
    await wait_until(lambda: bool(made) and made[0].all_there.done())
    writer.close()
    server.close()

    assert max(made[0].sizes) <= scrubbing.RECEIVED_BYTES_MAX
    assert sum(made[0].sizes) == len(SENT)
