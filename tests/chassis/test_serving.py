"""How a serving process ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from infra.chassis.http import Listener, build_app, serve
from infra.chassis.settings import Bind
from tests.support.serving import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("own_signals")
Background = Callable[[asyncio.Event], Awaitable[None]]


@pytest.fixture
async def own_signals() -> AsyncIterator[None]:
    """`serve` takes this process's signals; afterwards they are as before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, handler)


async def served(*background: Background) -> None:
    app = build_app(service="none", routes=())
    await serve([Listener(app, Bind("127.0.0.1", free_port()))], background)


async def asks_to_end(stop: asyncio.Event) -> None:
    """A signal, as whoever runs the process sends it."""
    os.kill(os.getpid(), signal.SIGTERM)
    await wait_until(stop.is_set)


async def test_a_background_task_that_ends_with_the_signal_is_no_failure():
    await served(asks_to_end, until_stopped)


async def until_stopped(stop: asyncio.Event) -> None:
    """Ends in the same turn of the loop in which the signal is noticed."""
    await stop.wait()


async def test_a_background_task_that_fails_with_the_signal_is_one(capsys: pytest.CaptureFixture[str]):
    async def fails(stop: asyncio.Event) -> None:
        await stop.wait()
        msg = "what was written last is lost"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="lost"):
        await served(asks_to_end, fails)

    assert "background_ended" in capsys.readouterr().out


async def test_a_background_task_that_ends_by_itself_ends_the_process():
    async def ends(_stop: asyncio.Event) -> None:
        await asyncio.sleep(0)

    with pytest.raises(SystemExit, match="1"):
        await served(until_stopped, ends)
