"""The hosted card page: who gets in, what it takes, what it shows."""

import asyncio
import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from tests.sandbox.running import APPROVES
from tests.vault.bench import FORM, PAGE_URL, Bench, Person, rows
from vault.captures import ATTEMPTS_MAX
from vault.cleartext.hpke import PagePublicKey, SealSuite, seal_form
from vault.contract import CaptureOrder

HEADERS_OF_EVERY_PAGE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
}


async def opened(bench: Bench, person: Person) -> CaptureOrder:
    order = person.capture()
    assert (await bench.order_capture(order)).status_code == 200
    assert (await bench.enter(order)).status_code == 303
    return order


async def test_a_capture_goes_from_the_door_over_the_form_to_a_token(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    before = (await bench.show_capture(order)).json()
    shown = await bench.page(order)
    typed = await bench.type_card(order)
    done = await bench.page(order)
    after = (await bench.show_capture(order)).json()

    assert (before["state"], before["token_id"]) == ("open", None)
    assert (shown.status_code, typed.status_code, done.status_code) == (200, 303, 200)
    assert "$79.98" in shown.text
    assert "Larkspur &amp; Vale" in shown.text
    assert typed.headers["location"] == f"/captures/{order.capture_id}"
    assert "4242" in done.text
    assert (after["state"], after["card_brand"], after["last4"]) == ("completed", "visa", "4242")
    assert re.fullmatch(r"tok_[a-z]{26}", after["token_id"])


def sealed_fields(page: str, suite: SealSuite, number: str = APPROVES) -> dict[str, str]:
    """The form as the page's script posts it, sealed with one of the suites the page offers."""
    offered = json.loads(unescape(_found(r'data-keys="([^"]+)"', page)))
    key = next(PagePublicKey(**key | {"suite": suite}) for key in offered if key["suite"] == suite)
    card = {"number": number, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}
    sealed = seal_form(json.dumps(card).encode(), key)
    fields = {"csrf": _found(r'name="csrf" value="([^"]+)"', page), "sealed_kid": sealed.key_id}
    return fields | {"sealed_enc": sealed.enc, "sealed_ct": sealed.ct}


@pytest.mark.parametrize("suite", SealSuite)
async def test_a_card_sealed_in_the_browser_is_taken_too(bench: Bench, ada: Person, suite: SealSuite):
    order = await opened(bench, ada)
    fields = sealed_fields((await bench.page(order)).text, suite)

    answer = await bench.browser.post(f"/captures/{order.capture_id}", data=fields, headers={"origin": PAGE_URL})

    assert answer.status_code == 303
    assert (await bench.show_capture(order)).json()["state"] == "completed"
    assert f'vault_card_forms_taken_total{{suite="{suite}"}} 1.0' in (await bench.api.get("/metrics")).text


@pytest.mark.parametrize("suite", SealSuite)
@pytest.mark.control("UC-4.2")
async def test_a_sealed_form_recorded_on_its_way_is_good_for_nothing_later(bench: Bench, ada: Person, suite: SealSuite):
    """Posted again to its own capture while that is open, and to another capture of the same person."""
    order, other = await opened(bench, ada), ada.capture()
    path, origin = f"/captures/{order.capture_id}", {"origin": PAGE_URL}
    recorded = sealed_fields((await bench.page(order)).text, suite, "4242424242424241")
    mistyped = await bench.browser.post(path, data=recorded, headers=origin)
    await bench.order_capture(other)
    await bench.enter(other)
    csrf = _found(r'name="csrf" value="([^"]+)"', (await bench.page(other)).text)

    replayed = await bench.browser.post(path, data=recorded, headers=origin)
    moved = await bench.browser.post(f"/captures/{other.capture_id}", data=recorded | {"csrf": csrf}, headers=origin)

    assert mistyped.status_code == 422
    assert (replayed.status_code, replayed.headers["location"]) == (303, path)
    assert moved.status_code == 422
    assert "open for too long" in moved.text
    assert await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id) == []


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, pattern
    return match[1]


