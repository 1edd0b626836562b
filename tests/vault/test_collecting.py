"""What only holds itself, as an error and its frames do, is given back soon: only then is it overwritten."""

import asyncio
import gc
import weakref

from vault import scrubbing


class Held:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_only_holds_itself_is_gone_after_a_turn_though_nothing_else_happens():
    gc.disable()  # as good as: with little work it comes in minutes
    stop = asyncio.Event()
    try:
        held = weakref.ref(Held())
        stayed = held() is not None
        collecting = asyncio.ensure_future(scrubbing.collect(stop))
        await asyncio.sleep(0)
        gone = held() is None
        stop.set()
        await collecting
    finally:
        gc.enable()

    assert (stayed, gone) == (True, True)
