"""Whether time tells a thing of somebody else's from one that is not there: each timed beside the other.

The answers' bytes and the statements behind them are compared in `tests/gateway/test_identical_answers.py`, for every
operation that takes an id; here one of them is timed.
"""

from http import HTTPStatus

import msgspec

from gateway.contract import RevokeMandateEnquiry
from infra.bench.measuring import Call, Comparison, Figure, Prepare
from infra.bench.stage import client, fresh_house, measured
from infra.bench.talk import Conversation, conversation
from infra.chassis.ids import new_id

NOISE_BAR = 1.1
"""Ours: what the medians of two hundred calls of one kind may differ by on a machine with something else to do."""
FOREIGN, MISSING = "a mandate of somebody else", "a mandate that is not there"


async def measure() -> list[Figure]:
    """Both ways round, so that either being slower is noticed."""
    with fresh_house("sandbox", "gateway") as house:
        async with client() as http:
            at, theirs = await conversation(house, http), await conversation(house, http, "omar@example.com")
            foreign, missing = _asking(at, await theirs.grant()), _asking(at, new_id("mnd"))
            return [
                await measured(_beside(FOREIGN, foreign, MISSING, missing)),
                await measured(_beside(MISSING, missing, FOREIGN, foreign)),
            ]


def _beside(what: str, ours: Prepare, other: str, floor: Prepare) -> Comparison:
    return Comparison(figure=f"gateway: {what}, refused", floor_is=other, ours=ours, floor=floor, bar=NOISE_BAR)


def _asking(at: Conversation, mandate_id: str) -> Prepare:
    body = msgspec.json.encode(RevokeMandateEnquiry(mandate_id=mandate_id, conversation_id=at.conversation_id))

    async def prepare() -> Call:
        return lambda: at.door.send("POST", "/v1/decisions", body, at.headers, expect=HTTPStatus.NOT_FOUND)

    return prepare
