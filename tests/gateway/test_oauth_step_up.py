"""`acr_values` and `max_age` at the authorization endpoint."""

from collections.abc import AsyncIterator

import pytest

from tests.support.database import DatabaseMaker
from tests.support.identity import CALLBACK, IdentityHouse, Pair, identity_house, query_of

ACR = "urn:undercroft:acr:"


@pytest.fixture(scope="module")
async def house(database: DatabaseMaker) -> AsyncIterator[IdentityHouse]:
    async with identity_house(database) as made:
        yield made


async def asked(house: IdentityHouse, **changes: str | None):
    return await house.client.get(house.authorize_url(await house.client_id(), Pair(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"acr_values": f"{ACR}verified"},
        {"acr_values": f"{ACR}recognised"},
        {"acr_values": f"{ACR}confirmed {ACR}verified"},
        {"acr_values": f"{ACR}strong"},
        {"max_age": "0"},
        {"max_age": "43200", "acr_values": f"{ACR}verified"},
    ],
)
async def test_what_a_login_can_give_leads_to_the_login(house: IdentityHouse, changes: dict[str, str]):
    answer = await asked(house, **changes)

    assert (answer.status_code, answer.headers["location"].startswith("/login/")) == (303, True)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"acr_values": f"{ACR}confirmed"}, "unmet_authentication_requirements"),
        ({"acr_values": "urn:elsewhere:gold"}, "unmet_authentication_requirements"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1e3"}, "invalid_request"),
        ({"max_age": "1" * 10}, "invalid_request"),
    ],
)
@pytest.mark.control("UC-8.1")
async def test_what_no_login_can_give_is_refused_before_the_person_is_asked(
    house: IdentityHouse, changes: dict[str, str], error: str
):
    answer = await asked(house, **changes)

    assert answer.headers["location"].startswith(CALLBACK + "?")
    assert query_of(answer.headers["location"])["error"] == error


async def test_the_metadata_names_what_can_be_asked_for(house: IdentityHouse):
    document = (await house.client.get("/.well-known/oauth-authorization-server")).json()

    assert document["acr_values_supported"] == [f"{ACR}recognised", f"{ACR}verified", f"{ACR}strong"]


async def test_a_login_is_new_for_every_request_even_in_the_same_browser(house: IdentityHouse):
    """So any `max_age` is met: nothing of an earlier login is taken over."""
    person = house.person()
    client_id = await house.client_id()
    await person.log_in(await person.get(house.authorize_url(client_id, Pair())))

    again = await person.get(house.authorize_url(client_id, Pair(), max_age="43200"))

    assert 'name="email"' in again.text
