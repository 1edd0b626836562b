"""Signing in with a code from the mailbox, on the way to the consent page."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.errors import TooManyCodes
from infra.chassis.client import NotConnected
from tests.support.database import DatabaseMaker
from tests.support.identity import EMAIL, IdentityHouse, Pair, Person, identity_house


@pytest.fixture(scope="module")
async def ground(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


@pytest.fixture
async def house(ground: IdentityHouse) -> IdentityHouse:
    await ground.empty()
    return ground


async def at_login(house: IdentityHouse, person: Person) -> httpx2.Response:
    client_id = await house.client_id(client_name="Claude")
    return await person.get(house.authorize_url(client_id, Pair()))


async def test_known_and_unknown_addresses_get_the_same_page(house: IdentityHouse):
    await house.connected(email=EMAIL)

    async def shown(email: str) -> str:
        person = house.person()
        page = await person.post(await at_login(house, person), email=email)
        return re.sub(r"tnt_north\.[\w-]+|value=\"\w+\"|.•••@example.com", "", page.text)

    assert await shown(EMAIL) == await shown("nobody@example.com")


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "000000"])
async def test_a_wrong_code_lets_nobody_in(house: IdentityHouse, code: str):
    person = house.person()
    code_page = await person.post(await at_login(house, person), email=EMAIL)
    right = house.mailbox.codes[EMAIL][-1]

    refused = await person.post(code_page, code="111111" if code == right else code)
    entered = await person.post(refused, code=f" {right[:3]} {right[3:]} ")

    assert refused.status_code == 422
    assert "wrong, has expired or was used up" in refused.text
    assert "Let an assistant act for you?" in entered.text


async def test_after_five_wrong_codes_the_right_one_is_refused_too(house: IdentityHouse):
    person = house.person()
    page = await person.post(await at_login(house, person), email=EMAIL)
    right = house.mailbox.codes[EMAIL][-1]
    for _ in range(5):
        page = await person.post(page, code="000000" if right != "000000" else "111111")

    answer = await person.post(page, code=right)

    assert answer.status_code == 422


async def test_a_code_belongs_to_the_visit_it_was_asked_for_in(house: IdentityHouse):
    victim, attacker = house.person(), house.person()
    await victim.post(await at_login(house, victim), email=EMAIL)
    page = await attacker.post(await at_login(house, attacker), email="attacker@example.com")

    answer = await attacker.post(page, code=house.mailbox.codes[EMAIL][-1])

    assert answer.status_code == 422


async def test_a_new_code_can_be_asked_for_at_another_address(house: IdentityHouse):
    person = house.person()
    code_page = await person.post(await at_login(house, person), email="typo@example.com")
    link = re.search(r'href="(/login/[^"]+\?step=address)"', code_page.text)
    assert link is not None

    page = await person.log_in(await person.get(link.group(1)))

    assert "a•••@example.com" in page.text


@pytest.mark.parametrize("email", ["", "nobody", "a@b", "4242424242424242@example.com", "x" * 300 + "@example.com"])
async def test_an_address_that_cannot_be_one_is_explained(house: IdentityHouse, email: str):
    person = house.person()

    page = await person.post(await at_login(house, person), email=email)

    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert email == "" or email not in page.text
    assert house.mailbox.codes == {}


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [(TooManyCodes(), 429, "Too many codes"), (NotConnected("inbox"), 503, "could not send the code")],
)
async def test_when_no_code_can_be_sent_the_page_says_so(
    house: IdentityHouse, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, sentence: str
):
    async def fails(**_message: object) -> None:
        raise error

    monkeypatch.setattr(house.mailbox, "send_code", fails)
    person = house.person()

    page = await person.post(await at_login(house, person), email=EMAIL)

    assert page.status_code == status
    assert sentence in page.text
