"""The brand's chat agent: told nothing, then more after a code, and never given money it may not spend."""

from infra.dev.demo.agent import ChatAgent
from infra.dev.demo.purchase import ADDRESS, TASTE, Bought, Stage, sandbox_charges
from infra.dev.demo.story import require

BRAND = "brd_lumenloom"


async def tell_conversation(stage: Stage, agent: ChatAgent, bought: Bought) -> None:
    stage.story.chapter("The brand's own chat agent talks to somebody who says she is Ada")
    conversation_id = await _open(stage, agent)
    await _recall_nothing(stage, agent, conversation_id)
    await _step_up(stage, agent, conversation_id)
    await _recall_more(stage, agent, conversation_id)
    await _look_at_mandates(stage, agent, conversation_id, bought)
    await _spend_too_much(stage, agent, conversation_id, bought)


async def _open(stage: Stage, agent: ChatAgent) -> str:
    async with stage.story.step("agent → gateway", "sign in with its own key; open a conversation") as step:
        await agent.sign_in()
        claim = {"kind": "email", "value": ADDRESS}
        body = {"brand_id": BRAND, "channel": "chat", "contact_point": claim}
        opened = await agent.post("/v1/conversations", body, expect=201)
        require(opened["assurance_level"] == "anonymous", f"a claim alone gave {opened['assurance_level']}")
        step.decided("gateway", "an address proves nothing: the assurance level is anonymous")
        return str(opened["conversation_id"])


async def _recall_nothing(stage: Stage, agent: ChatAgent, conversation_id: str) -> None:
    async with stage.story.step("agent → gateway", "recall everything about her") as step:
        answer = await agent.post("/v1/recalls", {"conversation_id": conversation_id}, expect=200)
        require(answer["memories"] == [], f"an unverified caller was told {len(answer['memories'])} memories")
        decision = answer["decision"]
        levels = [remedy["level"] for remedy in decision["remedies"] if remedy["kind"] == "step_up"]
        require("verified" in levels, "no remedy named the level that would tell more")
        why = ", ".join(decision["reasons"])
        step.decided("gateway", f"tells nothing ({why}), as for an address nobody has; the remedy is a code by e-mail")


async def _step_up(stage: Stage, agent: ChatAgent, conversation_id: str) -> None:
    async with stage.story.step("agent → gateway", "ask for a one-time code; pass on what the person types") as step:
        path = f"/v1/conversations/{conversation_id}/challenges"
        challenge = await agent.post(path, {"method": "email_code"}, expect=201)
        code = await stage.inbox.code_for(ADDRESS)
        answer = await agent.post(f"/v1/challenges/{challenge['challenge_id']}/answers", {"code": code})
        require(answer.get("assurance_level") == "verified", f"the code gave {answer.get('assurance_level')}")
        step.decided("gateway", f"code sent to {challenge['sent_to']}, right and in time: verified")


async def _recall_more(stage: Stage, agent: ChatAgent, conversation_id: str) -> None:
    async with stage.story.step("agent → gateway", "recall “what did she buy for her sister?”") as step:
        body = {"conversation_id": conversation_id, "query": "what did she buy for her sister?"}
        answer = await agent.post("/v1/recalls", body, expect=200)
        found = {memory["text"]: memory for memory in answer["memories"]}
        require(TASTE in found, "the personal memory was not recalled after the step-up")
        kept = found[TASTE]
        step.decided("gateway", f"{answer['assurance_level']}: up to tier {answer['tier_max']}")
        step.decided("memory", f"tier {kept['tier']}, said by the {kept['source']} over {kept['channel']}: “{TASTE}”")


async def _look_at_mandates(stage: Stage, agent: ChatAgent, conversation_id: str, bought: Bought) -> None:
    async with stage.story.step("agent → gateway", "what may I still spend for her?") as step:
        answer = await agent.get(f"/v1/mandates?conversation_id={conversation_id}")
        require(len(answer["mandates"]) == 1, f"there are {len(answer['mandates'])} mandates, not the one she gave")
        mandate = answer["mandates"][0]
        spent = mandate["spent_today_minor"]
        require(spent == bought.amount_minor, f"{spent} is taken from the mandate, not {bought.amount_minor}")
        step.decided("gateway", f"{spent / 100:,.2f} of {mandate['day_cap_minor'] / 100:,.2f} USD are spent today")


async def _spend_too_much(stage: Stage, agent: ChatAgent, conversation_id: str, bought: Bought) -> None:
    async with stage.story.step("agent → gateway", "pay for the Heron lamp, over the cap she agreed to") as step:
        before = len(await sandbox_charges(stage))
        path = f"/v1/quotes/{bought.dear_checkout_id}?conversation_id={conversation_id}"
        quote = await agent.get(path)
        order = {
            "checkout_id": bought.dear_checkout_id,
            "cart_sha256": quote["cart_sha256"],
            "conversation_id": conversation_id,
        }
        answer = await agent.post("/v1/purchases", order)
        require(answer.get("state") == "denied", f"the purchase was {answer.get('state') or answer.get('code')}")
        decision = answer["decision"]
        require("over_payment_cap" in decision["reasons"], f"the reasons were {decision['reasons']}")
        require(decision.get("remedies"), "the denial names no remedy")
        require(len(await sandbox_charges(stage)) == before, "the processor saw a charge for a denied purchase")
        most = max((remedy.get("amount_minor_max") or 0) for remedy in decision["remedies"])
        step.decided(
            "gateway", f"denied: {', '.join(decision['reasons'])}; at most {most / 100:,.2f} USD, or a new mandate"
        )
