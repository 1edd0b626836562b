"""Which key service a process uses and what that one needs: a group of settings, the same in every service."""

from dataclasses import dataclass
from pathlib import Path

from infra.chassis.clock import Clock
from infra.chassis.keys.protocol import KeyService
from infra.chassis.keys.ringfile import RingFile, RingUnusable
from infra.chassis.keys.software import SoftwareKeyService


@dataclass(frozen=True, slots=True)
class KeySettings:
    """`root_key_file` holds the software root: 32 bytes, or a ring of versions."""

    root_key_file: Path | None = None

    def faults(self) -> list[str]:
        """What is missing or cannot be used, by the name of its variable."""
        if self.root_key_file is None:
            return ["ROOT_KEY_FILE is missing"]
        try:
            RingFile(self.root_key_file).read()
        except (OSError, RingUnusable) as error:
            return [f"ROOT_KEY_FILE cannot be used ({type(error).__name__})"]
        return []


def open_key_service(settings: KeySettings, clock: Clock) -> KeyService:
    """The key service these settings name."""
    if settings.root_key_file is None:
        raise ValueError("settings with faults were not refused")
    return SoftwareKeyService(RingFile(settings.root_key_file), clock)
