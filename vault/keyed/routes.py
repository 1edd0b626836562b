"""The media guard's two routes, on the API listener: grants like every other there, and no page."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from infra.chassis.canonical import parameters_sha256
from infra.chassis.grants import Presented
from vault.admission import Admission
from vault.contract import Action
from vault.keyed.taking import KeyedCards
from vault.keyed.wire import KeyedCard, KeyedView, SealingKeys


@get("/v1/captures/{capture_id:str}/keys")
async def offer_keys(
    capture_id: FromPath[str],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    keyed_cards: NamedDependency[KeyedCards],
) -> SealingKeys:
    """The public keys under which the media guard seals the card of this capture."""
    admitted = await admission.admit_parameters(presented, Action.OFFER_KEYS, {"capture_id": capture_id})
    return await keyed_cards.offer_keys(capture_id, admitted)


@post("/v1/captures/{capture_id:str}/keyed", status_code=200)
async def take_keyed_card(
    capture_id: FromPath[str],
    data: JSONBody[KeyedCard],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    keyed_cards: NamedDependency[KeyedCards],
) -> KeyedView:
    """Take the card a caller keyed in; a capture that has one answers with that one."""
    granted = {"capture_id": capture_id, "envelope_sha256": parameters_sha256(data)}
    admitted = await admission.admit_parameters(presented, Action.TAKE_KEYED, granted)
    return await keyed_cards.take(capture_id, admitted, data)


ROUTES = (offer_keys, take_keyed_card)
