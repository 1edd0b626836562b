"""The root in a PKCS#11 token (an HSM; SoftHSM2 in tests): AES-256 keys that never leave it, one for each version.

A wrap, after the frame's six bytes:

    offset  bytes  what
    6       12     nonce, random
    18      80     AES-256-GCM (CKM_AES_GCM, tag of 16 bytes) over the 64 bytes frame.py describes

Associated data: `frame.associated`. The key of version n is labelled `<key label>.v<n>`; n is 1 for the first.

Random nonces under one key: at most 2^32 wraps of a version (NIST SP 800-38D, 8.3); `WRAPS_MAX` leaves a margin. Tenant
keys are wrapped, one a tenant and version, so that is out of reach, and whoever counts wraps is told the bound.

The library is called by one thread at a time: python-pkcs11 initialises modules without asking them to lock. A session
that was lost (token pulled, logged out, restarted) is opened again, once for each call; a token the library does not
know is looked for once more by a library that starts anew, because some list their tokens at the start only. A PIN that
was refused is not tried again until its file changes, because a token locks itself after a few wrong ones. The PIN's
file may lie sealed under a custody key (custody.py): then nobody logs in before the custodians were here. It may have
several lines, a new PIN and former ones: whoever logs in next sets the new one, if that was not done. After a fork the
child opens the library anew: sessions do not survive it (PKCS#11 v2.40, 6.6.1).
"""

import asyncio
import os
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.types import SecretKey, Session

from infra.chassis.jwk import Stamp, stamp
from infra.chassis.keys import frame
from infra.chassis.keys.custody import Custody, Sealed, SealedFileDamaged
from infra.chassis.keys.frame import Provider
from infra.chassis.keys.probe import prove_round_trip
from infra.chassis.keys.protocol import (
    NONCE_BYTES,
    CannotDestroy,
    Description,
    KeyServiceUnfit,
    KeyServiceUnreachable,
    KeyUnusable,
    RootSealed,
    RootVersion,
    VersionState,
)
from infra.chassis.secret import Secret

WRAPS_MAX: Final = 2**31
TAG_BITS: Final = 128
AES_BITS: Final = 256
KNOWN_TEXT: Final = b"undercroft known text"
NEVER_EXPORTED: Final = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
}
_AEAD_REFUSED = (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange)
_PIN_REFUSED = (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.PinInvalid, pkcs11.PinLenRange)

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Token:
    """Which token, by its label, and how to log in. `pin_file` is read at each login."""

    module: Path
    label: str
    pin_file: Path
    key_label: str


class Library:
    """A loaded module. `starts` tells a session apart from one of before, whose handle a later one may have taken."""

    def __init__(self, module: Path) -> None:
        self.module = module
        self.lock = threading.Lock()
        self.process = os.getpid()
        self.starts = 0

    def token(self, label: str) -> pkcs11.Token:
        """Raises PKCS11Error."""
        return pkcs11.lib(str(self.module)).get_token(token_label=label)

    def start_anew(self) -> None:
        """Every session of this process on this module is gone then."""
        self.starts += 1
        pkcs11.lib(str(self.module)).reinitialize()


_libraries: dict[Path, Library] = {}
"""A module is one in a process, however many of our services use it: its sessions and its login are the process's."""


def library_of(module: Path) -> Library:
    found = _libraries.get(module)
    if found is None:
        found = _libraries[module] = Library(module)
    elif found.process != os.getpid():  # we were forked: neither its sessions nor its lock are ours
        found = _libraries[module] = Library(module)
        found.start_anew()
    return found


