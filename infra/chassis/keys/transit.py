"""The root in a transit engine (HashiCorp Vault, OpenBao), reached through `hvac`.

A wrap, after the frame's six bytes:

    offset  bytes  what
    6       92     what the server's `vault:v<version>:<base64>` holds: nonce (12), AES-256-GCM over 64 bytes, tag

The 64 bytes are those of frame.py; associated data is `frame.associated`. Servers before Vault 1.9 ignore associated
data without a word, and `rewrap` knows nothing of it on any server: so a server is probed at the start and refused if
it opens in another context, and the context is bound on our side as well.

Calls run in threads, for `hvac` blocks. Each is bounded by `timeout_seconds`; wrapping, unwrapping and reading are
tried three times when nothing says that trying again is futile (no connection, 429, 500 to 503), rotating once only.
Redirects are not followed: they would carry our bearer to another host. The bearer is read from its file, again
whenever that is replaced, and once more after a refusal.

Destroying: `min_decryption_version` and `min_encryption_version` are raised, then older versions are trimmed, which
deletes them; raising alone could be undone. Limit: the server's own snapshots and backups still hold what it deleted.

The service needs `update` on `<mount>/encrypt/<name>` and `<mount>/decrypt/<name>`; whoever rotates and destroys needs
`keys/<name>` (read), `/rotate`, `/config` and `/trim` besides. Nobody needs `export` or `backup`.
"""

import asyncio
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import hvac
import requests
from hvac import exceptions

from infra.chassis.jwk import Stamp, stamp
from infra.chassis.keys import frame
from infra.chassis.keys.frame import Provider
from infra.chassis.keys.probe import ELSEWHERE, PROBED, prove_round_trip
from infra.chassis.keys.protocol import (
    CannotDestroy,
    Description,
    KeyServiceUnfit,
    KeyServiceUnreachable,
    KeyUnusable,
    RootVersion,
    VersionState,
)
from infra.chassis.secret import Secret

WRAPS_MAX: Final = 2**31
"""As for a token: random nonces under one key (NIST SP 800-38D, 8.3), with a margin."""
PAUSES_SECONDS: Final = (0.05, 0.2)
"""Before the second and the third try."""
THREADS: Final = 8
TAG_REFUSED: Final = "message authentication failed"
TYPES: Final = frozenset({"aes256-gcm96"})
_AGAIN: Final = (
    exceptions.RateLimitExceeded,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.VaultDown,
    exceptions.VaultNotInitialized,
    requests.RequestException,
)

_NO_ANSWER: Final = (exceptions.VaultError, requests.RequestException, KeyError, TypeError, ValueError)
"""Refusals, and answers that are not what was asked for."""


@dataclass(frozen=True, slots=True)
class Server:
    """`bearer_file` holds the server's token. `certificates`: whom to believe instead of the system's authorities."""

    url: str
    mount: str
    key_name: str
    bearer_file: Path
    namespace: str | None = None
    certificates: Path | None = None


