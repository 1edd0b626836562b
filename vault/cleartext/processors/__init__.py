"""What the vault asks of a payment processor, in our words. Adapters are another company's behind one protocol.

No text of a processor comes through here: reasons are members of `ChargeReason`, references are checked for shape.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vault.cleartext.pan import CardDetails, VerificationCode
from vault.contract import ChargeReason


class PaymentState(StrEnum):
    """Where a payment stands at the processor."""

    UNCONFIRMED = "unconfirmed"
    """Opened; no card was ever presented for it, so nothing was charged."""
    HELD = "held"
    """Approved by the card's bank; the money is taken when it is settled."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    """The card was refused; another attempt on the same payment would still be possible until it is cancelled."""
    PROCESSING = "processing"
    NEEDS_AUTHENTICATION = "needs_authentication"
    CANCELLED = "cancelled"


class DisputeStanding(StrEnum):
    """What the card's bank did about a payment its holder disputes."""

    INQUIRY = "inquiry"
    """It asks; the money is where it was."""
    CLOSED = "closed"
    """An inquiry that ended, or a dispute that was prevented; no money was taken back."""
    OPEN = "open"
    LOST = "lost"
    WON = "won"
    """The chargeback was reversed; the money is here again."""


class RefundStanding(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """`key` is durable: the same key always means the same payment, also after a restart.

    `by_phone`: a mail or telephone order, which the card networks want to be told, and which 3-D Secure is not for.
    `return_url` is where a person comes back to from a page of their bank. None: nobody can be sent to one.
    """

    key: str
    tenant_id: str
    charge_id: str
    amount_minor: int
    currency: str
    hold: bool = False
    by_phone: bool = False
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """`taken_minor` is what was taken in all; `lapsed` says of a cancelled one that its time ran out.

    `action_url` is the page on which the card's holder can confirm a payment that needs it: https, at an origin this
    vault was told to trust. None when there is no such page, whatever the processor named.
    """

    ref: str
    state: PaymentState
    reason: ChargeReason | None = None
    taken_minor: int = 0
    lapsed: bool = False
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    ref: str
    standing: DisputeStanding
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class RefundRequest:
    key: str
    tenant_id: str
    refund_id: str
    payment_ref: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class RefundResult:
    ref: str
    standing: RefundStanding


@dataclass(frozen=True, slots=True)
class ProcessorEvent:
    """A signed event. What it says of states is not believed: it only says where to look.

    A dispute's event names no tenant, only the payment; a payment's own names both.
    """

    event_id: str
    kind: str
    tenant_id: str | None
    payment_ref: str | None


class ProcessorRefused(Exception):
    """The processor answered that it did not do it, and will not."""

    def __init__(self, reason: ChargeReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class CardRefused(ProcessorRefused):
    """The card's bank, or the processor in its place, said no to this card."""


class ProcessorSilent(Exception):
    """No answer, or none that can be relied on: it may or may not have acted."""


class EventRefused(Exception):
    """Not signed by the processor, too old, or not an event."""


class Processor(Protocol):
    """Every call raises ProcessorRefused (of which CardRefused is one) or ProcessorSilent and nothing else."""

    async def open_payment(self, order: PaymentOrder) -> str:
        """The processor's reference of a new, unconfirmed payment; repeating it with the same key gives the same."""
        ...

    async def present_card(self, key: str, card: CardDetails, code: VerificationCode | None) -> str:
        """A reference for one use of this card. Nothing is charged by it."""
        ...

    async def confirm_payment(
        self, key: str, ref: str, method_ref: str, *, by_phone: bool = False, return_url: str | None = None
    ) -> Payment:
        """Charge. The one call after which money may have moved. `by_phone` and `return_url` as it was opened with."""
        ...

    async def look_up_payment(self, ref: str) -> Payment: ...

    async def find_payments(self, tenant_id: str, charge_id: str) -> list[Payment]:
        """Those opened for a charge, found by our own ids: for when the answer that named one was lost."""
        ...

    async def settle_payment(self, key: str, ref: str, amount_minor: int, currency: str) -> Payment:
        """Take held money, all or a part; the rest is let go."""
        ...

    async def cancel_payment(self, ref: str, key: str | None = None) -> None:
        """Refused when it cannot be cancelled any more, for instance because it succeeded. Lets go of held money.

        Without a durable `key` each attempt has one of its own.
        """
        ...

    async def disputes_of(self, ref: str) -> list[Dispute]:
        """Every dispute about a payment, as each stands now."""
        ...

    async def refund(self, request: RefundRequest) -> RefundResult: ...

    async def find_refund(self, request: RefundRequest) -> RefundResult | None:
        """The refund made for this request, found by our own id."""
        ...

    def read_event(self, body: bytes, signature: str | None) -> ProcessorEvent:
        """Verify the signature over the raw bytes, then read. Raises EventRefused."""
        ...

    async def close(self) -> None: ...
