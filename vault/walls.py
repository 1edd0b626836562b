"""What the vault still needs once it serves; all else is walled off (infra.chassis.walls)."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import URL

from infra.chassis import walls
from infra.chassis.durable import make_folder
from infra.chassis.keys.settings import KeySettings
from infra.chassis.settings import Bind
from infra.chassis.walls.plan import Plan, around, is_address, port_of, python_reads
from infra.chassis.walls.settings import WallSettings
from infra.chassis.workers import METRICS_FOLDER
from vault.custodians.settings import folder_beside
from vault.settings import Settings

OWN: Final = ("page_url",)
"""Addresses of ours, which others call."""
POSTGRESQL_PORT: Final = 5432
HTTPS_PORT: Final = 443
METADATA_PORT: Final = 80
"""Where a cloud's machine asks for its role's credentials."""


def build_walls(settings: Settings, database: URL) -> tuple[walls.Wall, ...]:
    """Around this process, for as long as it lives. Raises WallsMissing, and OSError for an unwritable `walls_file`."""
    return walls.build(plan_of(settings, database), settings.walls)


def plan_of(settings: Settings, database: URL) -> Plan:
    """`database` is the engine's: where it is, and the file with its password, which is read at each connection."""
    called, further = _called(settings), settings.walls.connects
    hosts = [*(urlsplit(url).hostname or "" for url in called), *_database_host(database)]
    abroad = not settings.sandbox  # tenants' webhooks and destinations; the sandbox's are here, on ports nobody knows
    own = [*map(port_of, called), *_database_port(database), *_kms(settings.keys), *([HTTPS_PORT] if abroad else [])]
    kept = [Path(os.environ[METRICS_FOLDER])] if METRICS_FOLDER in os.environ else []
    return Plan(
        reads=(*python_reads(), Path(__file__).parent, *_files(settings, database), *settings.walls.reads),
        writes=(*settings.walls.writes, *_written(settings), *kept),
        sockets=_database_socket(database),
        listens=tuple(bind.port for bind in (settings.bind, settings.page_bind, settings.webhook_bind)),
        connects=None if further is None else (*own, *further),
        resolves_names=further is None or abroad or bool(_kms(settings.keys)) or not all(map(is_address, hosts)),
    )


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every setting, those of its groups too, but for the walls' own."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value) and not isinstance(value, Bind | WallSettings | type):
            yield from ((inner.name, getattr(value, inner.name)) for inner in fields(value))
        elif not isinstance(value, WallSettings):
            yield one.name, value


def _called(settings: Settings) -> list[str]:
    """Every address among the settings that we call: named `…_url` and not one of OWN."""
    given = [(name, value) for name, value in _values(settings) if name.endswith("_url") and name not in OWN]
    return [value for _, value in given if isinstance(value, str) and value]


def _files(settings: Settings, database: URL) -> list[Path]:
    """Files that are read again while we serve, each with its folder, in which it may be replaced."""
    password = database.query.get("passfile")
    given = [value for _, value in _values(settings) if isinstance(value, Path)]
    given += [Path(password)] if isinstance(password, str) else []
    return [path if path.is_dir() else around(path) for path in given]


def _written(settings: Settings) -> list[Path]:
    """Where the root lies in a file: rotated and kept by custodians in its folder, by this process."""
    kept = {"software": settings.keys.root_key_file, "pkcs11": settings.keys.pkcs11_pin_file}
    under_custody = kept.get(settings.keys.key_service)
    if under_custody is None:
        return []
    custody = settings.custody_folder or folder_beside(under_custody)
    with suppress(OSError):  # what cannot be written need not be allowed to be
        make_folder(custody)
    return [around(under_custody), custody]


def _database_host(database: URL) -> list[str]:
    """Nothing where it is a socket of this machine."""
    named = database.host or database.query.get("host", "")
    return [named] if isinstance(named, str) and named and not named.startswith("/") else []


def _database_socket(database: URL) -> tuple[Path, ...]:
    folder = database.query.get("host", "")
    if not isinstance(folder, str) or not folder.startswith("/"):
        return ()
    return (Path(folder, f".s.PGSQL.{database.port or POSTGRESQL_PORT}"),)


def _database_port(database: URL) -> list[int]:
    return [database.port or POSTGRESQL_PORT] if _database_host(database) else []


def _kms(keys: KeySettings) -> list[int]:
    return [HTTPS_PORT, METADATA_PORT] if keys.key_service == "kms" else []
