"""`/_sandbox`: what Stripe does not have. Fault switches, the off switch, and what was charged.

No API key is asked for: whoever may call these is a program on this machine (loopback.py refuses the rest).
"""

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler

from infra.sandbox.desk import Desk
from infra.sandbox.errors import BadParameter
from infra.sandbox.faults import Fault, Switch
from infra.sandbox.resources import Charge

_CHARGES_MAX = 1_000
_TIMES_MAX = 1_000

AnyRequest = Request[Any, Any, Any]
S = TypeVar("S", bound=msgspec.Struct)


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`operation` is "charge", "any" or an operation's name such as "refunds.create"."""

    fault: Fault
    times: Annotated[int, msgspec.Meta(ge=1, le=_TIMES_MAX)] = 1
    operation: str | None = None


class FaultsView(msgspec.Struct, frozen=True, kw_only=True):
    """The switches that are on, and how many requests wait."""

    faults: tuple[Switch, ...]
    held: int
    down: bool


class ChargeView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to charge, as the demo's story tells it."""

    id: str
    payment_intent: str
    created: int
    amount_minor: int
    amount_settled_minor: int
    amount_refunded_minor: int
    currency: str
    status: str
    brand: str
    last4: str
    disputed: bool
    moto: bool
    failure_code: str | None
    decline_code: str | None
    description: str | None
    metadata: dict[str, str]


def control_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get(["/_sandbox/health", "/health", "/ready"])
    async def health() -> Response[bytes]:
        return json_response({"status": "ok", "down": desk.faults.down})

    @get("/_sandbox/charges")
    async def show_charges() -> Response[bytes]:
        newest = islice(desk.ledger.all_of(Charge), _CHARGES_MAX)
        return json_response({"charges": [_charge_view(charge) for charge in newest]})

    return [health, show_charges, *_fault_routes(desk), *_down_routes(desk), *_merchant_routes(desk)]


def _fault_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/_sandbox/faults")
    async def show_faults() -> Response[bytes]:
        return _faults(desk)

    @post("/_sandbox/faults", status_code=200)
    async def add_fault(request: AnyRequest) -> Response[bytes]:
        order = read_json(await request.body(), FaultOrder)
        try:
            desk.faults.add(order.fault, times=order.times, aim=order.operation)
        except ValueError:
            raise BadParameter(
                "This fault cannot be aimed at that operation, or there are too many faults.", param="operation"
            ) from None
        return _faults(desk)

    @delete("/_sandbox/faults", status_code=200)
    async def clear_faults() -> Response[bytes]:
        desk.faults.clear()
        return _faults(desk)

    @post("/_sandbox/release", status_code=200)
    async def release() -> Response[bytes]:
        return json_response({"released": desk.waiting_room.release()})

    return [show_faults, add_fault, clear_faults, release]


def _down_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @get("/_sandbox/down")
    async def show_down() -> Response[bytes]:
        return json_response({"down": desk.faults.down})

    @post("/_sandbox/down", status_code=200)
    async def switch_off() -> Response[bytes]:
        desk.faults.down = True
        return json_response({"down": True})

    @delete("/_sandbox/down", status_code=200)
    async def switch_on() -> Response[bytes]:
        desk.faults.down = False
        return json_response({"down": False})

    return [show_down, switch_off, switch_on]


def _merchant_routes(desk: Desk) -> list[HTTPRouteHandler]:
    @post("/_sandbox/moto", status_code=200)
    async def enable_moto() -> Response[bytes]:
        desk.merchant.moto = True
        return json_response({"moto": True})

    @delete("/_sandbox/moto", status_code=200)
    async def disable_moto() -> Response[bytes]:
        desk.merchant.moto = False
        return json_response({"moto": False})

    return [enable_moto, disable_moto]


def json_response(
    document: object, *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> Response[bytes]:
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **headers},
    )


def read_json(body: bytes, kind: type[S]) -> S:
    """Raises BadParameter that names the kind of body wanted, never what was sent."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = ", ".join(kind.__struct_fields__)
        raise BadParameter(f"The body must be a JSON object with these fields: {fields}.") from None


def _faults(desk: Desk) -> Response[bytes]:
    view = FaultsView(faults=desk.faults.switches, held=desk.waiting_room.held, down=desk.faults.down)
    return json_response(view)


def _charge_view(charge: Charge) -> ChargeView:
    card = charge.payment_method.card
    return ChargeView(
        id=charge.id,
        payment_intent=charge.payment_intent,
        created=charge.created,
        amount_minor=charge.amount,
        amount_settled_minor=charge.amount_captured,
        amount_refunded_minor=charge.amount_refunded,
        currency=charge.currency.upper(),
        status=_status(charge),
        brand=card.brand,
        last4=card.last4,
        disputed=charge.disputed,
        moto=charge.moto,
        failure_code=None if charge.failure is None else charge.failure.code,
        decline_code=None if charge.failure is None else charge.failure.decline_code,
        description=charge.description,
        metadata=charge.metadata,
    )


def _status(charge: Charge) -> str:
    """`failed`, `held`, `released` or `settled`: what became of the money."""
    if not charge.paid:
        return "failed"
    if charge.released:
        return "released"
    return "settled" if charge.captured else "held"
