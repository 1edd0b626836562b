"""What recall costs beside a bare select of the same rows, and remember beside one insert."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from infra.bench.callers import Grants, first_brand
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure, Prepare
from infra.bench.stage import Door, client, floors_beside, fresh_house, insertion, measured
from infra.chassis.ids import new_id
from infra.cli.console import Progress
from memory.contract import Action, Order, Provenance, RecallOrder, RecallView, RememberOrder, Source, Tier

MEMORIES = 1_000
AT_ONCE = 8
"""While filling; below the ten connections that a service keeps."""
LIMIT = 10
RECALL_BAR = 14.0
"""Ours: 9.1 was measured, half is margin. Each row is opened and ranked, which a select does not do."""
REMEMBER_BAR = 8.0
"""Ours: 6.2 was measured, a quarter is margin. Grant, keys, room and sameness are looked up in the same transaction."""
PROVENANCE = Provenance(
    source=Source.AGENT, channel="chat", conversation_id="cnv_bench", client_id="agt_bench", confidence_percent=80
)
THINGS = ("a walnut shelf", "a reading lamp", "a wool throw", "a linen curtain", "an oak tray", "a bud vase", "a rug")
OCCASIONS = ("for her sister", "for the hallway", "before winter", "since it is quiet", "as the old one broke")


async def measure() -> list[Figure]:
    with fresh_house("memory") as house:
        tenant_id, brand = first_brand(house)
        async with floors_beside(house, "memory", tenant_id) as floors, client() as http:
            door, grants = Door(http, house.urls["memory"]), Grants(house, "memory")
            full, other = (Subject(door, grants, tenant_id, brand.brand_id) for _ in range(2))
            with Progress(f"memory: {MEMORIES:,} remembered, to recall from"):
                await full.fill()
            recall = Comparison(
                figure=f"memory: POST /v1/recalls over {MEMORIES:,} memories",
                floor_is="a bare Litestar handler that selects the same rows",
                ours=full.recall,
                floor=full.selection(Door(http, floors)),
                bar=RECALL_BAR,
                calls=4,
            )
            remember = Comparison(
                figure="memory: POST /v1/memories",
                floor_is="a bare Litestar handler with one insert, written to the disk",
                ours=other.remember,
                floor=insertion(Door(http, floors)),
                bar=REMEMBER_BAR,
            )
            return [await measured(recall), await measured(remember)]


def _sentences() -> Iterator[str]:
    for number in itertools.count():
        thing, occasion = THINGS[number % len(THINGS)], OCCASIONS[number % len(OCCASIONS)]
        yield f"Bought {thing} {occasion}, and would like to hear when there are more; visit {number}"


@dataclass(frozen=True, slots=True)
class Subject:
    door: Door
    grants: Grants
    tenant_id: str
    brand_id: str
    subject_id: str = field(default_factory=lambda: new_id("sub"))
    sentences: Iterator[str] = field(default_factory=_sentences)

    async def fill(self) -> None:
        """The first by itself: it makes the subject's keys."""
        await (await self.remember())()
        for _ in range((MEMORIES - 1) // AT_ONCE):
            await asyncio.gather(*[(await self.remember())() for _ in range(AT_ONCE)])
        for _ in range((MEMORIES - 1) % AT_ONCE):
            await (await self.remember())()

    async def remember(self) -> Call:
        order = RememberOrder(
            tenant_id=self.tenant_id,
            brand_id=self.brand_id,
            subject_id=self.subject_id,
            memory_id=new_id("mem"),
            text=next(self.sentences),
            provenance=PROVENANCE,
        )
        return self._post("/v1/memories", Action.REMEMBER, order, HTTPStatus.CREATED)

    async def recall(self) -> Call:
        order = RecallOrder(
            tenant_id=self.tenant_id,
            brand_id=self.brand_id,
            subject_id=self.subject_id,
            query="a lamp she reads by",
            tier_max=Tier.PERSONAL,
            limit=LIMIT,
        )
        ask = self._post("/v1/recalls", Action.RECALL, order, HTTPStatus.OK)

        async def full() -> None:
            found = len(msgspec.json.decode(await ask(), type=RecallView).memories)
            if found != LIMIT:
                raise BenchFailed(f"a recall of {LIMIT} found {found}")

        return full

    def selection(self, floors: Door) -> Prepare:
        async def prepare() -> Call:
            body = json.dumps({"tenant_id": self.tenant_id, "subject_id": self.subject_id}).encode()

            async def full() -> None:
                count = json.loads(await floors.post("/memories", body))["count"]
                if count != MEMORIES:
                    raise BenchFailed(f"the bare select found {count} of {MEMORIES} memories")

            return full

        return prepare

    def _post(self, path: str, action: Action, order: Order, expect: int) -> Callable[[], Awaitable[bytes]]:
        headers, body = self.grants.headers(action, order, path), msgspec.json.encode(order)
        return lambda: self.door.post(path, body, headers, expect=expect)
