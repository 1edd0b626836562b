"""Checkout.com's Standalone Account Updater, through its HTTP API. Nothing it wrote as text leaves this file.

`POST /account-updater/cards` takes a card of anybody's vault and answers at once. Shapes: its API reference
(*Standalone Account Updater*) and its own SDKs, which are MIT (`checkout-sdk-go`, `standaloneaccountupdater`).

Its Python SDK is not used: at the login it turns the verification of certificates off (`verify=False` in
`oauth_credentials.py`), it blocks, and it puts the answer into exceptions.

A new number comes sealed as a JWE (RFC 7516) under a public key that we gave them; they say so, and not under which
algorithms. For what is sent to them they publish RSA keys and the compact form, so that is what is taken here, with the
algorithms RFC 7518 has for it that nobody advises against; anything else is implausible, and nothing changes.
"""

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from joserfc import jwe
from joserfc.jwk import RSAKey

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.secret import Secret
from vault.cleartext.pan import CardDetails, CardNumber
from vault.cleartext.processors.transport import NoAnswer, Wire
from vault.cleartext.updaters import Implausible, Outcome, Renewed, UpdaterBusy, UpdaterSilent

INQUIRIES: Final = "/account-updater/cards"
LOGIN: Final = "/connect/token"
SCOPE: Final = "vault:real-time-account-updater"
ALGORITHMS: Final = ("RSA-OAEP-256", "A256GCM")
BEARER_MARGIN: Final = timedelta(seconds=30)
BEARER_SECONDS_MAX: Final = 3_600
BUSY_SECONDS: Final = 60
"""Where nothing usable is said about it."""
BUSY_SECONDS_MAX: Final = 3_600
BUSY_DIGITS_MAX: Final = 5
OK, UNAUTHORIZED, UNPROCESSABLE, TOO_MANY = 200, 401, 422, 429

log = logs.get_logger()


class _Status(StrEnum):
    NUMBER = "CARD_UPDATED"
    MONTH = "CARD_EXPIRY_UPDATED"
    CLOSED = "CARD_CLOSED"
    FAILED = "UPDATE_FAILED"


FAILURES: Final[Mapping[str | None, Outcome]] = {
    "CARDHOLDER_OPT_OUT": Outcome.OPTED_OUT,
    "UP_TO_DATE": Outcome.UP_TO_DATE,
    "NON_PARTICIPATING_BIN": Outcome.NOT_PARTICIPATING,
    "UNKNOWN": Outcome.NOT_KNOWN,
}
"""Why there was no update. One that is new to us, or was not said, changes nothing either."""


class _Card(msgspec.Struct, frozen=True):
    sealed_number: str | None = msgspec.field(name="encrypted_card_number", default=None)
    bin: str | None = None
    last4: str | None = None
    expiry_month: int | None = None
    expiry_year: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    account_update_status: _Status
    account_update_failure_code: str | None = None
    card: _Card | None = None


class _Bearer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int


class CheckoutUpdater:
    def __init__(
        self,
        *,
        url: str,
        login_url: str,
        client_id: str,
        client_secret: Secret[str],
        key: Secret[bytes],
        timeout_seconds: float,
        clock: Clock,
    ) -> None:
        """`key`: the RSA key under which new numbers come, as PEM."""
        self._url, self._login_url = url.rstrip("/"), login_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._key = RSAKey.import_key(key.reveal())
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._wire = Wire(timeout_seconds)
        self._bearer: tuple[Secret[str], datetime] | None = None
        self._at_the_door = asyncio.Lock()

    async def ask(self, card: CardDetails) -> Renewed | Outcome:
        body, status, headers = await self._asked(_inquiry(card))
        if status == TOO_MANY:
            raise UpdaterBusy(_seconds(headers))
        if status == UNPROCESSABLE:
            return Outcome.NOT_TAKEN
        if status != OK:
            log.warning("updater_answered", status=status)
            raise UpdaterSilent
        return self._read(body)

    async def close(self) -> None:
        await self._wire.close()

    def _read(self, body: bytes) -> Renewed | Outcome:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UpdaterSilent from None
        if answer.account_update_status is _Status.CLOSED:
            return Outcome.CLOSED
        if answer.account_update_status is _Status.FAILED:
            return FAILURES.get(answer.account_update_failure_code, Outcome.NOT_KNOWN)
        another, said = answer.account_update_status is _Status.NUMBER, answer.card or _Card()
        if another and said.sealed_number is None:
            return Outcome.WITHHELD
        return Renewed(
            another=another,
            number=None if said.sealed_number is None else self._opened(said.sealed_number),
            exp_month=said.expiry_month,
            exp_year=said.expiry_year,
            first_digits=said.bin,
            last4=said.last4,
        )

    def _opened(self, sealed: str) -> CardNumber:
        """Raises Implausible, whatever is wrong: the library and the number raise a dozen kinds between them."""
        try:
            digits = jwe.decrypt_compact(sealed, self._key, algorithms=ALGORITHMS).plaintext
            return CardNumber((digits or b"").decode("ascii"))
        except Exception as error:  # noqa: BLE001 - see above; it fails closed
            raise Implausible(f"sealed_number_{type(error).__name__}") from None

    async def _asked(self, content: bytes) -> tuple[bytes, int, Mapping[str, str]]:
        """With a login before it, or another one, it still takes no longer than one call may."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answered = await self._send(content)
                if answered[1] == UNAUTHORIZED:
                    self._bearer = None
                    answered = await self._send(content)
                return answered
        except (NoAnswer, TimeoutError):
            raise UpdaterSilent from None

    async def _send(self, content: bytes) -> tuple[bytes, int, Mapping[str, str]]:
        bearer = await self._enter()
        headers = {"authorization": f"Bearer {bearer.reveal()}", "content-type": "application/json"}
        return await self._wire.ask("POST", self._url + INQUIRIES, headers, content)

    async def _enter(self) -> Secret[str]:
        """A bearer good for a while yet (RFC 6749, section 4.4); one login at a time. No card goes to this address."""
        async with self._at_the_door:
            now = self._clock.now()
            if self._bearer is not None and now < self._bearer[1]:
                return self._bearer[0]
            known = f"{self._client_id}:{self._client_secret.reveal()}".encode()
            headers = {
                "authorization": f"Basic {base64.b64encode(known).decode()}",
                "content-type": "application/x-www-form-urlencoded",
            }
            content = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
            body, status, _ = await self._wire.ask("POST", self._login_url + LOGIN, headers, content)
            if status != OK:
                log.error("updater_login_refused", status=status)
                raise UpdaterSilent
            try:
                made = msgspec.json.decode(body, type=_Bearer)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise UpdaterSilent from None
            lasts = timedelta(seconds=min(max(made.expires_in, 0), BEARER_SECONDS_MAX)) - BEARER_MARGIN
            self._bearer = Secret(made.access_token), now + lasts
            return self._bearer[0]


def _inquiry(card: CardDetails) -> bytes:
    asked: dict[str, Any] = {
        "number": str(card.number.reveal(), "ascii"),
        "expiry_month": card.exp_month,
        "expiry_year": card.exp_year,
    }
    return msgspec.json.encode({"source_options": {"card": asked}})


def _seconds(headers: Mapping[str, str]) -> int:
    """Of `Retry-After` (RFC 9110, section 10.2.3) its seconds; a date, or whatever else stands there, is not read."""
    said = headers.get("retry-after", "")
    usable = said.isascii() and said.isdigit() and len(said) <= BUSY_DIGITS_MAX
    return min(int(said), BUSY_SECONDS_MAX) if usable else BUSY_SECONDS
