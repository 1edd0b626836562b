"""Attacks on the way to the bank and back: whose browser, whose charge, where it leads, what is believed."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.chassis.settings import SettingsIncomplete, load
from mcp_server.checkout.stock import HOLD
from tests.vault.authenticating import LINK, Holder
from tests.vault.bench import Bench, Person, open_bench, rows
from vault.authentications.settings import SECONDS_MAX, AuthenticationSettings
from vault.cleartext.processors.redirects import LENGTH_MAX, allowed_url
from vault.contract import ChargeOrder
from vault.settings import PREFIX

CROSS_SITE = {"sec-fetch-site": "cross-site"}
BANKS = frozenset({"https://hooks.stripe.com"})


@pytest.fixture
def holder(bench: Bench, ada: Person) -> Holder:
    return Holder(bench, bench.processor, ada)


async def back(bench: Bench, order: ChargeOrder, query: str = "", **more: Any) -> httpx2.Response:
    return await bench.browser.get(f"/authentications/{order.charge_id}/return{query}", **more)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?redirect_status=succeeded&payment_intent=pi_made_up_by_me&payment_intent_client_secret=x",
        "?url=https://evil.example&return_url=//evil.example&language=en%0d%0aLocation:%20https://evil.example",
    ],
)
@pytest.mark.control("UC-C.4")
async def test_a_return_nobody_made_confirms_nothing_and_leads_nowhere_else(holder: Holder, bench: Bench, query: str):
    order = await holder.asked()
    await holder.enter(order)

    returned = await back(bench, order, query)
    page = await holder.page(order)

    where = returned.headers["location"]
    assert where.partition("?")[0] == f"/authentications/{order.charge_id}"
    assert "evil" not in where
    assert "pi_" not in where
    assert LINK.search(page.text)
    assert (await holder.repeat(order))["state"] == "needs_action"
    assert bench.processor_charges(order.charge_id) == []


async def test_a_return_that_is_replayed_shows_how_it_ended_and_changes_nothing(holder: Holder, bench: Bench):
    order = await holder.asked()
    first = await holder.see_through(order)

    again = [await back(bench, order) for _ in range(2)]
    pages = await asyncio.gather(*(holder.page(order) for _ in range(3)))

    assert {answer.status_code for answer in again} == {303}
    assert {page.text for page in pages} == {first.text}
    assert len(bench.processor_charges(order.charge_id)) == 1


@pytest.mark.control("UC-8.4")
async def test_another_browser_and_another_charge_see_only_that_there_is_nothing(holder: Holder, bench: Bench):
    order, other = await holder.asked(), await holder.asked()
    await holder.link(order)
    cookie = bench.browser.cookies["authentication"]
    bench.browser.cookies.clear()

    def with_cookie(value: str) -> dict[str, str]:
        return {"cookie": f"authentication={value}"}

    tried = [
        await holder.page(order),
        await holder.page(order, **with_cookie(f"{order.tenant_id}.{'A' * 43}")),
        await holder.page(order, **with_cookie(f"tnt_other.{cookie.partition('.')[2]}")),
        await holder.page(order, **with_cookie("nothing")),
        await holder.page(other, **with_cookie(cookie)),
        await bench.browser.get("/authentications/chg_missing", headers=with_cookie(cookie)),
        await bench.browser.get("/authentications/4242424242424242/return"),
    ]

    assert {answer.status_code for answer in tried} == {410}
    assert len({answer.text for answer in tried}) == 1
    assert "$79.98" not in tried[0].text


@pytest.mark.control("UC-8.4")
async def test_an_entry_grant_opens_one_charge_of_one_subject_once(holder: Holder, bench: Bench, ada: Person):
    order, other = await holder.asked(), await holder.asked()
    stranger = Person(tenant_id=ada.tenant_id).charge(order.token_id, charge_id=order.charge_id)
    elsewhere = Person().charge(order.token_id, charge_id=order.charge_id)
    parameters = {"capture_id": order.charge_id, "subject_id": order.subject_id}
    grant = holder.entry(order)

    answers = [
        await holder.enter(other, grant),
        await holder.enter(order, holder.entry(stranger)),
        await holder.enter(order, holder.entry(elsewhere)),
        await holder.enter(order, bench.mint.grant("open_capture", order, parameters)),
        await holder.enter(order, bench.mint.grant("charge", order)),
        await holder.enter(order, ""),
        await holder.enter(order, origin="https://evil.example"),
        await holder.enter(order, holder.entry(order)),
        await holder.enter(order, grant),
        await holder.enter(order, grant),
    ]

    assert [answer.status_code for answer in answers] == [403, 410, 410, 403, 403, 403, 403, 303, 303, 409]
    assert sum("set-cookie" in answer.headers for answer in answers) == 2


@pytest.mark.control("UC-8.4")
async def test_the_cookie_belongs_to_this_charge_and_to_no_script(holder: Holder, bench: Bench, ada: Person):
    order = await holder.asked()

    cookie = (await holder.enter(order)).headers["set-cookie"]

    assert f"Path=/authentications/{order.charge_id};" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age=900" in cookie
    secret = cookie.partition("=")[2].partition(";")[0].partition(".")[2]
    stored = await rows(bench.databases.owner_dsn, "SELECT * FROM charges", ada.tenant_id)
    assert secret.encode() not in repr(stored).encode()


async def test_entering_again_moves_the_charge_to_the_new_browser(holder: Holder, bench: Bench):
    order = await holder.asked()
    await holder.enter(order)
    old = bench.browser.cookies["authentication"]
    await holder.enter(order)
    new = bench.browser.cookies["authentication"]
    bench.browser.cookies.clear()

    pages = [await holder.page(order, cookie=f"authentication={value}") for value in (old, new)]

    assert [page.status_code for page in pages] == [410, 200]


async def test_a_browser_from_the_banks_site_is_told_to_come_again_by_itself(holder: Holder, bench: Bench):
    order = await holder.asked()
    await holder.link(order)
    bench.browser.cookies.clear()

    page = await holder.page(order, **CROSS_SITE)

    assert page.headers["refresh"] == f"0; url=/authentications/{order.charge_id}"
    assert "$79.98" not in page.text


async def test_the_page_has_no_script_no_form_and_tells_the_bank_not_where_it_came_from(holder: Holder, bench: Bench):
    order = await holder.asked()
    await holder.enter(order)

    page = await holder.page(order)

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert "<form" not in page.text
    assert 'rel="noreferrer"' in page.text
    assert "3184" not in page.text


async def test_who_confirms_twice_is_charged_once(holder: Holder, bench: Bench):
    order = await holder.asked()
    link = await holder.link(order)

    answers = [holder.answer(link), holder.answer(link)]
    states = await asyncio.gather(*(holder.repeat(order) for _ in range(4)), holder.page(order))

    assert [answer.status_code for answer in answers] == [200, 400]
    assert {answer["state"] for answer in states[:4]} == {"approved"}  # type: ignore[index]  # the last one is a page
    assert len(bench.processor_charges(order.charge_id)) == 1


async def test_who_confirms_after_having_refused_has_refused(holder: Holder, bench: Bench):
    order = await holder.asked()
    link = await holder.link(order)

    answers = [holder.answer(link, "fail"), holder.answer(link, "pass")]

    assert [answer.status_code for answer in answers] == [200, 400]
    assert (await holder.repeat(order))["reason"] == "authentication_failed"
    assert bench.taken_minor(order.charge_id) == 0


@pytest.mark.control("UC-C.4")
async def test_a_bank_that_is_not_on_the_list_is_nobodys_to_visit_and_the_charge_is_declined(
    bench: Bench, ada: Person, tmp_path: Path
):
    """The processor names its page by an address this vault was not told."""
    aliased = bench.processor.url.replace("127.0.0.1", "localhost")
    async with open_bench(tmp_path, bench.databases, bench.processor, processor_url=aliased) as other:
        holder = Holder(other, bench.processor, ada)
        order = await holder.order()

        unknown = await holder.repeat(order)
        known = await holder.repeat(order)

    assert (unknown["state"], known["state"]) == ("unknown", "declined")
    assert known["reason"] == "authentication_required"
    assert bench.processor_charges(order.charge_id) == []


async def test_the_door_lets_nobody_in_once_it_has_ended(holder: Holder):
    order = await holder.asked()
    await holder.see_through(order)

    assert (await holder.enter(order)).status_code == 410


@pytest.mark.parametrize("column", ["person_present", "amount_minor", "held_first"])
async def test_the_service_cannot_make_a_person_present_afterwards(
    holder: Holder, bench: Bench, ada: Person, column: str
):
    order = await holder.asked()

    with pytest.raises(Exception, match="permission denied"):
        await rows(bench.databases.app_dsn, f"UPDATE charges SET {column} = DEFAULT RETURNING 1", ada.tenant_id)  # noqa: S608 - of this list

    assert (await holder.repeat(order))["state"] == "needs_action"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.stripe.com/redirect/x",
        "https://evil.example/redirect/x",
        "https://hooks.stripe.com.evil.example/x",
        "https://hooks.stripe.com@evil.example/x",
        "https://evil.example@hooks.stripe.com/x",
        "https://hooks.stripe.com:444/x",
        "https://hooks.stripe.com\\@evil.example/x",
        "https://hooks.stripe.com",
        "https:hooks.stripe.com/x",
        "//hooks.stripe.com/x",
        "javascript:alert(1)//https://hooks.stripe.com/",
        "https://HOOKS.stripe.com/x",
        "https://[hooks.stripe.com/x",
        'https://hooks.stripe.com/"onclick=x',
        "https://hooks.stripe.com/x\r\nSet-Cookie: a=b",
        "https://hooks.stripe.com/x y",
        "https://hooks.stripe.com/\N{CYRILLIC SMALL LETTER A}",
        "https://hooks.stripe.com/redirect?card=4242424242424242",
        "https://hooks.stripe.com/" + "x" * LENGTH_MAX,
        "",
        None,
    ],
)
@pytest.mark.control("UC-C.4")
def test_a_person_is_sent_nowhere_else_than_to_the_banks_page(url: str | None):
    assert allowed_url(url, BANKS) is None


def test_the_banks_own_page_is_allowed_as_it_is():
    url = "https://hooks.stripe.com/redirect/authenticate/src_1abc?client_secret=src_client_secret_xyz&source=pi"

    assert allowed_url(url, BANKS) == url
    assert allowed_url(url, frozenset()) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"AUTHENTICATION_ORIGINS": "http://hooks.stripe.com"}, "AUTHENTICATION_ORIGINS must be origins"),
        ({"AUTHENTICATION_ORIGINS": "https://hooks.stripe.com/"}, "AUTHENTICATION_ORIGINS must be origins"),
        ({"AUTHENTICATION_ORIGINS": "https://hooks.stripe.com,*"}, "AUTHENTICATION_ORIGINS must be origins"),
        ({"AUTHENTICATION_ORIGINS": "https://a@b.example"}, "AUTHENTICATION_ORIGINS must be origins"),
        ({"AIRWALLEX_AUTHENTICATION_ORIGINS": "http://pci-api.airwallex.com"}, "AIRWALLEX_AUTHENTICATION_ORIGINS must"),
        ({"AUTHENTICATION_SECONDS": "59"}, "AUTHENTICATION_SECONDS must be from 60 to 900: goods"),
        ({"AUTHENTICATION_SECONDS": "901"}, "AUTHENTICATION_SECONDS must be from 60 to 900: goods"),
    ],
)
def test_a_list_or_a_time_that_cannot_be_meant_does_not_start(values: dict[str, str], said: str):
    environment = {f"UNDERCROFT_VAULT_{name}": value for name, value in values.items()}

    with pytest.raises(SettingsIncomplete, match=said):
        load(AuthenticationSettings, PREFIX, environment)


def test_a_bank_may_ask_for_less_time_than_a_shop_holds_the_goods():
    assert timedelta(seconds=SECONDS_MAX) < HOLD


def test_nothing_said_is_the_documented_origin_and_a_quarter_of_an_hour_and_no_sandbox(bench: Bench):
    usual = load(AuthenticationSettings, PREFIX, {})
    live = replace(bench.settings, sandbox=False)

    assert (usual.origins, usual.lasts) == (BANKS, timedelta(minutes=15))
    assert live.action_origins == BANKS
    assert live.airwallex_action_origins == {"https://pci-api.airwallex.com", "https://api.airwallex.com"}
    assert bench.settings.action_origins == BANKS | {bench.processor.url}
