import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.ids import new_id
from memory.contract import Tier
from tests.memory.conftest import Bench, Subject


async def test_what_was_remembered_is_recalled_with_its_provenance(bench: Bench, ada: Subject):
    order = ada.memory("Bought the brass reading lamp and loves it")
    kept = await bench.remember(order)

    answer = await bench.send("recall", ada.recall("which lamps did she buy"))

    (memory,) = answer.json()["memories"]
    assert kept.status_code == 201
    assert memory["text"] == order.text
    assert memory["tier"] == Tier.PERSONAL
    assert memory["provenance"]["source"] == "subject"
    assert memory["provenance"]["conversation_id"] == order.provenance.conversation_id


@pytest.mark.control("UC-M.1")
async def test_recall_never_answers_above_the_tier_decided(bench: Bench, ada: Subject):
    for said in ("Prefers large print", "Call me Ada", "Complained about a late parcel", "Is allergic to wool"):
        await bench.remember(ada.memory(said))

    seen = [len(await bench.texts(ada, tier_max=tier)) for tier in list(Tier)[:4]]

    assert seen == [1, 2, 3, 4]


@pytest.mark.control("UC-M.1")
async def test_what_is_withheld_leaves_no_trace_in_the_answer(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Is allergic to wool"))
    stranger = Subject(ada.tenant_id, new_id("sub"))

    with_something = await bench.send("recall", ada.recall("allergies", Tier.PERSONAL))
    with_nothing = await bench.send("recall", stranger.recall("allergies", Tier.PERSONAL))

    assert with_something.content == with_nothing.content


@pytest.mark.control("UC-3.3")
@pytest.mark.parametrize("said", ["My card is 4242 4242 4242 4242", "four two " * 8, "it is " + "4\u20132\u2013" * 8])
async def test_a_card_number_is_refused_and_not_stored(bench: Bench, ada: Subject, said: str):
    answer = await bench.remember(ada.memory(said))

    assert (answer.status_code, answer.json()["code"]) == (422, "card_number_refused")
    assert await bench.texts(ada) == []


@pytest.mark.control("UC-3.3")
async def test_a_card_number_spread_over_memories_of_one_subject_is_not_kept_whole(bench: Bench, ada: Subject):
    stranger = Subject(ada.tenant_id, new_id("sub"))
    parts = ["It starts 4012", "eighty-eight eighty-eight", "8888"]
    kept = [await bench.remember(ada.memory(part)) for part in parts]

    answers = [await bench.remember(subject.memory("and 1881")) for subject in (ada, stranger)]

    assert [answer.status_code for answer in kept] == [201, 201, 201]
    assert (answers[0].status_code, answers[0].json()["code"]) == (422, "card_number_refused")
    assert answers[1].status_code == 201
    assert sorted(await bench.texts(ada)) == sorted(parts)


@pytest.mark.parametrize("said", ["My PIN is 4912", "password: hunter2", "The one-time code was 123456"])
async def test_codes_and_passwords_are_refused_and_not_stored(bench: Bench, ada: Subject, said: str):
    answer = await bench.remember(ada.memory(said))

    assert (answer.status_code, answer.json()["code"]) == (422, "memory_refused")
    assert await bench.texts(ada) == []


@pytest.mark.control("UC-M.1")
async def test_the_caller_can_raise_the_tier_and_never_lower_it(bench: Bench, ada: Subject):
    raised = await bench.remember(ada.memory("Likes tea", tier_min=Tier.SENSITIVE))
    kept_up = await bench.remember(ada.memory("Has diabetes", tier_min=Tier.PUBLIC))

    assert (raised.json()["tier"], kept_up.json()["tier"]) == (Tier.SENSITIVE, Tier.SENSITIVE)


async def test_repeating_an_order_keeps_one_memory_and_another_text_is_refused(bench: Bench, ada: Subject):
    order = ada.memory("Likes tea")
    first, again = await bench.remember(order), await bench.remember(order)
    other = await bench.remember(ada.memory("Likes coffee", memory_id=order.memory_id))

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "memory_id_reused")
    assert await bench.texts(ada) == ["Likes tea"]


async def test_twenty_first_memories_at_once_make_one_subject_key_and_lose_nothing(bench: Bench, ada: Subject):
    answers = await asyncio.gather(*(bench.remember(ada.memory(f"Likes tea number {n}")) for n in range(20)))

    assert {answer.status_code for answer in answers} == {201}
    assert len((await bench.send("recall", ada.recall("", limit=50))).json()["memories"]) == 20