async def test_the_cookie_belongs_to_this_capture_and_to_no_script(bench: Bench, ada: Person):
    order = ada.capture()
    await bench.order_capture(order)

    answer = await bench.enter(order)

    cookie = answer.headers["set-cookie"]
    assert answer.headers["location"] == f"/captures/{order.capture_id}"
    assert f"Path=/captures/{order.capture_id};" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    secret = cookie.partition("=")[2].partition(";")[0].partition(".")[2]
    stored = await rows(bench.databases.owner_dsn, "SELECT * FROM captures", ada.tenant_id)
    assert secret.encode() not in repr(stored).encode()


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:7201", ""])
@pytest.mark.control("UC-8.4")
async def test_only_the_door_lets_a_browser_in(bench: Bench, ada: Person, origin: str):
    order = ada.capture()
    await bench.order_capture(order)

    answer = await bench.enter(order, origin=origin)

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.control("UC-8.4")
async def test_an_entry_grant_opens_one_capture_of_one_subject_once(bench: Bench, ada: Person):
    order, other = ada.capture(), ada.capture()
    for capture in (order, other):
        await bench.order_capture(capture)
    somebody = Person(tenant_id=ada.tenant_id).capture(capture_id=order.capture_id)
    grant = bench.entry_grant(order)

    answers = [
        await bench.enter(other, bench.entry_grant(order)),
        await bench.enter(order, bench.entry_grant(somebody)),
        await bench.enter(order, bench.mint.grant("read_capture", order, {"capture_id": order.capture_id})),
        await bench.enter(order, ""),
        await bench.enter(order, grant),
        await bench.enter(order, grant),
    ]

    assert [answer.status_code for answer in answers] == [403, 410, 403, 403, 303, 409]
    assert sum("set-cookie" in answer.headers for answer in answers) == 1


@pytest.mark.control("UC-8.4")
async def test_another_browser_sees_only_that_there_is_nothing(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    cookie = bench.browser.cookies["capture"]
    bench.browser.cookies.clear()

    without = await bench.page(order)
    bench.browser.cookies.set("capture", cookie[:-1] + ("A" if cookie[-1] != "A" else "B"))
    with_a_wrong_one = await bench.page(order)
    missing = await bench.browser.get("/captures/cap_missing")

    assert {without.status_code, with_a_wrong_one.status_code, missing.status_code} == {410}
    assert without.text == with_a_wrong_one.text == missing.text


async def test_entering_again_moves_the_capture_to_the_new_browser(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    old = bench.browser.cookies["capture"]
    await bench.enter(order)
    new = bench.browser.cookies["capture"]

    bench.browser.cookies.clear()
    answers = [
        await bench.browser.get(f"/captures/{order.capture_id}", headers={"cookie": f"capture={value}"})
        for value in (old, new)
    ]

    assert [answer.status_code for answer in answers] == [410, 200]


async def test_a_browser_from_another_site_is_told_to_come_again_by_itself(bench: Bench, ada: Person):
    """Browsers keep a SameSite=Strict cookie set on a cross-site post, and do not send it with the redirect."""
    order = await opened(bench, ada)
    path = f"/captures/{order.capture_id}"
    cookie = bench.browser.cookies["capture"]
    bench.browser.cookies.clear()

    redirected = await bench.browser.get(path, headers={"sec-fetch-site": "cross-site"})
    by_itself = await bench.browser.get(path, headers={"sec-fetch-site": "same-origin", "cookie": f"capture={cookie}"})

    assert redirected.headers["refresh"] == f"0; url={path}"
    assert order.brand_name not in redirected.text
    assert by_itself.status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": PAGE_URL, "sec-fetch-site": "same-site"}, {}]
)
async def test_a_form_posted_from_elsewhere_is_refused(bench: Bench, ada: Person, headers: dict[str, str]):
    order = await opened(bench, ada)

    answer = await bench.browser.post(f"/captures/{order.capture_id}", data={"number": APPROVES}, headers=headers)

    assert answer.status_code == 403
    assert (await bench.show_capture(order)).json()["state"] == "open"


async def test_a_form_without_this_browsers_secret_is_refused(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    answer = await bench.type_card(order, csrf="0" * 64)

    assert answer.status_code == 400
    assert (await bench.show_capture(order)).json()["state"] == "open"


async def test_a_mistyped_card_may_be_corrected(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    wrong = await bench.type_card(order, "4242424242424241")
    right = await bench.type_card(order)

    assert wrong.status_code == 422
    assert "4242424242424241" not in wrong.text
    assert "Ada Byron" in wrong.text
    assert right.status_code == 303


async def test_after_ten_attempts_the_page_is_gone(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    wrong = [(await bench.type_card(order, "4242424242424241")).status_code for _ in range(ATTEMPTS_MAX)]

    gone = await bench.page(order)
    still = await bench.browser.post(f"/captures/{order.capture_id}", headers={**FORM, "origin": PAGE_URL})

    assert wrong == [422] * ATTEMPTS_MAX
    assert (gone.status_code, still.status_code) == (410, 410)
    assert (await bench.show_capture(order)).json()["state"] == "expired"


async def test_an_expired_capture_takes_no_card(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    shown = await bench.page(order)
    bench.clock.advance(timedelta(minutes=15))
    csrf = _found(r'name="csrf" value="([^"]+)"', shown.text)
    fields = {"csrf": csrf, "number": APPROVES, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}

    late = await bench.browser.post(f"/captures/{order.capture_id}", data=fields, headers={"origin": PAGE_URL})

    assert late.status_code == 410
    assert (await bench.show_capture(order)).json()["state"] == "expired"
    assert await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id) == []


async def test_a_completed_capture_takes_no_second_card(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    await bench.type_card(order)

    again = await bench.browser.post(
        f"/captures/{order.capture_id}", data={"number": APPROVES}, headers={"origin": PAGE_URL}
    )

    assert again.status_code == 303
    assert len(await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id)) == 1


async def test_two_posts_at_once_store_one_card(bench: Bench, ada: Person):
    order = await opened(bench, ada)
    page = (await bench.page(order)).text
    fields = {"csrf": _found(r'name="csrf" value="([^"]+)"', page), "number": APPROVES, "expiry": "12/40"}
    fields |= {"code": "123", "holder": "Ada Byron"}

    answers = await asyncio.gather(
        *(
            bench.browser.post(f"/captures/{order.capture_id}", data=fields, headers={"origin": PAGE_URL})
            for _ in range(4)
        )
    )

    assert {answer.status_code for answer in answers} == {303}
    assert len(await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id)) == 1


async def test_a_sealed_form_posted_four_times_at_once_is_one_card_and_four_times_the_receipt(
    bench: Bench, ada: Person
):
    order = await opened(bench, ada)
    path = f"/captures/{order.capture_id}"
    fields = sealed_fields((await bench.page(order)).text, SealSuite.X_WING)

    answers = await asyncio.gather(
        *(bench.browser.post(path, data=fields, headers={"origin": PAGE_URL}) for _ in range(4))
    )

    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {(303, path)}
    assert "Visa" in (await bench.page(order)).text
    assert len(await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id)) == 1


@pytest.mark.parametrize("path", ["cap_a%0d%0aSet-Cookie:x=1", "cap_a%00", "CAP_A", "cap_a;url=x", "4242424242424242"])
async def test_what_is_no_capture_id_gets_into_no_header(bench: Bench, path: str):
    headers = {"sec-fetch-site": "cross-site"}

    answer = await bench.browser.get(f"/captures/{path}", headers=headers)

    assert answer.status_code == 410
    assert not {"refresh", "set-cookie", "location"} & answer.headers.keys()


async def test_a_form_beyond_64_kb_is_refused(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    answer = await bench.browser.post(
        f"/captures/{order.capture_id}", content=b"number=" + b"4" * 70_000, headers={**FORM, "origin": PAGE_URL}
    )

    assert answer.status_code == 413


async def test_ordering_a_capture_again_changes_nothing_and_otherwise_is_refused(bench: Bench, ada: Person):
    order = ada.capture()
    first = await bench.order_capture(order)
    bench.clock.advance(timedelta(minutes=5))

    again = await bench.order_capture(order)
    other = await bench.order_capture(
        ada.capture(capture_id=order.capture_id, purchase_id=order.purchase_id, amount_minor=1)
    )

    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "capture_id_reused")


@pytest.mark.control("UC-7.3")
async def test_somebody_elses_capture_is_not_found_in_the_same_words(bench: Bench, ada: Person):
    order = ada.capture()
    await bench.order_capture(order)
    whose: dict[str, Any] = {"tenant_id": ada.tenant_id, "brand_id": ada.brand_id, "subject_id": ada.subject_id}
    strangers = [Person(**(whose | {name: f"{name[:3]}_other"})) for name in whose]

    answers = [await bench.show_capture(stranger.capture(capture_id=order.capture_id)) for stranger in strangers]
    answers.append(await bench.show_capture(ada.capture()))

    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps({**answer.json(), "request_id": ""}) for answer in answers}) == 1


