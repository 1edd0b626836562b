"""`record replay` and `policy diff`, as an operator runs them, over decisions that were really made."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.cedar import Texts
from gateway.record.entries import entry_bytes
from gateway.record.merkle import leaf_hash
from tests.gateway.shop import NORTH, SOUTH, Shop, Talk
from tests.gateway.test_policies import NO_DEAR_THINGS, NO_REFUNDS, NO_THINGS, Desk


@dataclass(slots=True)
class Operator:
    shop: Shop
    output: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """In a thread, because the command has a loop of its own. Exit code, output, errors."""
        code = await asyncio.to_thread(main, arguments)
        written = self.output.readouterr()
        return code, written.out, written.err

    async def replay(self, tenant_id: str = NORTH) -> tuple[int, list[str]]:
        code, output, _ = await self.run("record", "replay", "--tenant", tenant_id)
        return code, [line for line in output.splitlines() if line.startswith((tenant_id, "  "))]


@pytest.fixture
def operator(
    new_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    (tmp_path / "url").write_text(new_shop.ground.app_dsn, encoding="utf-8")
    monkeypatch.setenv("UNDERCROFT_GATEWAY_DATABASE_URL_FILE", str(tmp_path / "url"))
    return Operator(new_shop, capsys)


async def decisions(talk: Talk) -> list[str]:
    """One of each kind, allowed and denied; their ids."""
    shop = talk.shop
    wrong = {"checkout_id": await shop.checkout(), "cart_sha256": "0" * 64}
    answers = [
        await talk.buy(await shop.checkout(4_000)),
        await talk.buy(await shop.checkout(8_000)),
        (await (await shop.chat()).post("/v1/purchases", **wrong)).json(),
        (await talk.post("/v1/recalls", query="lamps", limit=5)).json(),
        (await talk.post("/v1/memories", text="Prefers brass lamps.")).json(),
        (await talk.call("GET", "/v1/mandates", conversation_id=talk.conversation_id)).json(),
    ]
    asked: list[dict[str, Any]] = [
        {"action": "recall", "tier": 3},
        {"action": "recall", "tier": 1},
        {"action": "forget"},
    ]
    views = [answer["decision"] for answer in answers]
    views += [(await talk.post("/v1/decisions", **question)).json() for question in asked]
    return [str(view["receipt"]["decision_id"]) for view in views]


@pytest.mark.control("UC-D.14")
async def test_every_kind_of_decision_comes_out_of_the_record_the_same_again(operator: Operator):
    desk, talk = Desk(operator.shop), await operator.shop.buyer()
    made = await decisions(talk)
    name = await desk.activated(purchase=NO_DEAR_THINGS, memory=NO_DEAR_MEMORIES)
    made += await decisions(await operator.shop.buyer())
    await desk.ask("POST", "/rollbacks", {"replaces": name})
    made += await decisions(await operator.shop.buyer())

    code, lines = await operator.replay()

    assert (code, len(made)) == (0, 27)
    assert lines[0].startswith(f"{NORTH}: the same again, {len(made)} decided again, ")


async def test_a_decision_that_falls_otherwise_is_counted_and_the_first_is_named(operator: Operator, as_owner: Any):
    made = await decisions(await operator.shop.buyer())
    for decision_id in made[1:3]:
        await forge(operator.shop, as_owner, decision_id, {"reasons": ["over_day_cap"]})

    code, lines = await operator.replay()

    assert code == 1
    assert lines[0].startswith(f"{NORTH}: DIFFERS, {len(made) - 2} decided again")
    assert lines[1:] == [f"  2 decided otherwise, the first: {made[1]}"]


async def test_an_entry_whose_policies_are_not_kept_or_that_nobody_can_read_is_a_finding(
    operator: Operator, as_owner: Any
):
    made = await decisions(await operator.shop.buyer())
    await forge(operator.shop, as_owner, made[0], {"policy_sha256": "0" * 64})
    await forge(operator.shop, as_owner, made[1], {"context": {}})

    code, lines = await operator.replay()

    assert code == 1
    assert lines[1:] == [
        f"  1 its policies are not kept, the first: {made[0]}",
        f"  1 not readable, the first: {made[1]}",
    ]


async def test_policies_of_an_older_release_are_kept_and_decided_by_again(operator: Operator, as_owner: Any):
    """The entry is rewritten to what an older release, which had no day cap's reason, would have left."""
    shop = operator.shop
    made = await decisions(await shop.buyer())
    base = (await shop.rows("SELECT * FROM policy_bases WHERE policy_group = 'purchase'"))[0]
    older = base["policy_text"].replace('@id("over_payment_cap")', '@id("over_day_cap")')
    sha256 = Texts(base["schema_text"], older).sha256
    await shop.rows(
        "INSERT INTO policy_bases SELECT :name, 'purchase', :schema, :policies, now() RETURNING policy_sha256",
        name=sha256,
        schema=base["schema_text"],
        policies=older,
    )
    await forge(shop, as_owner, made[1], {"policy_sha256": sha256, "reasons": ["over_day_cap"]})

    code, lines = await operator.replay()

    assert (code, lines[1:]) == (0, [])


