"""What the vault's API and its card page cost beside one insert that reached the disk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec

from infra.bench.callers import Grants, first_brand
from infra.bench.measuring import BenchFailed, Call, Comparison, Figure
from infra.bench.stage import Door, client, floors_beside, fresh_house, insertion, measured
from infra.chassis.ids import new_id
from infra.dev.demo.person import CARD_FIELDS
from infra.dev.house import House
from vault.contract import Action, CaptureOrder

FORM_SECRET = re.compile(r'name="csrf" value="([^"]+)"')
TOKENISE_BAR = 3.0
"""Issue 4."""
CAPTURE_BAR = 8.0
"""Ours: 6.4 was measured, a quarter is margin. A capture is two commits: the grant is used up in one of its own,
so that a refused order uses it up too."""


async def measure() -> list[Figure]:
    with fresh_house("vault") as house:
        async with floors_beside(house, "vault") as floors, client() as http:
            insert = insertion(Door(http, floors))
            person = _Person(
                grants=Grants(house, "vault"),
                api=Door(http, house.urls["vault"]),
                page=Door(http, house.urls["vault_page"]),
                house=house,
            )
            one_insert = "a bare Litestar handler with one insert, written to the disk"
            return [
                await measured(Comparison(figure=figure, floor_is=one_insert, ours=prepare, floor=insert, bar=bar))
                for figure, prepare, bar in (
                    ("vault: POST /v1/captures", person.order_capture, CAPTURE_BAR),
                    ("vault: the card form's POST, tokenised", person.send_card, TOKENISE_BAR),
                )
            ]


@dataclass(frozen=True, slots=True)
class _Person:
    """Somebody new each time, sent to the card page."""

    grants: Grants
    api: Door
    page: Door
    house: House

    async def order_capture(self) -> Call:
        order = self._order()
        headers, body = self._granted(order), msgspec.json.encode(order)
        return lambda: self.api.post("/v1/captures", body, headers)

    async def send_card(self) -> Call:
        """With the page open in the browser, without JavaScript: the form's own POST."""
        order = self._order()
        await self.api.post("/v1/captures", msgspec.json.encode(order), self._granted(order))
        path = f"/captures/{order.capture_id}"
        headers = {**_form(self.page.url), "Cookie": await self._enter(order)}
        shown = (await self.page.send("GET", path, None, headers)).decode()
        found = FORM_SECRET.search(shown)
        if found is None:
            raise BenchFailed("the card page shows no form")
        body = urlencode({**CARD_FIELDS, "csrf": found.group(1)}).encode()
        return lambda: self.page.post(path, body, headers, expect=HTTPStatus.SEE_OTHER)

    def _granted(self, order: CaptureOrder) -> dict[str, str]:
        return self.grants.headers(Action.CAPTURE_CARD, order, "/v1/captures")

    async def _enter(self, order: CaptureOrder) -> str:
        """From the gateway's door; the page's cookie."""
        parameters = {"capture_id": order.capture_id, "subject_id": order.subject_id}
        form = urlencode({"grant": self.grants.compact(Action.OPEN_CAPTURE, order, parameters)})
        url = f"{self.page.url}/captures/{order.capture_id}/open"
        async with self.page.http.post(
            url, data=form, headers=_form(self.house.urls["gateway"]), allow_redirects=False
        ) as answer:
            if answer.status != HTTPStatus.SEE_OTHER:
                raise BenchFailed(f"the card page's door answered {answer.status}")
            return answer.headers["Set-Cookie"].partition(";")[0]

    def _order(self) -> CaptureOrder:
        tenant_id, brand = first_brand(self.house)
        return CaptureOrder(
            tenant_id=tenant_id,
            brand_id=brand.brand_id,
            subject_id=new_id("sub"),
            capture_id=new_id("cap"),
            purchase_id=new_id("pur"),
            brand_name=brand.name,
            amount_minor=7_998,
            currency="USD",
        )


def _form(origin: str) -> Mapping[str, str]:
    return {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
