"""What the vault's API, its card page and its stored cards cost beside one insert, or one select."""

from typing import Final

from infra.bench import card_load, stored_cards
from infra.bench.callers import Grants, first_brand
from infra.bench.card_forms import Person
from infra.bench.measuring import Comparison, Figure
from infra.bench.stage import Door, client, floors_beside, fresh_house, insertion, measured

TOKENISE_BAR: Final = 3.0
"""Issue 4. The grant is checked and used up at the door, which therefore stands beside it with the same bar."""
CAPTURE_BAR: Final = 8.0
"""Ours: 6.4 was measured, a quarter is margin. A capture is two commits: the grant is used up in one of its own,
so that a refused order uses it up too."""


async def measure() -> list[Figure]:
    with fresh_house("vault") as house:
        async with client() as http:
            page = Door(http, house.urls["vault_page"])
            person = Person(grants=Grants(house, "vault"), api=Door(http, house.urls["vault"]), page=page, house=house)
            tenant_id, _ = first_brand(house)
            async with floors_beside(house, "vault", tenant_id) as floors:
                insert = insertion(Door(http, floors))
                one_insert = "a bare Litestar handler with one insert, written to the disk"
                figures = [
                    await measured(Comparison(figure=figure, floor_is=one_insert, ours=prepare, floor=insert, bar=bar))
                    for figure, prepare, bar in (
                        ("vault: POST /v1/captures", person.order_capture, CAPTURE_BAR),
                        ("vault: the card page's door, its grant used up", person.enter, TOKENISE_BAR),
                        ("vault: the card form's POST, tokenised", person.send_card, TOKENISE_BAR),
                    )
                ]
                figures.append(await stored_cards.measure_reveal(house, http, floors))
            figures += await card_load.measure(house, page)
    return [*figures, *await stored_cards.measure_growth()]
