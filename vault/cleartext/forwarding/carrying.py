"""Carrying a card to its destination, and the answer back without it. Between the two the card is in clear here.

The card is opened only when the destination's address is known, filled into the body, sent once over one connection,
and searched for in what comes back. What this hands on holds nothing of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.crashpoints import reach
from infra.chassis.keys import KeyServiceUnreachable
from vault.cleartext.forwarding.network import AddressRefused, Answer, AnswerMissing, Network, NotReached
from vault.cleartext.forwarding.redaction import Sent, Shown, Unshown, redact, redact_headers
from vault.cleartext.forwarding.template import Template, fill
from vault.cleartext.opening import UNREADABLE, CardClosed, CardReplaced, CardShredded
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.tokenise import Cards, CodeMissing
from vault.contract import ForwardReason, ForwardState, Withheld
from vault.forwarding.destinations import DestinationInvalid, Part, Target, target_of
from vault.forwarding.rows import Destination
from vault.keys.ring import KeyUnavailable
from vault.tables import CardRow

CREDENTIAL_LENGTH_MAX: Final = 4096
IDENTITY: Final = frozenset({"", "identity"})
log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Carried:
    """How a forward went. `shown` is what may be seen of the answer."""

    state: ForwardState
    reason: ForwardReason | None = None
    http_status: int | None = None
    withheld: Withheld | None = None
    shown: Shown | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Errand:
    """Which forward this is, and until when the request may leave."""

    forward_id: str
    send_by: datetime


class TooLate(Exception):
    """Whoever asks how the forward stands may by now have been told that its carrier is lost; nothing is sent."""


class CredentialMissing(Exception):
    """There is no file with it, or not one line of ASCII in it."""


FAILURES: Final[dict[type[Exception], ForwardReason]] = {
    CredentialMissing: ForwardReason.CREDENTIAL_MISSING,
    AddressRefused: ForwardReason.DESTINATION_ADDRESS_REFUSED,
    DestinationInvalid: ForwardReason.DESTINATION_ADDRESS_REFUSED,
    NotReached: ForwardReason.DESTINATION_UNREACHABLE,
    CodeMissing: ForwardReason.VERIFICATION_CODE_MISSING,
    CardShredded: ForwardReason.CARD_SHREDDED,
    CardReplaced: ForwardReason.CARD_UNAVAILABLE,
    CardClosed: ForwardReason.CARD_CLOSED,
    KeyServiceUnreachable: ForwardReason.CARD_UNAVAILABLE,
    KeyUnavailable: ForwardReason.CARD_UNAVAILABLE,
    TooLate: ForwardReason.CARD_UNAVAILABLE,
    **dict.fromkeys(UNREADABLE, ForwardReason.CARD_UNREADABLE),
}
"""What goes wrong before anything is sent."""


class Carrier:
    def __init__(
        self, *, cards: Cards, network: Network, clock: Clock, credentials: Path | None, sandbox: bool
    ) -> None:
        self._clock = clock
        self._cards = cards
        self._network = network
        self._credentials = credentials
        self._sandbox = sandbox

    async def fetch_key(self, card: CardRow) -> None:
        """So that the forward itself need not wait for the key service. Raises KeyServiceUnreachable."""
        if not self._cards.key_at_hand(card):
            await self._cards.fetch_key(card)

    async def carry(self, card: CardRow, destination: Destination, template: Template, errand: Errand) -> Carried:
        """Send the card once. Failed means that nothing was sent; unknown, that it may have been."""
        try:
            return await self._carried(card, destination, template, errand)
        except AnswerMissing:
            return Carried(ForwardState.UNKNOWN, ForwardReason.ANSWER_LOST)
        except tuple(FAILURES) as failure:
            reason = next(reason for kind, reason in FAILURES.items() if isinstance(failure, kind))
            return Carried(ForwardState.FAILED, reason)

    async def _carried(self, card: CardRow, destination: Destination, template: Template, errand: Errand) -> Carried:
        """Raises AnswerMissing, and those of FAILURES."""
        target = target_of(destination.url, sandbox=self._sandbox)
        credential = self._credential(destination)
        addresses = await self._network.addresses(target, destination.tenant_id)
        async with self._cards.lend(card, with_code=Part.CODE in template.parts) as (details, code):
            headers = _headers(destination, template, credential, errand.forward_id)
            body = fill(template, _parts(details, code))
            sent = _sent(details, code, template, credential)
            if self._clock.now() >= errand.send_by:
                raise TooLate
            return await self._exchange(target, addresses, destination, headers, body, sent)

    async def _exchange(
        self,
        target: Target,
        addresses: list[str],
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes,
        sent: Sent,
    ) -> Carried:
        answer = await self._network.send(target, addresses, destination.method, headers, body)
        reach("forward_sent")
        try:
            shown = await asyncio.to_thread(_shown, answer, destination, sent)
        except Unshown as unshown:
            return Carried(ForwardState.FORWARDED, None, answer.status, unshown.reason)
        except Exception as error:  # noqa: BLE001 - whatever a search fails at, its text is not shown
            log.warning("redaction_failed", error=type(error).__name__)
            return Carried(ForwardState.FORWARDED, None, answer.status, Withheld.UNSURE)
        return Carried(ForwardState.FORWARDED, None, answer.status, None, shown)

    def _credential(self, destination: Destination) -> str | None:
        """Read each time, so that it can be changed beside a running vault. Raises CredentialMissing."""
        if destination.credential_header is None:
            return None
        if self._credentials is None:
            raise CredentialMissing
        try:
            value = (self._credentials / destination.tenant_id / destination.destination_id).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise CredentialMissing from None
        if not 0 < len(value) <= CREDENTIAL_LENGTH_MAX or not value.isprintable():
            raise CredentialMissing
        return value


def _shown(answer: Answer, destination: Destination, sent: Sent) -> Shown:
    """Raises Unshown."""
    headers = {name: values[0] for name in destination.answer_headers if len(values := answer.values(name)) == 1}
    if answer.body is None:
        raise Unshown(Withheld.TOO_LARGE)
    if not answer.body:
        return redact_headers(headers, sent)
    encodings = answer.values("content-encoding")
    if any(value.strip().lower() not in IDENTITY for value in encodings):
        raise Unshown(Withheld.CONTENT_ENCODING)
    types = answer.values("content-type")
    if len(types) != 1:
        raise Unshown(Withheld.CONTENT_TYPE)
    return redact(answer.body, types[0], headers, sent)


def _headers(destination: Destination, template: Template, credential: str | None, forward_id: str) -> dict[str, str]:
    headers = {
        "Content-Type": template.kind.media_type,
        "Accept": "application/json, application/x-www-form-urlencoded",
        "Accept-Encoding": "identity",
        "Idempotency-Key": forward_id,
        "User-Agent": "undercroft-vault",
    }
    if destination.credential_header is not None and credential is not None:
        headers[destination.credential_header] = credential
    return headers


def _parts(details: CardDetails, code: VerificationCode | None) -> dict[Part, str]:
    year = f"{details.exp_year:04d}"
    parts = {
        Part.NUMBER: bytes(details.number.reveal()).decode("ascii"),
        Part.EXP_MONTH: f"{details.exp_month:02d}",
        Part.EXP_YEAR: year,
        Part.EXP_YEAR_SHORT: year[-2:],
        Part.EXPIRY: f"{details.exp_month:02d}/{year[-2:]}",
        Part.HOLDER: details.holder,
    }
    return parts if code is None else {**parts, Part.CODE: bytes(code.reveal()).decode("ascii")}


def _sent(details: CardDetails, code: VerificationCode | None, template: Template, credential: str | None) -> Sent:
    parts = _parts(details, code)
    return Sent(
        number=parts[Part.NUMBER],
        code=parts.get(Part.CODE),
        holder=parts[Part.HOLDER] if Part.HOLDER in template.parts else None,
        credential=credential,
    )
