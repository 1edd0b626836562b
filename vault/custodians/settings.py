"""What is under custody, and where its custodians, its record and its doors are."""

from dataclasses import dataclass
from pathlib import Path

from infra.chassis.keys.ringfile import RingFile
from infra.chassis.keys.settings import KeySettings


@dataclass(frozen=True, slots=True)
class CustodySettings:
    """Of the vault's settings, what its custodians need; the file itself need not be there yet.

    `custody_folder`: beside the file that is under custody, unless said.
    """

    key_service: str = "software"
    root_key_file: Path | None = None
    pkcs11_pin_file: Path | None = None
    custody_folder: Path | None = None
    sandbox: bool = False
    crash_points: str = ""

    def faults(self) -> list[str]:
        files = {"software": self.root_key_file, "pkcs11": self.pkcs11_pin_file}
        if self.key_service not in files:
            return [f"KEY_SERVICE: custody is of {' and '.join(files)}; who may use another service, that one says"]
        name = {"software": "ROOT_KEY_FILE", "pkcs11": "PKCS11_PIN_FILE"}[self.key_service]
        return [] if files[self.key_service] is not None else [f"{name} is missing"]

    @property
    def file(self) -> RingFile:
        path = self.root_key_file if self.key_service == "software" else self.pkcs11_pin_file
        if path is None:
            raise ValueError("settings with faults were not refused")
        return RingFile(path)

    @property
    def folder(self) -> Path:
        return self.custody_folder or folder_beside(self.file.path)


def folder_beside(path: Path) -> Path:
    return path.with_name(path.name + ".custody")


def custody_settings(keys: KeySettings, folder: Path | None) -> CustodySettings | None:
    """The serving vault's; None where the root is in nobody's file."""
    found = CustodySettings(
        key_service=keys.key_service,
        root_key_file=keys.root_key_file,
        pkcs11_pin_file=keys.pkcs11_pin_file,
        custody_folder=folder,
    )
    return None if found.faults() else found
