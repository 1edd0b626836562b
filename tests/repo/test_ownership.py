"""No owner from a request: the rule over the tree, and the rule itself."""

from collections.abc import Callable, Iterator

import pytest

from compliance.checks import ownership
from compliance.checks.tree import Finding, Source, source

Rule = Callable[[Source], Iterator[Finding]]

SAID_ON_PURPOSE = {
    "ConversationRequest.brand_id": "an agent of several brands says for which one; it must be one of its own",
    "QuoteRequest.brand_id": "mcp_server has no tenant and serves several brands; it must be one of its own",
    "list_purchases.brand_id": "mcp_server says whose feed it reads; it must be one of its own",
    "tree_checkpoint.tenant_id": "a tree needs an address of its own, for readers' caches; it must be the caller's",
    "passkeys_page.brand_id": "a page of a brand; whose passkeys it shows, the browser's login says",
    "add_passkey.brand_id": "as above",
    "prove_with_passkey.brand_id": "as above",
    "remove_passkey.brand_id": "as above",
    "returned.brand_id": "each brand has a redirect address of its own; it must be the one its browser left for",
    "tree_tile.tenant_id": "as above",
}
RULES = [ownership.owner_fields, ownership.owner_parameters, ownership.owners_from_requests]


@pytest.mark.control("UC-7.4")
def test_no_owner_is_ever_taken_from_a_request(sources: list[Source]):
    found = [one for rule in RULES for file in sources if file.top == "gateway" for one in rule(file)]

    named = {one: one.what.split("`")[1] for one in found}
    assert [one for one, name in named.items() if name not in SAID_ON_PURPOSE] == []
    assert set(named.values()) == set(SAID_ON_PURPOSE), "an exception nobody needs any more"


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (ownership.owner_fields, "class BuyRequest(Struct):\n    subject_id: str\n"),
        (ownership.owner_fields, "class BuyRequest(Struct):\n    tenant_id: Identifier | None = None\n"),
        (ownership.owner_parameters, "async def show(subject_id: FromQuery[str]): ...\n"),
        (ownership.owner_parameters, "async def show(x: int, *, client_id: FromPath[str]): ...\n"),
        (ownership.owner_parameters, "async def show(tenant_id: Annotated[str, QueryParameter(name='t')]): ...\n"),
        (ownership.owners_from_requests, "def buy(self, request: BuyRequest):\n    use(request.subject_id)\n"),
        (ownership.owners_from_requests, "async def buy(data: JSONBody[BuyRequest]):\n    return data.tenant_id\n"),
    ],
)
def test_each_way_to_be_told_whose_something_is_gets_noticed(rule: Rule, code: str):
    assert [one.path for one in rule(source("gateway/x.py", code))] == ["gateway/x.py"]


@pytest.mark.parametrize(
    "code",
    [
        "class BuyRequest(Struct):\n    checkout_id: str\n",
        "class PurchaseView(Struct):\n    subject_id: str\n",
        "async def show(checkout_id: FromQuery[str], subject_id: str): ...\n",
        "def token(request: Request):\n    return request.client_id\n",
        "def buy(request: BuyRequest, caller: Caller):\n    return caller.tenant_id, request.checkout_id\n",
    ],
)
def test_naming_an_object_or_knowing_an_owner_is_no_offence(code: str):
    assert [one for rule in RULES for one in rule(source("gateway/x.py", code))] == []
