"""The API, for the gateway alone. Each route checks and uses up its grant, does one thing, and answers."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from infra.chassis.grants import Presented
from vault.admission import Admission
from vault.captures import Captures
from vault.charges import Charges
from vault.contract import (
    Action,
    CaptureOrder,
    CaptureView,
    ChargeOrder,
    ChargeView,
    ForwardOrder,
    ForwardView,
    HoldEndView,
    HoldOrder,
    RefundOrder,
    RefundView,
    SettleOrder,
    VoidOrder,
)
from vault.forwarding.forwards import Forwards
from vault.holds.ending import HoldEnds
from vault.refunds import Refunds


@post("/v1/captures", status_code=200)
async def order_capture(
    data: JSONBody[CaptureOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    captures: NamedDependency[Captures],
) -> CaptureView:
    """Let one person type one card; repeating it answers the same capture."""
    grant = await admission.admit(presented, Action.CAPTURE_CARD, data)
    return await captures.order(data, grant.actor)


@get("/v1/captures/{capture_id:str}")
async def show_capture(
    capture_id: FromPath[str],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    captures: NamedDependency[Captures],
) -> CaptureView:
    """Whether the card is there, and its token."""
    admitted = await admission.admit_parameters(presented, Action.READ_CAPTURE, {"capture_id": capture_id})
    return await captures.show(capture_id, admitted)


@post("/v1/charges", status_code=200)
async def charge(
    data: JSONBody[ChargeOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    charges: NamedDependency[Charges],
) -> ChargeView:
    """Charge a stored card once; repeating it answers how it stands."""
    grant = await admission.admit(presented, Action.CHARGE, data)
    return await charges.charge(data, grant.actor)


@post("/v1/holds", status_code=200)
async def hold(
    data: JSONBody[HoldOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    charges: NamedDependency[Charges],
) -> ChargeView:
    """Have money held on a stored card once; repeating it answers how it stands."""
    grant = await admission.admit(presented, Action.HOLD, data)
    return await charges.charge(data, grant.actor)


@post("/v1/settlements", status_code=200)
async def settle(
    data: JSONBody[SettleOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    holds: NamedDependency[HoldEnds],
) -> HoldEndView:
    """Take held money, all or a part; the rest is let go. Repeating it answers how it stands."""
    await admission.admit(presented, Action.SETTLE, data)
    return await holds.settle(data)


@post("/v1/voids", status_code=200)
async def void(
    data: JSONBody[VoidOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    holds: NamedDependency[HoldEnds],
) -> HoldEndView:
    """Let go of held money; repeating it answers how it stands."""
    await admission.admit(presented, Action.VOID, data)
    return await holds.void(data)


@post("/v1/refunds", status_code=200)
async def refund(
    data: JSONBody[RefundOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    refunds: NamedDependency[Refunds],
) -> RefundView:
    """Give back a part of a charge or all that is left; repeating it answers how it stands."""
    await admission.admit(presented, Action.REFUND, data)
    return await refunds.refund(data)


@post("/v1/forward", status_code=200)
async def forward(
    data: JSONBody[ForwardOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    forwards: NamedDependency[Forwards],
) -> ForwardView:
    """Send a stored card to a registered destination once; repeating it answers how it stands."""
    admitted = await admission.admit(presented, Action.FORWARD, data)
    return await forwards.forward(data, admitted.actor)


ROUTES = (order_capture, show_capture, charge, hold, settle, void, refund, forward)
