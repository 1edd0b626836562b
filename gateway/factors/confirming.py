"""Where an assistant's person confirms exactly the purchase that was denied for want of it.

An agent asks for such a page itself (`POST …/challenges` with `confirm`). An assistant has no more than the answer to
its call, and the authorization endpoint cannot know what that was about (ADR 0024): so the remedy brings the page, as
it does for an approval. The page shows the purchase, takes the person's passkey, and is good for this purchase only.
"""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.browser.cookies import digest
from gateway.callers import Caller, CallerKind
from gateway.contract import ChallengeMethod, Confirm, DecisionView, LevelName, Remedy, RemedyKind
from gateway.errors import TooManyChallenges
from gateway.factors import store
from gateway.factors.asking import confirming, new_challenge
from gateway.facts import ConversationFacts
from gateway.oauth import handles


class Confirming:
    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    async def offer(
        self,
        tx: AsyncConnection,
        view: DecisionView,
        caller: Caller,
        conversation: ConversationFacts,
        confirm: Confirm,
        now: datetime,
    ) -> DecisionView:
        """The view with the page in its remedy, in the transaction of the decision; a new page at each call.

        Unchanged for whoever is no assistant, where confirming alone would not turn the deny (nobody is asked about a
        cart that has yet to be quoted again), and for a person who was asked too often: the deny stands all the same.
        """
        if caller.kind is not CallerKind.ASSISTANT or [*map(_is_turned_by_confirming, view.remedies)] != [True]:
            return view
        link = handles.new_handle(conversation.tenant_id)
        challenge = new_challenge(conversation, caller.client_id, ChallengeMethod.PASSKEY, now)
        challenge = await confirming(tx, challenge, confirm, conversation)
        try:
            await store.add(tx, challenge, digest(link))
        except TooManyChallenges:
            return view
        url = f"{self._public_url}/factors/{link}"
        (remedy,) = view.remedies
        return replace(view, remedies=[replace(remedy, url=url, match_code=challenge.match_code)])


def _is_turned_by_confirming(remedy: Remedy) -> bool:
    """And the person has what it takes: methods are of those who have proven who they are."""
    return (
        remedy.kind is RemedyKind.STEP_UP
        and remedy.level is LevelName.CONFIRMED
        and ChallengeMethod.PASSKEY in (remedy.methods or ())
    )
