"""The door to a capture: only its own person passes, and what they carry to the vault is minted at the click.

See compliance/decisions/0005-capture-door.md.
"""

from dataclasses import dataclass

from gateway.browser.login import Logins
from gateway.captures import AuthenticationDoor, Captures, DoorView
from gateway.routes import IDENTIFIER

ACTOR = "door"
"""Who asks the vault to open the page: no caller, but the person's browser at our door."""


class NoSuchDoor(Exception):
    """Unknown capture, or somebody else's; one page for both."""


class LoginNeeded(Exception):
    """Nobody is logged in here for the capture's tenant."""

    def __init__(self, door: DoorView | AuthenticationDoor) -> None:
        self.door = door
        super().__init__("nobody is logged in")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the browser posts the grant, which lives for seconds and works once."""

    url: str
    grant: str


class Doors:
    def __init__(self, *, captures: Captures, logins: Logins, vault_page_url: str) -> None:
        self._captures = captures
        self._logins = logins
        self.vault_page_url = vault_page_url.rstrip("/")

    async def find(self, capture_id: str) -> DoorView:
        """Raises NoSuchDoor."""
        if IDENTIFIER.fullmatch(capture_id) is None:
            raise NoSuchDoor
        door = await self._captures.door(capture_id)
        if door is None:
            raise NoSuchDoor
        return door

    async def check(self, door: DoorView | AuthenticationDoor, login: str | None) -> None:
        """Raises LoginNeeded, NoSuchDoor."""
        subject_id = await self._logins.subject_here(door.tenant_id, login)
        if subject_id is None:
            raise LoginNeeded(door)
        if subject_id != door.subject_id:
            raise NoSuchDoor

    async def find_authentication(self, charge_id: str) -> AuthenticationDoor:
        """Raises NoSuchDoor."""
        door = await self._captures.authentication_door(charge_id) if IDENTIFIER.fullmatch(charge_id) else None
        if door is None:
            raise NoSuchDoor
        return door

    def enter_authentication(self, door: AuthenticationDoor) -> Entry:
        grant = self._captures.authentication_grant(door, ACTOR)
        return Entry(f"{self.vault_page_url}/authentications/{door.charge_id}/open", grant)

    def enter(self, door: DoorView) -> Entry:
        grant = self._captures.entry_grant(door, ACTOR)
        return Entry(f"{self.vault_page_url}/captures/{door.capture_id}/open", grant)