async def test_the_listeners_share_no_route(bench: Bench):
    """Each listener is its own app: what is not its own is not there."""
    tries = {
        bench.browser: [("POST", "/v1/charges"), ("GET", "/metrics"), ("GET", "/ready"), ("POST", "/webhooks/stripe")],
        bench.webhooks: [("POST", "/v1/charges"), ("GET", "/captures/cap_abc"), ("GET", "/metrics")],
        bench.api: [("POST", "/captures/cap_abc"), ("POST", "/webhooks/stripe")],
    }

    answers = [await client.request(method, path) for client, requests in tries.items() for method, path in requests]

    assert {answer.status_code for answer in answers} == {404}


async def test_pages_keep_to_themselves(bench: Bench, ada: Person):
    order = await opened(bench, ada)

    pages = [await bench.page(order), await bench.browser.get("/captures/cap_missing"), await bench.enter(order)]

    for page in pages:
        assert {name: page.headers[name] for name in HEADERS_OF_EVERY_PAGE} == HEADERS_OF_EVERY_PAGE
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_pages_files_are_served_as_the_page_names_them(bench: Bench, ada: Person):
    page = (await bench.page(await opened(bench, ada))).text
    paths = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))

    answers = [await bench.browser.get(path) for path in paths]
    missing = await bench.browser.get("/static/card.js")

    assert len(paths) >= 2
    assert {answer.status_code for answer in answers} == {200}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)
    assert missing.status_code == 404