class TransitKeyService:
    def __init__(self, server: Server, timeout_seconds: float) -> None:
        self._server = server
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="transit")
        self._of_thread = threading.local()
        self._bearer: tuple[Stamp, Secret[str]] | None = None

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        plain, bound = frame.bound(key, context), frame.associated(Provider.TRANSIT, context)
        version, body = _taken_apart(await self._again(lambda client: self._sealed(client, plain, bound)))
        return frame.header(Provider.TRANSIT, version) + body

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        wrap = frame.parse(wrapped, Provider.TRANSIT)
        text = f"vault:v{wrap.version}:{b64encode(wrap.body).decode()}"
        bound = frame.associated(Provider.TRANSIT, context)
        return frame.unbound(await self._again(lambda client: self._opened(client, text, bound)), context)

    def version_of(self, wrapped: bytes) -> int:
        return frame.parse(wrapped, Provider.TRANSIT).version

    async def rotate(self) -> int:
        """A lost answer may have rotated: then the next one makes one version more, which harms nothing."""
        await self._once(lambda client: client.secrets.transit.rotate_key(self._server.key_name, self._server.mount))
        return int((await self._read())["latest_version"])

    async def destroy_before(self, version: int) -> None:
        found = await self._read()
        if version > int(found["latest_version"]):
            raise CannotDestroy("the newest version of a root is never destroyed: rotate first")
        if version <= int(found.get("min_available_version") or 0):
            return
        lowest = {"min_decryption_version": version, "min_encryption_version": version}
        path = f"/v1/{self._server.mount}/keys/{self._server.key_name}"
        await self._again(lambda client: client.adapter.post(f"{path}/config", json=lowest))
        await self._again(lambda client: client.adapter.post(f"{path}/trim", json={"min_available_version": version}))
        if int((await self._read()).get("min_available_version") or 0) < version:
            raise CannotDestroy("the transit server keeps the versions it was told to delete")

    async def describe(self) -> Description:
        found = await self._read()
        newest, lowest = int(found["latest_version"]), int(found.get("min_available_version") or 0)
        made = {int(version): datetime.fromtimestamp(int(at), UTC) for version, at in found["keys"].items()}
        versions = tuple(
            RootVersion(one, _state(one, newest=newest, lowest=lowest), made.get(one)) for one in range(1, newest + 1)
        )
        return Description("transit", versions, can_destroy=True, wraps_max=WRAPS_MAX)

    async def prove(self) -> None:
        health = await self._again(self._health)
        if not isinstance(health, dict):
            raise KeyServiceUnreachable("the transit server is sealed or not initialised")
        await self._prove_that_context_counts()
        await self._prove_that_the_root_stays()
        await prove_round_trip(self)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _prove_that_context_counts(self) -> None:
        """On the server's side: what is bound on ours would hide that it does nothing."""
        text = await self._again(lambda client: self._sealed(client, PROBED, PROBED))
        if await self._again(lambda client: self._opened(client, text, PROBED)) != PROBED:
            raise KeyServiceUnfit("the transit server does not open what it just sealed")
        try:
            await self._again(lambda client: self._opened(client, text, ELSEWHERE))
        except KeyUnusable:
            return
        raise KeyServiceUnfit("the transit server ignores associated data: it is too old to be relied on")

    async def _prove_that_the_root_stays(self) -> None:
        """As far as we may look: a service needs no right to read its key."""
        try:
            found = await self._again(self._key, refused=exceptions.Forbidden)
        except exceptions.Forbidden:
            return
        if found.get("exportable") or found.get("allow_plaintext_backup") or found.get("type") not in TYPES:
            raise KeyServiceUnfit("the transit key is exportable, may be backed up in clear, or is of another type")

    async def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._again(self._key)
        return found

    # in a thread

    def _sealed(self, client: Any, plain: bytes, bound: bytes) -> str:
        answer = client.secrets.transit.encrypt_data(
            self._server.key_name,
            plaintext=b64encode(plain).decode(),
            associated_data=b64encode(bound).decode(),
            mount_point=self._server.mount,
        )
        return str(answer["data"]["ciphertext"])

    def _opened(self, client: Any, text: str, bound: bytes) -> bytes:
        """Raises KeyUnusable: 400 says that the text is none of this key's, or too old; 500 may say so too."""
        try:
            answer = client.secrets.transit.decrypt_data(
                self._server.key_name,
                ciphertext=text,
                associated_data=b64encode(bound).decode(),
                mount_point=self._server.mount,
            )
        except exceptions.InvalidRequest:
            raise KeyUnusable from None
        except exceptions.InternalServerError as error:
            if any(TAG_REFUSED in str(one) for one in error.errors or ()):
                raise KeyUnusable from None
            raise
        return b64decode(answer["data"]["plaintext"], validate=True)

    def _health(self, client: Any) -> Any:
        """Not by HEAD, its default, which has no body. One on standby passes on what it is asked."""
        return client.sys.read_health_status(standby_ok=True, performance_standby_code=200, method="GET")

    def _key(self, client: Any) -> dict[str, Any]:
        found: dict[str, Any] = client.secrets.transit.read_key(self._server.key_name, self._server.mount)["data"]
        return found

    # getting there

    async def _again(self, ask: Callable[[Any], Any], refused: type[Exception] = KeyUnusable) -> Any:
        """For what may be asked twice. Raises KeyUnusable, KeyServiceUnreachable, and what is named as `refused`."""
        for pause in PAUSES_SECONDS:
            try:
                return await self._run(ask)
            except _AGAIN:
                await asyncio.sleep(pause)
            except exceptions.Forbidden:
                self._bearer = None  # it may have been replaced this moment
            except _NO_ANSWER as error:
                raise _unreachable(error) from None
        return await self._once(ask, refused)

    async def _once(self, ask: Callable[[Any], Any], refused: type[Exception] = KeyUnusable) -> Any:
        try:
            return await self._run(ask)
        except (KeyUnusable, KeyServiceUnreachable, refused):
            raise
        except _NO_ANSWER as error:
            raise _unreachable(error) from None

    async def _run(self, ask: Callable[[Any], Any]) -> Any:
        working = asyncio.get_running_loop().run_in_executor(self._threads, lambda: ask(self._client()))
        try:
            return await asyncio.wait_for(working, self._timeout_seconds)
        except TimeoutError:  # a server that sends a byte now and then keeps `requests` waiting for ever
            raise KeyServiceUnreachable("the transit server did not answer in time") from None

    def _client(self) -> Any:
        """One a thread: a session of `requests` is not made for several."""
        found = getattr(self._of_thread, "client", None)
        if found is None:
            carried = requests.Session()
            carried.trust_env = False  # no proxy and no netrc of whoever started us
            carried.verify = True if self._server.certificates is None else str(self._server.certificates)
            found = hvac.Client(
                url=self._server.url,
                namespace=self._server.namespace,
                timeout=self._timeout_seconds,
                allow_redirects=False,
                session=carried,
            )
            self._of_thread.client = found
        found.token = self._read_bearer().reveal()
        return found

    def _read_bearer(self) -> Secret[str]:
        read = stamp(self._server.bearer_file)
        if read is None:
            raise KeyServiceUnreachable("the transit server's bearer file is missing")
        known = self._bearer  # other threads read and drop it too
        if known is None or known[0] != read:
            known = self._bearer = (read, Secret(self._server.bearer_file.read_text(encoding="utf-8").strip()))
        return known[1]


def _unreachable(error: Exception) -> KeyServiceUnreachable:
    """By its kind only: what a server says may hold anything."""
    return KeyServiceUnreachable(f"the transit server answered {type(error).__name__}")


def _taken_apart(text: str) -> tuple[int, bytes]:
    found = re.fullmatch(r"vault:v([1-9]\d{0,8}):([A-Za-z0-9+/=]+)", text)
    if found is None:
        raise KeyServiceUnreachable("the transit server answered with something else than a ciphertext")
    return int(found[1]), b64decode(found[2], validate=True)


def _state(version: int, *, newest: int, lowest: int) -> VersionState:
    if version < lowest:
        return VersionState.DESTROYED
    return VersionState.ACTIVE if version == newest else VersionState.RETIRED
