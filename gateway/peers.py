"""The services behind this one: each call carries a fresh grant for exactly what it asks."""

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

import memory.contract
import vault.contract
from gateway.grants import GrantMint
from infra.chassis.client import PeerClient, PeerRefused
from infra.chassis.problems import PeerUnreachable

VAULT: Final = "vault"
MEMORY: Final = "memory"
VaultOrder = (
    vault.contract.CaptureOrder | vault.contract.ChargeOrder | vault.contract.RefundOrder | vault.contract.ForwardOrder
)
MemoryOrder = (
    memory.contract.RememberOrder
    | memory.contract.RecallOrder
    | memory.contract.ForgetOrder
    | memory.contract.PrepareOrder
)
V = TypeVar("V")
SERVER_ERROR: Final = 500
NOTHING_DONE: Final = frozenset({"sealed", "key_service_unreachable"})
"""A vault whose custodians have not been there looks at nothing; one without its keys writes nothing down."""


def did_nothing(refused: PeerRefused) -> bool:
    """Whether the vault says that it did nothing about this very request. About an earlier one it says nothing."""
    return refused.status < SERVER_ERROR or refused.code in NOTHING_DONE


@dataclass(frozen=True, slots=True)
class Behalf:
    """For whom and by which decision a peer is called."""

    actor: str
    decision_id: str


class Vault:
    """Raises NotConnected (nothing happened), AnswerLost (something may have) or PeerRefused."""

    def __init__(self, client: PeerClient, mint: GrantMint) -> None:
        self._client = client
        self._mint = mint

    async def capture(self, order: vault.contract.CaptureOrder, behalf: Behalf) -> vault.contract.CaptureView:
        """Repeating it answers the same capture, with its present state."""
        return await self._call(
            "/v1/captures", vault.contract.Action.CAPTURE_CARD, order, behalf, vault.contract.CaptureView
        )

    async def charge(self, order: vault.contract.ChargeOrder, behalf: Behalf) -> vault.contract.ChargeView:
        return await self._call("/v1/charges", vault.contract.Action.CHARGE, order, behalf, vault.contract.ChargeView)

    async def refund(self, order: vault.contract.RefundOrder, behalf: Behalf) -> vault.contract.RefundView:
        return await self._call("/v1/refunds", vault.contract.Action.REFUND, order, behalf, vault.contract.RefundView)

    async def forward(self, order: vault.contract.ForwardOrder, behalf: Behalf) -> vault.contract.ForwardView:
        """Repeating it sends nothing and answers how it stands, without the destination's answer."""
        return await self._call("/v1/forward", vault.contract.Action.FORWARD, order, behalf, vault.contract.ForwardView)

    async def _call(self, path: str, action: str, order: VaultOrder, behalf: Behalf, answer: type[V]) -> V:
        headers = _granted(self._mint, VAULT, action, path, order, behalf)
        return await self._client.call("POST", path, answer, body=order, headers=headers)


class Memory:
    """Raises PeerUnreachable or PeerRefused."""

    def __init__(self, client: PeerClient, mint: GrantMint) -> None:
        self._client = client
        self._mint = mint

    async def remember(self, order: memory.contract.RememberOrder, behalf: Behalf) -> memory.contract.RememberView:
        return await self._call(
            "/v1/memories", memory.contract.Action.REMEMBER, order, behalf, memory.contract.RememberView
        )

    async def recall(self, order: memory.contract.RecallOrder, behalf: Behalf) -> memory.contract.RecallView:
        return await self._call("/v1/recalls", memory.contract.Action.RECALL, order, behalf, memory.contract.RecallView)

    async def prepare(self, order: memory.contract.PrepareOrder, behalf: Behalf) -> memory.contract.PreparedView:
        return await self._call(
            "/v1/preparations", memory.contract.Action.PREPARE, order, behalf, memory.contract.PreparedView
        )

    async def release(self, order: memory.contract.ReleaseOrder, behalf: Behalf) -> memory.contract.RecallView:
        return await self._call(
            "/v1/releases", memory.contract.Action.RELEASE, order, behalf, memory.contract.RecallView
        )

    async def forget(self, order: memory.contract.ForgetOrder, behalf: Behalf) -> memory.contract.ForgetView:
        return await self._call(
            "/v1/erasures", memory.contract.Action.FORGET, order, behalf, memory.contract.ForgetView
        )

    async def _call(self, path: str, action: str, order: MemoryOrder, behalf: Behalf, answer: type[V]) -> V:
        headers = _granted(self._mint, MEMORY, action, path, order, behalf)
        return await self._client.call("POST", path, answer, body=order, headers=headers)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    to: str
    subject: str
    text: str


class Inbox:
    """Whoever delivers messages: `POST /messages`. The sandbox's inbox here, a mail provider's adapter elsewhere."""

    def __init__(self, client: PeerClient) -> None:
        self._client = client

    async def send_code(self, *, to: str, brand_name: str, code: str) -> None:
        """Raises PeerUnreachable, also when the message was refused: the caller can only ask for another code."""
        message = Message(
            to=to,
            subject=f"Your code for {brand_name}",
            text=f"{code} is your code for {brand_name}. It is good for ten minutes. Nobody from {brand_name} will ask"
            " you to read it out unless you asked for it yourself.",
        )
        await self._send(message)

    async def send_notice(self, *, to: str, subject: str, body: str) -> None:
        """Something a person must know. Raises PeerUnreachable."""
        await self._send(Message(to=to, subject=subject, text=body))

    async def _send(self, message: Message) -> None:
        try:
            await self._client.call("POST", "/messages", msgspec.Raw, body=message)
        except PeerRefused:
            raise PeerUnreachable(code="inbox_unreachable") from None


def _granted(
    mint: GrantMint, audience: str, action: str, path: str, order: VaultOrder | MemoryOrder, behalf: Behalf
) -> dict[str, str]:
    grant = mint.mint(
        audience=audience,
        action=action,
        actor=behalf.actor,
        tenant_id=order.tenant_id,
        brand_id=order.brand_id,
        subject_id=order.subject_id,
        decision_id=behalf.decision_id,
        parameters=order,
    )
    return mint.headers(grant, method="POST", path=path)
