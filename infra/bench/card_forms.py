"""People on the card page: one let in by the door, or thousands who have the page open already."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec

from infra.bench.callers import Grants, first_brand
from infra.bench.measuring import BenchFailed, Call
from infra.bench.stage import Door
from infra.chassis.ids import new_id
from infra.dev.demo.person import CARD_FIELDS
from infra.dev.house import DATABASE_CLUSTER, House
from vault.captures import form_secret
from vault.contract import Action, CaptureOrder

FORM_SECRET = re.compile(r'name="csrf" value="([^"]+)"')
COOKIE = "capture"
"""As the page names it where it is not served over https."""
LOOKING = 8
"""Pages that are asked for at once, before anything is measured."""


@dataclass(frozen=True, slots=True)
class Person:
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
        path = _path(order.capture_id)
        headers = {**_form(self.page.url), "Cookie": await self._enter(order)}
        shown = (await self.page.send("GET", path, None, headers)).decode()
        found = FORM_SECRET.search(shown)
        if found is None:
            raise BenchFailed("the card page shows no form")
        body = urlencode({**CARD_FIELDS, "csrf": found.group(1)}).encode()
        return lambda: self.page.post(path, body, headers, expect=HTTPStatus.SEE_OTHER)

    def _granted(self, order: CaptureOrder) -> dict[str, str]:
        return self.grants.headers(Action.CAPTURE_CARD, order, "/v1/captures")

    async def enter(self) -> Call:
        """The door's POST: its grant is checked and used up, and the browser becomes the capture's."""
        order = self._order()
        await self.api.post("/v1/captures", msgspec.json.encode(order), self._granted(order))
        return lambda: self._enter(order)

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


async def open_forms(house: House, page: Door, count: int) -> list[Call]:
    """As many captures as are asked for, each of another person and shown in a browser, and the form's POST from there.

    Their rows are written past the vault: what orders them and lets browsers in is measured by itself.
    """
    tenant_id, brand = first_brand(house)
    opened = [(new_id("cap"), f"{tenant_id}.{secrets.token_urlsafe(32)}") for _ in range(count)]
    hashes = [
        (capture_id, hashlib.sha256(cookie.partition(".")[2].encode()).hexdigest()) for capture_id, cookie in opened
    ]
    values = ", ".join(f"('{capture_id}', decode('{digest}', 'hex'))" for capture_id, digest in hashes)
    await asyncio.to_thread(
        house.clusters[DATABASE_CLUSTER["vault"]].sql,
        _OPENED.format(tenant_id=tenant_id, brand_id=brand.brand_id, values=values),
        database=house.databases["vault"].name,
    )
    waiting = iter(opened)

    async def look() -> None:
        for capture_id, cookie in waiting:
            await page.send("GET", _path(capture_id), None, {"Cookie": f"{COOKIE}={cookie}"})

    await asyncio.gather(*[look() for _ in range(LOOKING)])
    return [_sent(page, capture_id, cookie) for capture_id, cookie in opened]


def _path(capture_id: str) -> str:
    return f"/captures/{capture_id}"


def _sent(page: Door, capture_id: str, cookie: str) -> Call:
    path = _path(capture_id)
    headers = {**_form(page.url), "Cookie": f"{COOKIE}={cookie}"}
    body = urlencode({**CARD_FIELDS, "csrf": form_secret(cookie, capture_id)}).encode()
    return lambda: page.post(path, body, headers, expect=HTTPStatus.SEE_OTHER)


def _form(origin: str) -> Mapping[str, str]:
    return {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}


_OPENED = """
INSERT INTO tenants (tenant_id) VALUES ('{tenant_id}') ON CONFLICT DO NOTHING;
INSERT INTO captures (tenant_id, capture_id, brand_id, subject_id, purchase_id, brand_name, amount_minor, currency,
    created_at, expires_at, browser_hash)
SELECT '{tenant_id}', capture_id, '{brand_id}', replace(capture_id, 'cap_', 'sub_'), 'pur_bench', 'Bench', 7998,
    'USD', now(), now() + interval '15 minutes', browser_hash
FROM (VALUES {values}) opened (capture_id, browser_hash);
"""
