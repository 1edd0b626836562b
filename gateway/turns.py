"""The card screen over the turns of a conversation: what agents and assistants write here, recall after recall.

Kept in this process only (see infra/chassis/screen/turns.py). With several workers a number whose parts meet different
ones passes here, part by part. The memory, one process for all, looks at the parts of what is to be remembered again.
"""

from gateway.callers import Caller
from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.problems import CardNumberRefused
from infra.chassis.screen.turns import TurnScreen, Verdict

log = logs.get_logger()


class Turns:
    def __init__(self, clock: Clock) -> None:
        self._screen = TurnScreen(clock)

    def hear(self, caller: Caller, conversation_id: str | None, text: str) -> None:
        """Judge a turn and remember what could be part of a number. Raises CardNumberRefused."""
        _require_clear(self._screen.read(_key(caller, conversation_id), text))

    def overhear(self, caller: Caller, conversation_id: str | None, text: str) -> None:
        """Judge a text that is still being spoken; nothing of it is remembered. Raises CardNumberRefused."""
        _require_clear(self._screen.look(_key(caller, conversation_id), text))


def _key(caller: Caller, conversation_id: str | None) -> str:
    """With the caller in it: whoever names another's conversation cannot add to what is known of it."""
    return f"{caller.tenant_id}/{caller.client_id}/{conversation_id or caller.conversation_id}"


def _require_clear(verdict: Verdict) -> None:
    if verdict.clear:
        return
    if verdict.earlier_turns:
        log.warning("card_number_over_turns", earlier_turns=verdict.earlier_turns)
    raise CardNumberRefused
