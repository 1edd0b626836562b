"""The states of a tenant's key, and why a key cannot be used.

NIST SP 800-57 part 1 rev. 5, 7: our `retired` is its *deactivated* (still opens what it sealed, seals nothing new).
There is no *pre-active* here, for a key is made when it is needed; *compromised* is answered by rotating and
destroying.
"""

from enum import StrEnum
from typing import Final

SEALED_UNDER_RETIRED_KEY: Final = "UC001"
WRAPPED_UNDER_FORMER_ROOT: Final = "UC002"
"""SQLSTATEs of our own, raised by triggers of the migration 'lifecycle'."""


class KeyState(StrEnum):
    ACTIVE = "active"
    RETIRED = "retired"
    DESTROYED = "destroyed"


class KeyRetired(Exception):
    """Somebody rotated the tenant's key while we sealed under it: seal again, under the new one."""


class KeyDestroyed(LookupError):
    """This version is gone. A card that was under it has been moved to another since it was read, or was shredded."""


class RootChanged(Exception):
    """The root was rotated while a key was wrapped: wrap it again."""