class Pkcs11KeyService:
    def __init__(self, token: Token, timeout_seconds: float, custody: Custody | None = None) -> None:
        self._token = token
        self._custody = custody or Custody(token.pin_file)
        self._timeout_seconds = timeout_seconds
        self._library = library_of(token.module)
        self._thread = _thread()
        self._session: Session | None = None
        self._session_of = 0
        self._refused_pin: Stamp | None = None

    async def wrap(self, key: Secret[bytes], context: bytes) -> bytes:
        plain = frame.bound(key, context)
        version, body = await self._call(lambda session: self._wrap(session, plain, context))
        return frame.header(Provider.PKCS11, version) + body

    async def unwrap(self, wrapped: bytes, context: bytes) -> Secret[bytes]:
        wrap = frame.parse(wrapped, Provider.PKCS11)
        return frame.unbound(await self._call(lambda session: self._unwrap(session, wrap, context)), context)

    def version_of(self, wrapped: bytes) -> int:
        return frame.parse(wrapped, Provider.PKCS11).version

    async def rotate(self) -> int:
        return await self._call(self._make_version)

    async def destroy_before(self, version: int) -> None:
        await self._call(lambda session: self._destroy_before(session, version))

    async def describe(self) -> Description:
        versions = sorted(await self._call(lambda session: set(self._keys(session))))
        newest = versions[-1] if versions else 0
        states = dict.fromkeys(versions, VersionState.RETIRED) | {newest: VersionState.ACTIVE}
        described = [RootVersion(one, states.get(one, VersionState.DESTROYED)) for one in range(1, newest + 1)]
        return Description("pkcs11", tuple(described), can_destroy=True, wraps_max=WRAPS_MAX)

    async def prove(self) -> None:
        if await self._call(self._exportable):
            raise KeyServiceUnfit("a root key in the token may be taken out of it (extractable, or not sensitive)")
        await prove_round_trip(self)

    async def close(self) -> None:
        if self._library.process == os.getpid():
            await asyncio.wrap_future(self._thread.submit(self._end))
            self._thread.shutdown(wait=False)

    # in the library's thread

    def _wrap(self, session: Session, plain: bytes, context: bytes) -> tuple[int, bytes]:
        keys = self._keys(session)
        if not keys:
            raise KeyServiceUnreachable(f"the token has no key labelled {self._token.key_label}.v1")
        version = max(keys)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return version, nonce + _sealed(keys[version][0], plain, nonce, frame.associated(Provider.PKCS11, context))

    def _unwrap(self, session: Session, wrap: frame.Wrap, context: bytes) -> bytes:
        """Two processes that rotate at once may make two keys of one version: each of them is tried."""
        nonce, sealed = wrap.body[:NONCE_BYTES], wrap.body[NONCE_BYTES:]
        for key in self._keys(session).get(wrap.version, []):
            plain = _opened_or_none(key, sealed, nonce, frame.associated(Provider.PKCS11, context))
            if plain is not None:
                return plain
        raise KeyUnusable

    def _make_version(self, session: Session) -> int:
        version = max(self._keys(session), default=0) + 1
        session.generate_key(
            KeyType.AES,
            AES_BITS,
            id=secrets.token_bytes(16),
            label=f"{self._token.key_label}.v{version}",
            template=NEVER_EXPORTED,
        )
        return version

    def _destroy_before(self, session: Session, version: int) -> None:
        keys = self._keys(session)
        if not keys or version > max(keys):
            raise CannotDestroy("the newest version of a root is never destroyed: rotate first")
        for key in (key for number in keys if number < version for key in keys[number]):
            key.destroy()
        if min(self._keys(session)) < version:
            raise CannotDestroy("the token still holds a key that was to be destroyed")

    def _exportable(self, session: Session) -> bool:
        keys = [key for version in self._keys(session).values() for key in version]
        return any(key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE] for key in keys)

    def _keys(self, session: Session) -> dict[int, list[SecretKey]]:
        """Asked of the token each time: what another process destroyed is gone here too."""
        found: dict[int, list[SecretKey]] = {}
        for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}):
            label = re.fullmatch(rf"{re.escape(self._token.key_label)}\.v([1-9]\d{{0,8}})", _label(key))
            if label is not None and isinstance(key, SecretKey):
                found.setdefault(int(label[1]), []).append(key)
        return found

    # getting there

    async def _call(self, ask: Callable[[Session], _R]) -> _R:
        """Raises what `ask` raises, and KeyServiceUnreachable when the token does not answer in time."""
        if self._library.process != os.getpid():
            self._library, self._thread, self._session = library_of(self._token.module), _thread(), None
        asked = asyncio.wrap_future(self._thread.submit(self._ask, ask))
        try:
            return await asyncio.wait_for(asked, self._timeout_seconds)
        except TimeoutError:
            raise KeyServiceUnreachable("the token did not answer in time") from None

    def _ask(self, ask: Callable[[Session], _R]) -> _R:
        with self._library.lock:
            try:
                return ask(self._open())
            except pkcs11.NoSuchToken:
                self._library.start_anew()
            except pkcs11.PKCS11Error:
                self._leave()
            return self._ask_again(ask)

    def _ask_again(self, ask: Callable[[Session], _R]) -> _R:
        try:
            return ask(self._open())
        except pkcs11.PKCS11Error as error:
            self._leave()
            raise KeyServiceUnreachable(f"the token answered {type(error).__name__}") from None

    def _open(self) -> Session:
        if self._session is None or self._session_of != self._library.starts:
            pin_read = stamp(self._token.pin_file)
            if pin_read is None or pin_read == self._refused_pin:
                raise KeyServiceUnreachable("the PIN file is missing, or the token refused what is in it")
            pins = self._read_pins()
            try:
                self._session, self._session_of = self._log_in(*pins), self._library.starts
            except _PIN_REFUSED:
                self._refused_pin = pin_read
                raise KeyServiceUnreachable("the token refused the PIN; it is not tried again") from None
        return self._session

    def _read_pins(self) -> list[Secret[str]]:
        """The PIN, and those it comes instead of, where somebody was changing it. Raises KeyServiceUnreachable."""
        try:
            content = self._custody.clear(self._token.pin_file.read_bytes())
            return [Secret(line.strip()) for line in content.decode().strip().split("\n")]
        except Sealed:
            raise RootSealed("the PIN of the token is under custody") from None
        except (OSError, SealedFileDamaged, UnicodeDecodeError) as error:
            raise KeyServiceUnreachable(f"the PIN file cannot be used ({type(error).__name__})") from None

    def _log_in(self, pin: Secret[str], *former: Secret[str]) -> Session:
        """With `pin`; or with a former one, and `pin` is set, if whoever was changing it did not come so far."""
        found = self._library.token(self._token.label)
        try:
            return found.open(rw=True, user_pin=pin.reveal())
        except pkcs11.UserAlreadyLoggedIn:  # by another part of this process: a login holds for all of its sessions
            return found.open(rw=True)
        except pkcs11.PinIncorrect:
            if not former:
                raise
        session = self._log_in(*former)
        try:
            session.set_pin(former[0].reveal(), pin.reveal())
        except pkcs11.PKCS11Error:
            _ignoring_errors(session.close)
            raise
        return session

    def _end(self) -> None:
        with self._library.lock:
            self._leave()

    def _leave(self) -> None:
        """Log out if there is anything to log out of; a token that is gone has logged us out itself."""
        session, self._session = self._session, None
        if session is not None and self._session_of == self._library.starts:
            _ignoring_errors(session.close)


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="pkcs11")


def _sealed(key: Any, plain: bytes, nonce: bytes, associated: bytes) -> bytes:
    return bytes(
        key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, associated, TAG_BITS))
    )


def _opened(key: Any, sealed: bytes, nonce: bytes, associated: bytes) -> bytes:
    return bytes(
        key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, associated, TAG_BITS))
    )


def _opened_or_none(key: Any, sealed: bytes, nonce: bytes, associated: bytes) -> bytes | None:
    """None when the token says that it does not open. Raises PKCS11Error when the token is at fault.

    Some tokens answer CKR_GENERAL_ERROR to a wrong tag (SoftHSM2 does), which might be a fault of theirs as well: a
    known text tells the two apart.
    """
    try:
        return _opened(key, sealed, nonce, associated)
    except _AEAD_REFUSED:
        return None
    except pkcs11.GeneralError:
        known = secrets.token_bytes(NONCE_BYTES)
        if _opened(key, _sealed(key, KNOWN_TEXT, known, b""), known, b"") != KNOWN_TEXT:
            raise
        return None


def _label(key: Any) -> str:
    return str(key[Attribute.LABEL])


def _ignoring_errors(close: Callable[[], None]) -> None:
    try:
        close()
    except pkcs11.PKCS11Error:
        return
