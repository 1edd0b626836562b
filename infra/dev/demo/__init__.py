"""The demo: one purchase and one memory, front door to front door, through services that run apart.

Nothing here reaches behind a front door: the assistant is the official `mcp` client, the person a browser, the agent
an HTTP client with its own key. What is checked behind the doors is checked by looking (the sandbox's charges, the
record, the bytes on disk), never by changing.
"""

import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp

from infra.dev.demo.aftermath import tell_aftermath
from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.conversation import BRAND, tell_conversation
from infra.dev.demo.person import Inbox, arrive
from infra.dev.demo.purchase import Stage, tell_purchase
from infra.dev.demo.story import DidNotHappen, Story
from infra.dev.house import House
from infra.dev.provisioning import agent_id

__all__ = ["play"]


def play(house: House) -> int:
    """Tell the story against a running house; 0 only if everything in it happened."""
    story = Story()
    started = time.perf_counter()
    try:
        asyncio.run(_play(house, story))
    except Exception as failure:  # noqa: BLE001 - whatever went wrong, the story ends with a sentence and exit code 1
        story.say(f"\nThe story broke: {_first_cause(failure)}.")
        story.say(f"The logs are in {house.logs}.")
        return 1
    story.say(f"\nEverything in the story happened, in {time.perf_counter() - started:.1f} s.")
    return 0


def _first_cause(failure: BaseException) -> str:
    """What broke it: the SDK wraps what its callbacks raise into groups, one in the other."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return str(failure) if isinstance(failure, DidNotHappen) else f"{type(failure).__name__}: {failure}"


async def _play(house: House, story: Story) -> None:
    timeout = aiohttp.ClientTimeout(total=30)
    with tempfile.TemporaryDirectory(prefix="undercroft-demo-") as profile:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            inbox = Inbox(house.urls["inbox"], http)
            async with arrive(inbox, Path(profile)) as person:
                stage = Stage(house=house, story=story, http=http, inbox=inbox, person=person)
                bought = await tell_purchase(stage)
            agent = ChatAgent(http, house.urls["gateway"], agent_id(BRAND), house.agent_key(BRAND))
            await tell_conversation(stage, agent, bought)
            await tell_aftermath(stage, agent, bought)
