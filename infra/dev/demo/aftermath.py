"""Last chapter: the record holds, and the card number is nowhere it must not be."""

import secrets
import time

from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.leaks import forms, search
from infra.dev.demo.person import CARD_NUMBER
from infra.dev.demo.purchase import Bought, Stage
from infra.dev.demo.story import DidNotHappen, require

SEAL_SECONDS_MAX = 5.0


async def tell_aftermath(stage: Stage, agent: ChatAgent, bought: Bought) -> None:
    stage.story.chapter("Afterwards")
    await _verify_record(stage, agent)
    _search(stage, bought)


async def _verify_record(stage: Stage, agent: ChatAgent) -> None:
    async with stage.story.step("agent → gateway", "verify the record of this tenant") as step:
        deadline = time.monotonic() + SEAL_SECONDS_MAX
        seen = await agent.post("/v1/record/verifications", {})
        while seen.get("unsealed") and time.monotonic() < deadline:
            seen = await agent.post("/v1/record/verifications", {})
        require(seen.get("intact"), f"the record does not verify: {seen.get('findings') or seen.get('code')}")
        require(seen["tree_size"] > 0, "the record is empty")
        step.decided("gateway", f"{seen['tree_size']} entries, each hashed again, match the signed checkpoint")


def _search(stage: Stage, bought: Bought) -> None:
    house, story = stage.house, stage.story
    for cluster in house.clusters.values():
        cluster.sql("CHECKPOINT;")
    started = time.perf_counter()
    _prove_the_search_finds(stage, bought)
    result = search(house.folder, forms(CARD_NUMBER))
    took = (time.perf_counter() - started) * 1000
    if result.found:
        places = ", ".join(f"{found.path} ({found.form})" for found in result.found[:5])
        raise DidNotHappen(f"the card number is in {len(result.found)} places: {places}")
    story.say(
        f" ✓     searched {result.files:,} files, {result.size_bytes / 2**20:,.0f} MB: both databases with their "
        f"write-ahead logs, all logs,\n       all wire captures, in {len(forms(CARD_NUMBER))} forms (plain, spaced, "
        f"base64, hex …): no card number{took:>14,.0f} ms"
    )


def _prove_the_search_finds(stage: Stage, bought: Bought) -> None:
    """A search that cannot find anything proves nothing: it must find what is known to be there."""
    folder = stage.house.folder
    known = search(folder, {"checkout": bought.checkout_id.encode()}).found
    roots = {found.path.parts[0] for found in known}
    require({"captures", "postgres"} <= roots, f"the search sees only {sorted(roots)}")
    canary = folder / "logs" / f"canary-{secrets.token_hex(4)}"
    try:
        canary.write_bytes(b"\n".join(b"x=" + form + b";" for form in forms(CARD_NUMBER).values()))
        seen = {found.form for found in search(folder / "logs", forms(CARD_NUMBER)).found}
    finally:
        canary.unlink(missing_ok=True)
    require(seen == set(forms(CARD_NUMBER)), "the search missed a planted number")
