"""A form that was shown is remembered by the vault's process: what changes behind its back is noticed all the same."""

import re

import pytest

from tests.sandbox.running import APPROVES
from tests.vault.bench import Bench, Person, rows
from vault import captures
from vault.contract import CaptureOrder

MISTYPED = "4242424242424241"


class Form:
    """A form as one browser was shown it."""

    def __init__(self, bench: Bench, order: CaptureOrder, shown: str, cookie: str) -> None:
        found = re.search(r'name="csrf" value="([^"]+)"', shown)
        assert found is not None
        self._bench, self._path, self._csrf = bench, f"/captures/{order.capture_id}", found[1]
        self._headers = {"origin": bench.page_url, "cookie": f"capture={cookie}"}

    async def post(self, number: str = APPROVES) -> int:
        card = {"number": number, "expiry": "12/40", "code": "123", "holder": "Ada Byron"}
        self._bench.browser.cookies.clear()
        answer = await self._bench.browser.post(self._path, data={"csrf": self._csrf, **card}, headers=self._headers)
        return answer.status_code


async def shown_form(bench: Bench, order: CaptureOrder) -> Form:
    bench.browser.cookies.clear()
    assert (await bench.enter(order)).status_code == 303
    cookie = bench.browser.cookies["capture"]
    return Form(bench, order, (await bench.page(order)).text, cookie)


async def ordered(bench: Bench, person: Person) -> CaptureOrder:
    order = person.capture()
    assert (await bench.order_capture(order)).status_code == 200
    return order


@pytest.mark.parametrize("number", [APPROVES, MISTYPED])
async def test_a_browser_that_lost_its_capture_is_neither_served_nor_counted(bench: Bench, ada: Person, number: str):
    order = await ordered(bench, ada)
    lost = await shown_form(bench, order)
    now = await shown_form(bench, order)
    owner, tenant_id = bench.databases.owner_dsn, ada.tenant_id

    posted = [await lost.post(number), await lost.post(number)]

    assert posted == [410, 410]
    assert await rows(owner, "SELECT DISTINCT attempts, token_id FROM captures", tenant_id) == [
        {"attempts": 0, "token_id": None}
    ]
    assert await now.post() == 303


@pytest.mark.parametrize("number", [APPROVES, MISTYPED])
async def test_a_form_that_lost_its_browser_after_it_was_shown_takes_nothing(bench: Bench, ada: Person, number: str):
    """Nothing else is asked of the vault between the two, so what it remembers still names the browser that lost it."""
    order = await ordered(bench, ada)
    form = await shown_form(bench, order)
    owner = bench.databases.owner_dsn
    moved = "UPDATE captures SET browser_hash = sha256('another browser') RETURNING capture_id"
    assert len(await rows(owner, moved, ada.tenant_id)) == 1

    assert await form.post(number) == 410

    assert await rows(owner, "SELECT * FROM cards", ada.tenant_id) == []
    assert await rows(owner, "SELECT attempts FROM captures", ada.tenant_id) == [{"attempts": 0}]


async def test_attempts_that_were_used_up_meanwhile_are_used_up(bench: Bench, ada: Person):
    order = await ordered(bench, ada)
    form = await shown_form(bench, order)
    spent = "UPDATE captures SET attempts = :most RETURNING capture_id"
    await rows(bench.databases.owner_dsn, spent, ada.tenant_id, most=captures.ATTEMPTS_MAX)

    assert await form.post() == 410

    assert await rows(bench.databases.owner_dsn, "SELECT * FROM cards", ada.tenant_id) == []


async def test_a_form_is_remembered_for_one_post_and_then_read_again(bench: Bench, ada: Person):
    order = await ordered(bench, ada)
    form = await shown_form(bench, order)

    assert [await form.post(MISTYPED), await form.post(), await form.post()] == [422, 303, 303]

    assert (await bench.show_capture(order)).json()["state"] == "completed"
    assert await rows(bench.databases.owner_dsn, "SELECT attempts FROM captures", ada.tenant_id) == [{"attempts": 2}]


async def test_more_forms_than_are_remembered_are_taken_as_well(
    bench: Bench, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(captures, "SHOWN_MAX", 1)
    forms = [await shown_form(bench, await ordered(bench, ada)) for _ in range(3)]

    assert [await form.post() for form in forms] == [303, 303, 303]
