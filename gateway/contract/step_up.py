"""What a caller is told to do about a deny that a better proof would turn, in the words of RFC 9470."""

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.contract.values import LevelName

ACR: Final = "urn:undercroft:acr:"
"""Before the name of a level: how an authentication context class is called here."""
MAX_AGE_SECONDS: Final[Mapping[LevelName, int]] = {
    LevelName.RECOGNISED: 14_400,
    LevelName.VERIFIED: 43_200,
    LevelName.STRONG: 900,
    LevelName.CONFIRMED: 300,
}
"""How old the evidence of a level may be. For recognised: the longest call that a carrier keeps up unless told
otherwise (Twilio's `timeLimit`); the others are those of memory's tiers."""


def step_up_challenge(levels: Iterable[LevelName]) -> str | None:
    """The parameters of a `Bearer` challenge (RFC 9470 section 3) naming these levels; None when there is none.

    `acr_values` names all of them, the least first; `max_age` belongs to the least, since that is what is asked for.
    """
    named = [level for level in LevelName if level in set(levels)]
    if not named:
        return None
    values = " ".join(f"{ACR}{level.value}" for level in named)
    return (
        'error="insufficient_user_authentication",'
        ' error_description="The person has to prove who they are, more strongly or more recently",'
        f' acr_values="{values}", max_age="{MAX_AGE_SECONDS[named[0]]}"'
    )