@pytest.mark.control("UC-M.2")
async def test_forgetting_a_subject_destroys_the_key_and_all_it_sealed(bench: Bench, ada: Subject):
    bob = Subject(ada.tenant_id, new_id("sub"))
    await bench.remember(ada.memory("Likes tea"))
    await bench.remember(bob.memory("Likes coffee"))

    answer = await bench.send("forget", ada.forget())

    assert (answer.status_code, answer.json()) == (200, {"forgotten": True})
    assert await bench.texts(ada) == []
    assert await bench.texts(bob) == ["Likes coffee"]
    async with tenant_transaction(bench.engine, ada.tenant_id) as tx:
        left = await tx.execute(text("SELECT count(*) FROM subjects WHERE subject_id = :s"), {"s": ada.subject_id})
        assert left.scalar_one() == 0


async def test_forgetting_one_memory_leaves_the_others_and_an_unknown_one_answers_the_same(bench: Bench, ada: Subject):
    order = ada.memory("Likes tea")
    await bench.remember(order)
    await bench.remember(ada.memory("Likes coffee"))

    known = await bench.send("forget", ada.forget(order.memory_id))
    unknown = await bench.send("forget", ada.forget(new_id("mem")))

    assert known.content == unknown.content
    assert await bench.texts(ada) == ["Likes coffee"]


@pytest.mark.control("UC-M.2")
async def test_after_forgetting_a_subject_new_memories_are_kept_under_a_new_key(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Likes tea"))
    await bench.send("forget", ada.forget())

    await bench.remember(ada.memory("Likes coffee"))

    assert await bench.texts(ada) == ["Likes coffee"]


@pytest.mark.control("UC-7.3")
async def test_another_brand_and_another_tenant_recall_nothing(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Likes tea"))

    other_brand = Subject(ada.tenant_id, ada.subject_id, brand_id="brd_other")
    other_tenant = Subject(new_id("tnt"), ada.subject_id)

    assert await bench.texts(other_brand) == []
    assert await bench.texts(other_tenant) == []


@pytest.mark.control("UC-M.3")
async def test_a_sealed_memory_moved_to_a_lower_tier_does_not_open(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Is allergic to wool"))
    async with bench.engine.begin() as tx:
        await tx.execute(text("SELECT set_config('undercroft.tenant', :t, true)"), {"t": ada.tenant_id})
        row = (await tx.execute(text("SELECT * FROM memories"))).mappings().one()
        await tx.execute(text("DELETE FROM memories"))
        await tx.execute(
            text(
                "INSERT INTO memories (tenant_id, subject_id, memory_id, brand_id, tier, sealed, remembered_at) VALUES "
                "(:tenant_id, :subject_id, :memory_id, :brand_id, 0, :sealed, :remembered_at)"
            ),
            dict(row),
        )

    answer = await bench.send("recall", ada.recall("", Tier.PUBLIC))

    assert answer.status_code == 500
    assert "wool" not in answer.text


@pytest.mark.control("UC-7.2")
async def test_the_app_role_cannot_rewrite_a_memory_nor_its_table(bench: Bench, ada: Subject):
    for statement in (
        "UPDATE memories SET tier = 0",
        "UPDATE subjects SET wrapped_key = ''",
        "ALTER TABLE memories DISABLE ROW LEVEL SECURITY",
        "DROP TABLE memories",
        "CREATE TABLE mine (x int)",
    ):
        with pytest.raises(ProgrammingError):
            async with tenant_transaction(bench.engine, ada.tenant_id) as tx:
                await tx.execute(text(statement))


@pytest.mark.control("UC-7.3")
async def test_a_hostile_query_sees_no_row_of_another_tenant_and_none_without_a_tenant(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Likes tea"))
    hostile = text("SELECT count(*) FROM memories WHERE tenant_id = :t OR true")

    async with tenant_transaction(bench.engine, new_id("tnt")) as tx:
        as_other = (await tx.execute(hostile, {"t": ada.tenant_id})).scalar_one()
    async with directory_transaction(bench.engine) as tx:
        as_nobody = (await tx.execute(hostile, {"t": ada.tenant_id})).scalar_one()

    assert (as_other, as_nobody) == (0, 0)


@pytest.mark.control("UC-M.3")
async def test_what_lies_in_the_database_cannot_be_read(bench: Bench, ada: Subject):
    await bench.remember(ada.memory("Likes tea with bergamot"))

    async with tenant_transaction(bench.engine, ada.tenant_id) as tx:
        row = (await tx.execute(text("SELECT * FROM memories"))).mappings().one()

    assert b"bergamot" not in repr(dict(row)).encode()