async def test_no_base_is_kept_under_a_name_that_is_not_its_own(operator: Operator):
    await decisions(await operator.shop.buyer())
    columns = "policy_group, schema_text, policy_text, now()"
    forged = f"INSERT INTO policy_bases SELECT repeat('0', 64), {columns} FROM policy_bases"  # noqa: S608 - ours

    with pytest.raises(Exception, match="violates check constraint"):
        await operator.shop.rows(forged)

    kept = await operator.shop.rows("SELECT policy_group FROM policy_bases ORDER BY 1")
    assert [row["policy_group"] for row in kept] == ["forward", "listing", "mandate", "memory", "purchase", "refund"]


async def test_a_diff_shows_what_a_version_would_change_and_what_not(operator: Operator):
    desk, talk = Desk(operator.shop), await operator.shop.buyer()
    dear = await talk.buy(await operator.shop.checkout(4_000))
    await talk.buy(await operator.shop.checkout(1_000))
    name = await desk.upload(purchase=NO_DEAR_THINGS)
    other = await desk.upload(refund=NO_REFUNDS)

    changed = await operator.run("policy", "diff", "base", name, "--tenant", NORTH)
    same = await operator.run("policy", "diff", "base", other, "--tenant", NORTH)
    last = await operator.run("policy", "diff", "base", name, "--tenant", NORTH, "--last", "1")

    assert [found[0] for found in (changed, same, last)] == [1, 0, 0]
    decision_id = dear["decision"]["receipt"]["decision_id"]
    assert f"{NORTH}: 2 decided again, 1 otherwise, 0 not readable" in changed[1]
    assert f"  1 times purchase: allow [within_mandate] → deny [tenant_rule], such as {decision_id}" in changed[1]
    assert f"{NORTH}: 1 decided again, 0 otherwise" in last[1]


async def test_a_diff_takes_folders_of_policies_and_of_what_is_laid_over_them(operator: Operator, tmp_path: Path):
    await (await operator.shop.buyer()).buy(await operator.shop.checkout(4_000))
    laid = tmp_path / "laid"
    laid.mkdir()
    (laid / "purchase.cedar").write_text(NO_THINGS)

    code, output, _ = await operator.run("policy", "diff", str(laid), "base", "--tenant", NORTH)

    assert code == 1
    assert "deny [cart_changed] → allow [within_mandate]" in output


async def test_what_is_no_set_of_rules_or_no_tenant_is_said_and_exits_with_two(operator: Operator, tmp_path: Path):
    (tmp_path / "payment.cedar").write_text(NO_THINGS)
    name = await Desk(operator.shop).upload(refund=NO_REFUNDS)

    found = [
        await operator.run("policy", "diff", "base", "0" * 64),
        await operator.run("policy", "diff", "base", str(tmp_path)),
        await operator.run("policy", "diff", "base", name, "--tenant", SOUTH),
        await operator.run("policy", "diff", "base", "base", "--last", "0"),
        await operator.run("record", "replay", "--tenant", "tnt_nobody"),
    ]

    assert [code for code, _, _ in found] == [2] * 5
    assert all(errors.startswith("gateway: ") for _, _, errors in found)


NO_DEAR_MEMORIES = (
    '@id("assurance_too_low") forbid (principal, action == Action::"recall", resource) when { resource.tier > 1 };'
)


async def forge(shop: Shop, as_owner: Callable[..., Awaitable[str]], decision_id: str, change: dict[str, Any]) -> None:
    """Exchange parts of an entry's body, its hash with it."""
    (row,) = await shop.rows("SELECT canonical, recorded_at FROM record_entries WHERE decision_id = :d", d=decision_id)
    body = json.loads(row["canonical"])["body"] | change
    made = entry_bytes(tenant_id=NORTH, decision_id=decision_id, recorded_at=row["recorded_at"], body=body)
    exchanged = f"canonical = '\\x{made.hex()}', leaf_sha256 = '\\x{leaf_hash(made).hex()}'"
    await as_owner(shop, f"UPDATE record_entries SET {exchanged} WHERE decision_id = '{decision_id}'")  # noqa: S608 - ours
