"""What the media guard does: it asks for keys, seals what a caller keyed in, and hands the envelope to the vault."""

import json
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from infra.chassis.canonical import parameters_sha256
from tests.sandbox.running import APPROVES
from tests.vault.bench import JSON, Doors, Person
from vault.cleartext.hpke import PagePublicKey, SealSuite, seal_form
from vault.contract import CaptureChannel, CaptureOrder
from vault.keyed.wire import KeyedCard
from vault.processors import ProcessorSettings

BY_PHONE = ProcessorSettings(phone_processors="stripe")
"""A vault whose Stripe account is enabled for telephone orders."""


@dataclass(frozen=True, slots=True)
class Guard:
    doors: Doors

    async def ordered(self, person: Person, **ordered: Any) -> CaptureOrder:
        order = person.capture(**{"channel": CaptureChannel.PHONE, **ordered})
        answer = await self.doors.order_capture(order)
        assert answer.status_code == 200, answer.text
        return order

    async def keys(self, order: CaptureOrder, grant: str | None = None) -> httpx2.Response:
        path, named = f"/v1/captures/{order.capture_id}/keys", {"capture_id": order.capture_id}
        compact = self.doors.mint.grant("offer_keys", order, named) if grant is None else grant
        return await self.doors.api.get(path, headers=self.doors.mint.headers(compact, "GET", path))

    async def key(self, order: CaptureOrder, suite: SealSuite = SealSuite.X_WING) -> PagePublicKey:
        offered = (await self.keys(order)).json()["keys"]
        return next(PagePublicKey(**{**key, "suite": suite}) for key in offered if key["suite"] == suite)

    async def sealed(
        self, order: CaptureOrder, number: str = APPROVES, suite: SealSuite = SealSuite.X_WING, **changes: Any
    ) -> KeyedCard:
        return envelope(await self.key(order, suite), card_of(number) | changes)

    def granted(self, order: CaptureOrder, keyed: KeyedCard | dict[str, Any], **changes: Any) -> str:
        return self.doors.mint.grant("take_keyed", order, self.named(order, keyed), **changes)

    def named(self, order: CaptureOrder, keyed: KeyedCard | dict[str, Any]) -> dict[str, str]:
        """What the grant is for."""
        return {"capture_id": order.capture_id, "envelope_sha256": parameters_sha256(keyed)}

    async def hand_in(
        self, order: CaptureOrder, keyed: KeyedCard | dict[str, Any], grant: str | None = None
    ) -> httpx2.Response:
        path = f"/v1/captures/{order.capture_id}/keyed"
        compact = self.granted(order, keyed) if grant is None else grant
        headers = {**JSON, **self.doors.mint.headers(compact, "POST", path)}
        return await self.doors.api.post(path, content=msgspec.json.encode(keyed), headers=headers)

    async def key_in(
        self, order: CaptureOrder, number: str = APPROVES, suite: SealSuite = SealSuite.X_WING, **changes: Any
    ) -> dict[str, Any]:
        answer = await self.hand_in(order, await self.sealed(order, number, suite, **changes))
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def new_token(
        self, person: Person, number: str = APPROVES, suite: SealSuite = SealSuite.X_WING, **ordered: Any
    ) -> str:
        """A card keyed in just now, its verification code still at hand."""
        view = await self.key_in(await self.ordered(person, **ordered), number, suite)
        assert view["state"] == "completed", view
        token: str = view["token_id"]
        return token


def card_of(number: str) -> dict[str, Any]:
    code = "1234" if number.startswith(("34", "37")) else "123"
    return {"number": number, "expiry": "1240", "code": code}


def envelope(key: PagePublicKey, card: Any) -> KeyedCard:
    sealed = seal_form(json.dumps(card).encode(), key)
    return KeyedCard(key_id=sealed.key_id, enc=sealed.enc, ct=sealed.ct)
