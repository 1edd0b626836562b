"""`acr_values` and `max_age` at the authorization endpoint (RFC 9470 section 4).

Every request there leads through a login of its own, by a code sent for it, and where more is asked, through a passkey
or an approval on the phone, asked for by it: whatever `max_age` is, it is met.
Any of the classes named will do (OpenID Connect Core 1.0 section 3.1.2.1 has them voluntary, RFC 9470 wants one), so
the person is asked for the least of them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error

from gateway.contract import ACR, AssuranceLevel

BY_LOGIN: Final = AssuranceLevel.VERIFIED
HIGHEST: Final = AssuranceLevel.STRONG
"""`confirmed` is about one request, in one conversation, with all its parameters; an authorization request names none.
The person confirms on a page for exactly that (ADR 0024)."""
NAMES: Final = {f"{ACR}{level.name.lower()}": level for level in AssuranceLevel if level > AssuranceLevel.ANONYMOUS}
REACHED: Final = tuple(name for name, level in NAMES.items() if level <= HIGHEST)
"""What can be reached here, as it is named."""
SECONDS: Final = re.compile(r"[0-9]{1,9}")


class AuthenticationUnmet(OAuth2Error):  # type: ignore[misc]  # authlib has no types
    """OpenID Connect's error of that name, which RFC 9470 section 5 has for this: a wanted class is required here."""

    error = "unmet_authentication_requirements"
    description = "None of the 'acr_values' that were asked for is reached here, or not by this person."


def wanted_level(parameters: Mapping[str, str], can_be_strong: Callable[[], bool]) -> AssuranceLevel:
    """What this request must reach; a login's level where it asks for nothing more.

    `can_be_strong` is asked only where that decides. Raises AuthenticationUnmet, InvalidRequestError.
    """
    max_age = parameters.get("max_age")
    if max_age is not None and SECONDS.fullmatch(max_age) is None:
        raise InvalidRequestError("'max_age' is a whole number of seconds.")
    named = parameters.get("acr_values", "").split()
    levels = [NAMES[name] for name in named if name in NAMES]
    if not named or any(level <= BY_LOGIN for level in levels):
        return BY_LOGIN
    if HIGHEST in levels and can_be_strong():
        return HIGHEST
    raise AuthenticationUnmet
