"""`acr_values` and `max_age` at the authorization endpoint (RFC 9470 section 4).

Every request there leads through a login of its own, by a code sent now: whatever `max_age` is, it is met.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error

from gateway.contract import ACR, LevelName

REACHED: Final = (f"{ACR}{LevelName.VERIFIED.value}", f"{ACR}{LevelName.RECOGNISED.value}")
"""What a login here gives, and what that covers too."""
SECONDS: Final = re.compile(r"[0-9]{1,9}")


class AuthenticationUnmet(OAuth2Error):  # type: ignore[misc]  # authlib has no types
    """OpenID Connect's error of that name, which RFC 9470 section 5 has for this: a wanted class is required here."""

    error = "unmet_authentication_requirements"
    description = "No login here reaches any of the 'acr_values' that were asked for."


class StepUp:
    """An extension of the code grant: refuses what no login can give, before a person is bothered with it."""

    def __call__(self, grant: Any) -> None:
        grant.register_hook("after_validate_authorization_request_payload", self.check)

    def check(self, grant: Any, _redirect_uri: str) -> None:
        check_parameters(grant.request.payload.data)


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Raises AuthenticationUnmet, InvalidRequestError."""
    max_age = parameters.get("max_age")
    if max_age is not None and SECONDS.fullmatch(max_age) is None:
        raise InvalidRequestError("'max_age' is a whole number of seconds.")
    wanted = parameters.get("acr_values", "").split()
    if wanted and not set(wanted) & set(REACHED):
        raise AuthenticationUnmet
