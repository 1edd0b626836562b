"""From the final request to the answer of a recall, prepared while the person spoke and not prepared."""

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.contract import PreparationRequest, PreparationView, RecallRequest, RecallView
from infra.bench.callers import Grants
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure
from infra.bench.memory import LIMIT, MEMORIES, Subject
from infra.bench.stage import Door, client, fresh_house, measured
from infra.bench.talk import Conversation, conversation
from infra.cli.console import Progress

PREPARED_BAR: Final = 0.8
"""Ours: what is prepared has to be felt, or it is not worth its work."""
HEARD: Final = "a lamp she"
ASKED: Final = "a lamp she reads by"
READY_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.01
_PREPARED = re.compile(r'http_requests_total\{method="POST",route="/v1/preparations",status="200"\} ([\d.]+)')


async def measure() -> list[Figure]:
    with fresh_house("sandbox", "memory", "gateway") as house:
        async with client() as http:
            at = await conversation(house, http)
            kept = Door(http, house.urls["memory"])
            with Progress(f"gateway: {MEMORIES:,} remembered, to recall from"):
                await Subject(kept, Grants(house, "memory"), at.tenant_id, at.brand_id, at.subject_id).fill()
            asking = _Asking(at, kept)
            comparison = Comparison(
                figure=f"gateway: POST /v1/recalls over {MEMORIES:,} memories, prepared",
                floor_is="the same recall, not prepared",
                ours=asking.prepared,
                floor=asking.plain,
                bar=PREPARED_BAR,
                calls=3,
            )
            return [await measured(comparison)]


@dataclass(frozen=True, slots=True)
class _Asking:
    at: Conversation
    memory: Door

    async def plain(self) -> Call:
        return self._recall(None)

    async def prepared(self) -> Call:
        """The person goes on speaking until the memory has done its part, by the memory's own count."""
        before = await self._done()
        request = PreparationRequest(query=HEARD, conversation_id=self.at.conversation_id)
        answer = await self.at.door.post(
            "/v1/recalls/preparations", msgspec.json.encode(request), self.at.headers, expect=201
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while await self._done() == before:
            if time.monotonic() > deadline:
                raise BenchFailed("the memory did not prepare what it was asked to")
            await asyncio.sleep(POLL_SECONDS)
        return self._recall(msgspec.json.decode(answer, type=PreparationView).preparation_id)

    def _recall(self, preparation_id: str | None) -> Call:
        request = RecallRequest(
            query=ASKED, limit=LIMIT, conversation_id=self.at.conversation_id, preparation_id=preparation_id
        )
        body = msgspec.json.encode(request)

        async def full() -> None:
            answer = await self.at.door.post("/v1/recalls", body, self.at.headers)
            found = len(msgspec.json.decode(answer, type=RecallView).memories)
            if found != LIMIT:
                raise BenchFailed(f"a recall of {LIMIT} found {found}: {json.loads(answer)['decision']['outcome']}")

        return full

    async def _done(self) -> int:
        text = (await self.memory.send("GET", "/metrics", None, {})).decode()
        found = _PREPARED.search(text)
        return int(float(found.group(1))) if found else 0
