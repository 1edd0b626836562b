"""Beginning with a key service: the probe before anything is served, and what its administrator does first."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from infra.chassis.clock import SystemClock
from infra.chassis.keys.protocol import KeyService, KeyServiceUnfit, KeyServiceUnreachable
from infra.chassis.keys.settings import KeySettings, open_key_service
from infra.chassis.settings import load

ROOT_COMMANDS: Final = (["root"], ["root", "rotate"])


class NotStarted(Exception):
    """The key service is away or not to be relied on. Says why, in words for whoever starts us."""


async def begin(keys: KeyService) -> None:
    """Raises NotStarted."""
    try:
        await keys.prove()
    except (KeyServiceUnfit, KeyServiceUnreachable) as error:
        raise NotStarted(str(error)) from None


async def administer(prefix: str, environ: Mapping[str, str], command: Sequence[str]) -> str:
    """One of ROOT_COMMANDS: describe the root as JSON, after making a new version of it if that is asked.

    The first version of a root in a token is made so. Destroying is not here: what is sealed under a version has to be
    wrapped anew first, which only the service knows how to do. Raises SettingsIncomplete, NotStarted.
    """
    keys = open_key_service(load(KeySettings, prefix, environ), SystemClock())
    try:
        if list(command) == ["root", "rotate"]:
            await keys.rotate()
        return msgspec.json.format(msgspec.json.encode(await keys.describe())).decode()
    except KeyServiceUnreachable as error:
        raise NotStarted(str(error)) from None
    finally:
        await keys.close()
