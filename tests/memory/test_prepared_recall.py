"""A prepared recall answers what the recall would answer at that moment, once, and in no other case anything."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.clock import FixedClock
from infra.chassis.engine import tenant_transaction
from infra.chassis.ids import new_id
from memory import store
from memory.contract import (
    PREPARATION_TTL_SECONDS,
    MemoryView,
    PrepareOrder,
    Provenance,
    ReleaseOrder,
    Source,
    Tier,
)
from memory.prepared import CHARACTERS_MAX, PENDING_MAX, Opened, Preparations, Whose
from memory.rank import count, rank, rank_counted, wanted_stems
from tests.memory.conftest import Bench, Subject

TEXTS = ("Bought the brass lamp", "Prefers oak", "Has two cats who like wool", "Asked for the lamp in green")
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def filled(bench: Bench, subject: Subject) -> None:
    for text in TEXTS:
        bench.clock.advance(timedelta(seconds=1))
        assert (await bench.remember(subject.memory(text))).status_code == 201
    assert (await bench.remember(subject.memory("Has diabetes"))).json()["tier"] >= Tier.SENSITIVE


def preparation(subject: Subject, tier_max: Tier = Tier.RESTRICTED, query: str = "the la") -> PrepareOrder:
    return PrepareOrder(
        tenant_id=subject.tenant_id,
        brand_id=subject.brand_id,
        subject_id=subject.subject_id,
        preparation_id=new_id("prp"),
        query=query,
        tier_max=tier_max,
    )


async def prepared(bench: Bench, subject: Subject, **changes: Any) -> str:
    order = preparation(subject, **changes)
    answer = await bench.send("prepare", order)
    assert (answer.status_code, answer.json()) == (200, {"accepted": True})
    return order.preparation_id


async def released(
    bench: Bench, subject: Subject, preparation_id: str, query: str = "lamp", tier_max: Tier = Tier.RESTRICTED
) -> list[dict[str, Any]]:
    recall = subject.recall(query, tier_max)
    order = ReleaseOrder(**msgspec.structs.asdict(recall), preparation_id=preparation_id)
    answer = await bench.send("release", order)
    assert answer.status_code == 200, answer.text
    memories: list[dict[str, Any]] = answer.json()["memories"]
    return memories


async def recalled(bench: Bench, subject: Subject, query: str, tier_max: Tier) -> list[dict[str, Any]]:
    memories: list[dict[str, Any]] = (await bench.send("recall", subject.recall(query, tier_max))).json()["memories"]
    return memories


@pytest.mark.parametrize("query", ["the la", "lamps", "wool for the cats", "", "submarine"])
@pytest.mark.parametrize("tier_max", [Tier.PUBLIC, Tier.PERSONAL, Tier.RESTRICTED])
async def test_any_final_query_at_any_lower_tier_gets_the_recalls_answer_and_opens_nothing_again(
    bench: Bench, ada: Subject, query: str, tier_max: Tier
):
    await filled(bench, ada)
    expected = await recalled(bench, ada, query, tier_max)
    preparation_id = await prepared(bench, ada)
    before = bench.keys.unwrapped

    found = await released(bench, ada, preparation_id, query, tier_max)

    assert (found, bench.keys.unwrapped, len(bench.prepared)) == (expected, before, 0)


async def test_a_higher_tier_than_was_prepared_is_recalled_in_full(bench: Bench, ada: Subject):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada, tier_max=Tier.PERSONAL)
    before = bench.keys.unwrapped

    found = await released(bench, ada, preparation_id, "", Tier.SENSITIVE)

    assert ("Has diabetes" in {memory["text"] for memory in found}, bench.keys.unwrapped) == (True, before + 1)


async def test_a_preparation_is_used_once(bench: Bench, ada: Subject):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada)
    before = bench.keys.unwrapped

    both = [await released(bench, ada, preparation_id) for _ in range(2)]

    assert (both[0] == both[1], bench.keys.unwrapped) == (True, before + 1)


async def test_it_ends_after_seconds_and_is_then_swept_from_memory(bench: Bench, ada: Subject):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada)
    before = bench.keys.unwrapped
    bench.clock.advance(timedelta(seconds=PREPARATION_TTL_SECONDS))

    await released(bench, ada, preparation_id)
    await prepared(bench, ada)
    bench.clock.advance(timedelta(seconds=PREPARATION_TTL_SECONDS))
    bench.prepared.drop_expired()

    assert (bench.keys.unwrapped, len(bench.prepared)) == (before + 2, 0)


async def test_what_was_remembered_or_forgotten_in_between_is_what_is_recalled(bench: Bench, ada: Subject):
    await filled(bench, ada)
    kept = ada.memory("A second lamp, for the hallway")
    first = await prepared(bench, ada)
    await bench.remember(kept)
    after_remembering = await released(bench, ada, first)
    second = await prepared(bench, ada)
    await bench.send("forget", ada.forget(kept.memory_id))
    held = len(bench.prepared)
    after_forgetting = await released(bench, ada, second)

    assert kept.text in {memory["text"] for memory in after_remembering}
    assert (held, kept.text in {memory["text"] for memory in after_forgetting}) == (0, False)


@pytest.mark.parametrize("again", [False, True], ids=["forgotten", "forgotten and known again"])
async def test_after_an_erasure_nothing_prepared_is_left_even_if_another_process_erased(
    bench: Bench, ada: Subject, *, again: bool
):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada)
    async with tenant_transaction(bench.engine, ada.tenant_id) as tx:
        await store.shred_subject(tx, ada.tenant_id, ada.subject_id)
    if again:
        await bench.remember(ada.memory("Prefers ash"))

    found = await released(bench, ada, preparation_id, "")

    assert [memory["text"] for memory in found] == (["Prefers ash"] if again else [])


@pytest.mark.control("UC-M.21")
async def test_another_request_throws_away_what_was_prepared(bench: Bench, ada: Subject):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada)
    await recalled(bench, ada, "oak", Tier.PERSONAL)
    before = bench.keys.unwrapped

    await released(bench, ada, preparation_id)

    assert bench.keys.unwrapped == before + 1


@pytest.mark.control("UC-M.21")
async def test_nobody_elses_preparation_is_used(bench: Bench, ada: Subject):
    await filled(bench, ada)
    preparation_id = await prepared(bench, ada)
    others = (
        Subject(ada.tenant_id, new_id("sub")),
        Subject(new_id("tnt"), ada.subject_id),
        Subject(ada.tenant_id, ada.subject_id, "brd_rugs"),
    )

    found = [await released(bench, other, preparation_id, "") for other in others]

    assert found == [[], [], []]
    assert len(bench.prepared) == 1


@pytest.mark.control("UC-M.21")
async def test_preparing_answers_the_same_whether_or_not_there_is_anything(bench: Bench, ada: Subject):
    await filled(bench, ada)

    answers = [await bench.send("prepare", preparation(one)) for one in (ada, Subject(ada.tenant_id, new_id("sub")))]

    assert answers[0].content == answers[1].content


async def test_each_of_the_two_needs_a_grant_for_its_own_purpose_and_body(bench: Bench, ada: Subject):
    order = preparation(ada)
    release = ReleaseOrder(**msgspec.structs.asdict(ada.recall()), preparation_id=order.preparation_id)
    other = msgspec.structs.replace(release, preparation_id=new_id("prp"))

    refused = [
        await bench.send("prepare", order, bench.grant("recall", order)),
        await bench.send("release", release, bench.grant("recall", release)),
        await bench.send("release", release, bench.grant("release", other)),
        await bench.send("release", release, bench.grant("prepare", release)),
    ]
    used = bench.grant("prepare", order)
    twice = [await bench.send("prepare", order, used) for _ in range(2)]

    assert [answer.json()["code"] for answer in refused] == ["grant_refused"] * 4
    assert [answer.status_code for answer in twice] == [200, 409]


def opened(*texts: str, tier: Tier = Tier.PERSONAL) -> Opened:
    provenance = Provenance(
        source=Source.AGENT, channel="voice", conversation_id="cnv_some", client_id="agt_some", confidence_percent=80
    )
    memories = [
        MemoryView(memory_id=new_id("mem"), text=text, tier=tier, provenance=provenance, remembered_at=START)
        for text in texts
    ]
    return Opened(memories, [count(text) for text in texts], {int(tier): b""}, Tier.RESTRICTED)


def whose() -> Whose:
    return Whose("tnt_some", "brd_some", new_id("sub"))


def test_what_is_held_is_bounded_in_number_and_in_characters():
    held = Preparations(FixedClock(START))
    for _ in range(PENDING_MAX + 5):
        held.begin(whose(), "prp_one")
    assert len(held) == PENDING_MAX

    first, second, huge = whose(), whose(), whose()
    half = "x" * (CHARACTERS_MAX // 2 + 1)
    for one, texts in ((first, (half,)), (second, (half,)), (huge, (half, half))):
        held.begin(one, "prp_two")
        held.keep(one, "prp_two", opened(*texts))

    assert held.take(first, "prp_two") is None
    assert held.take(huge, "prp_two") is None
    assert held.take(second, "prp_two") is not None


def test_what_was_overtaken_while_it_was_opened_is_not_kept():
    held, one = Preparations(FixedClock(START)), whose()

    held.begin(one, "prp_first")
    held.begin(one, "prp_second")
    held.keep(one, "prp_first", opened("early"))
    first = held.take(one, "prp_first")
    held.keep(one, "prp_second", opened("late"))

    assert (first, held.take(one, "prp_second"), len(held)) == (None, None, 0)


def test_what_is_held_does_not_print():
    memories = opened("Prefers oak")

    assert "oak" not in repr(memories) + str(memories)


@given(st.text(max_size=40), st.text(max_size=40), st.lists(st.text(max_size=40), max_size=12), st.integers(1, 20))
def test_ranking_ahead_of_time_ranks_the_same(said: str, query: str, texts: list[str], limit: int):
    found = opened(*texts)
    stems = wanted_stems(said)
    ahead = Opened(
        found.memories,
        found.counted,
        found.digests,
        found.tier_max,
        stems,
        rank_counted(stems, found.counted, len(texts)),
    )

    for asked in (query, said):
        expected = [found.memories[place] for place in rank(asked, texts, limit)]
        assert ahead.best(asked, Tier.RESTRICTED, limit) == expected
