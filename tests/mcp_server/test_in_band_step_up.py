# ruff: noqa: S608 - the id in the statement is the gateway's own
"""An assistant whose person's proof ran out: denied, challenged in band, signed in again, paid."""

import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest
from mcp import Client

from infra.dev.demo.assistant import Keeper, connect
from infra.dev.demo.person import FormSender, Inbox
from infra.dev.house import House
from mcp_server.contract import PaymentState, PaymentView, RemedyView, SearchView
from mcp_server.step_up import challenge_in
from tests.mcp_server.test_pay import checkout

Connect = Callable[..., AbstractAsyncContextManager[Client]]
IN_BAND = "mcp/www_authenticate"


@dataclass(slots=True)
class Shopper:
    """A person with one assistant, which keeps its registration when the person signs in again."""

    house: House
    endpoint: str
    hands: FormSender
    keeper: Keeper
    address: str

    async def sign_in(self, **asked: str) -> str:
        """The assistant's bearer; `asked` is added to the authorization request."""

        async def authorize(url: str) -> None:
            added = "".join(f"&{name}={value}" for name, value in asked.items())
            await self.hands.agree(url + added, self.address)

        async def show(_url: str) -> None:
            return

        self.keeper.tokens = None
        async with connect(self.endpoint, self.keeper, authorize, show) as client:
            await client.list_tools()
        return bearer_of(self.keeper)

    def let_evidence_age(self, bearer: str) -> None:
        """Thirteen hours: only the gateway's own rows say how old a proof is."""
        conversation_id = jwt.decode(bearer, options={"verify_signature": False})["cnv"]
        hours = "interval '13 hours'"
        self.house.clusters["house"].sql(
            f"UPDATE evidence SET obtained_at = obtained_at - {hours}, expires_at = expires_at - {hours}"
            f" WHERE conversation_id = '{conversation_id}'",
            database="gateway",
        )


def bearer_of(keeper: Keeper) -> str:
    assert keeper.tokens is not None
    return str(keeper.tokens.access_token)


@pytest.fixture
async def shopper(house: House, endpoint: str) -> AsyncIterator[Shopper]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        hands = FormSender(http, Inbox(house.urls["inbox"], http))
        yield Shopper(house, endpoint, hands, Keeper(), f"ada.{secrets.token_hex(6)}@example.com")


@pytest.mark.control("UC-8.9")
async def test_denied_in_band_signed_in_again_and_paid(assistant: Connect, shopper: Shopper):
    bearer = await shopper.sign_in()
    async with assistant(bearer) as client:
        checkout_id = await checkout(client)
        shopper.let_evidence_age(bearer)
        denied = await client.call_tool("pay", {"checkout_id": checkout_id})
    (challenge,) = (denied.meta or {})[IN_BAND]
    told = dict(re.findall(r'([a-z_]+)="([^"]*)"', challenge))

    async with assistant(await shopper.sign_in(acr_values=told["acr_values"], max_age=told["max_age"])) as client:
        allowed = await client.call_tool("pay", {"checkout_id": checkout_id})

    assert denied.is_error
    assert denied.structured_content["state"] == "denied"
    assert [remedy["kind"] for remedy in denied.structured_content["remedies"]] == ["step_up"]
    assert challenge.startswith("Bearer ")
    assert (told["error"], told["acr_values"], told["max_age"]) == (
        "insufficient_user_authentication",
        "urn:undercroft:acr:verified",
        "43200",
    )
    assert told["resource_metadata"].endswith("/.well-known/oauth-protected-resource/brands/lumen-and-loom/mcp")
    assert told["scope"] == "catalog purchase"
    assert not allowed.is_error
    assert (allowed.meta or {}).get(IN_BAND) is None
    assert allowed.structured_content["state"] == "needs_card"


async def test_a_recall_by_a_signed_in_person_is_no_challenge(assistant: Connect, shopper: Shopper):
    async with assistant(await shopper.sign_in()) as client:
        recalled = await client.call_tool("recall", {})

    assert not recalled.is_error
    assert recalled.structured_content["remedies"], "more could be seen with a stronger proof"
    assert (recalled.meta or {}).get(IN_BAND) is None


def payment(*remedies: RemedyView, **changes: Any) -> PaymentView:
    return PaymentView(
        checkout_id="cko_one", state=PaymentState.DENIED, message="", amount_minor=1, currency="USD",
        remedies=list(remedies), **changes,
    )  # fmt: skip


def test_only_a_deny_that_a_sign_in_would_turn_is_a_challenge():
    step_up = RemedyView(kind="step_up", sentence="", level="verified")
    confirm = RemedyView(kind="step_up", sentence="", level="confirmed", url="https://g.test/factors/x")
    lower = RemedyView(kind="lower_amount", sentence="", amount_minor_max=1)
    reasons: Any = ["assurance_too_low"]

    def challenged(view: Any) -> bool:
        return challenge_in(view, metadata_url="https://m.test", scopes=("purchase",)) is not None

    assert challenged(payment(step_up, reasons=reasons))
    assert challenged(payment(step_up, lower, reasons=reasons))
    assert not challenged(payment(lower, reasons=reasons))
    assert not challenged(payment(step_up))
    assert not challenged(payment(confirm, reasons=reasons))
    assert not challenged(SearchView(currency="USD", products=[]))
