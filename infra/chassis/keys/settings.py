"""Which key service a process uses and what that one needs: a group of settings, the same in every service."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra.chassis.clock import Clock
from infra.chassis.keys.custody import Custody, Sealed
from infra.chassis.keys.pkcs11 import Pkcs11KeyService, Token
from infra.chassis.keys.protocol import KeyService
from infra.chassis.keys.ringfile import RingFile, RingUnusable
from infra.chassis.keys.software import SoftwareKeyService
from infra.chassis.keys.sparing import Sparing, SparingKeyService

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
NEEDS: Final = {
    "software": ("root_key_file",),
    "pkcs11": ("root_key_name", "pkcs11_module", "pkcs11_token", "pkcs11_pin_file"),
    "transit": ("root_key_name", "transit_url", "transit_bearer_file"),
    "kms": ("root_key_name", "kms_region"),
}


@dataclass(frozen=True, slots=True)
class KeySettings:
    """`key_service` is one of NEEDS; what that one needs must be there, and nothing of another's matters.

    `root_key_file`: the software root, 32 bytes or a ring of versions. `root_key_name`: what the root is called where
    it lies; two services never share a name. `key_cache_seconds`: how long an unwrapped key stays here; 0: not at all.
    """

    key_service: str = "software"
    root_key_file: Path | None = None
    root_key_name: str = ""
    pkcs11_module: Path | None = None
    pkcs11_token: str = ""
    pkcs11_pin_file: Path | None = None
    transit_url: str = ""
    transit_bearer_file: Path | None = None
    transit_mount: str = "transit"
    transit_namespace: str | None = None
    transit_certificates: Path | None = None
    kms_region: str = ""
    kms_url: str | None = None
    kms_credentials_file: Path | None = None
    key_service_timeout_seconds: int = 5
    key_service_per_second: int = 200
    key_cache_seconds: int = 60

    def faults(self) -> list[str]:
        """What is missing or cannot be used, by the name of its variable."""
        if self.key_service not in NEEDS:
            return [f"KEY_SERVICE must be one of {', '.join(NEEDS)}"]
        missing = [f"{name.upper()} is missing" for name in NEEDS[self.key_service] if not getattr(self, name)]
        files = [name for name in NEEDS[self.key_service] if name.endswith(("_file", "_module"))]
        unread = [f"{name.upper()} cannot be used" for name in files if not _readable(getattr(self, name))]
        return missing or unread or self._further_faults()

    def _further_faults(self) -> list[str]:
        if self.key_service_timeout_seconds < 1 or self.key_service_per_second < 1 or self.key_cache_seconds < 0:
            return ["KEY_SERVICE_TIMEOUT_SECONDS, KEY_SERVICE_PER_SECOND or KEY_CACHE_SECONDS is too small"]
        urls = {"TRANSIT_URL": self.transit_url, "KMS_URL": self.kms_url}
        plain = [f"{name} must be https" for name, url in urls.items() if url and not _protected(url)]
        if plain:
            return plain
        if self.root_key_file is not None and self.key_service == "software":
            try:
                RingFile(self.root_key_file).read()
            except Sealed:
                return []
            except (OSError, RingUnusable) as error:
                return [f"ROOT_KEY_FILE cannot be used ({type(error).__name__})"]
        return []


def custody_of(settings: KeySettings) -> Custody:
    """Over the one file that may lie sealed: the root itself, or the PIN of the token that has it."""
    return Custody({"software": settings.root_key_file, "pkcs11": settings.pkcs11_pin_file}.get(settings.key_service))


def open_key_service(settings: KeySettings, clock: Clock, custody: Custody | None = None) -> KeyService:
    """The key service these settings name. Nothing is asked of it yet: `prove` does that."""
    custody = custody or custody_of(settings)
    if settings.key_service == "software":
        return SoftwareKeyService(RingFile(_given(settings.root_key_file), custody), clock)
    limits = Sparing(seconds=settings.key_cache_seconds, per_second=settings.key_service_per_second)
    if settings.key_service == "pkcs11":
        return SparingKeyService(_pkcs11(settings, custody), clock, limits)
    remote = {"transit": _transit, "kms": _kms}[settings.key_service]
    return SparingKeyService(remote(settings), clock, limits)


def _pkcs11(settings: KeySettings, custody: Custody) -> KeyService:
    token = Token(
        module=_given(settings.pkcs11_module),
        label=settings.pkcs11_token,
        pin_file=_given(settings.pkcs11_pin_file),
        key_label=settings.root_key_name,
    )
    return Pkcs11KeyService(token, settings.key_service_timeout_seconds, custody)


def _transit(settings: KeySettings) -> KeyService:
    from infra.chassis.keys.transit import Server, TransitKeyService  # noqa: PLC0415 - hvac takes a second to load

    server = Server(
        url=settings.transit_url,
        mount=settings.transit_mount,
        key_name=settings.root_key_name,
        bearer_file=_given(settings.transit_bearer_file),
        namespace=settings.transit_namespace,
        certificates=settings.transit_certificates,
    )
    return TransitKeyService(server, settings.key_service_timeout_seconds)


def _kms(settings: KeySettings) -> KeyService:
    from infra.chassis.keys.kms import Account, KmsKeyService  # noqa: PLC0415 - boto3 takes a second to load

    account = Account(
        region=settings.kms_region,
        key_name=settings.root_key_name,
        url=settings.kms_url,
        credentials_file=settings.kms_credentials_file,
    )
    return KmsKeyService(account, settings.key_service_timeout_seconds)


def _given(path: Path | None) -> Path:
    if path is None:
        raise ValueError("settings with faults were not refused")
    return path


def _protected(url: str) -> bool:
    """Whether what is sent there cannot be read on the way: https, or this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _readable(path: Path | None) -> bool:
    """Whether it is there and has something in it; what that is its reader will say."""
    if path is None:
        return False
    try:
        with path.open("rb") as file:
            return bool(file.read(1))
    except OSError:
        return False
