"""Everything the memory service needs to know to start."""

from dataclasses import dataclass
from pathlib import Path

from infra.chassis.keys.settings import KeySettings
from infra.chassis.secret import Secret
from infra.chassis.settings import Bind


@dataclass(frozen=True, slots=True)
class Settings:
    bind: Bind
    database_url: Secret[str]
    grant_jwks_file: Path
    grant_issuer: str
    keys: KeySettings
    log_level: str = "INFO"
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class MigrationSettings:
    owner_database_url: Secret[str]
