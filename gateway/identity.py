"""The identity side of the gateway, built by hand: who calls, who consents, who may open which door."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar.types import ControllerRouterHandler
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.approvals import Approvals
from gateway.bearers import Bearers
from gateway.browser.approving import approval_routes
from gateway.browser.authenticating import authentication_routes
from gateway.browser.consent import Consenting
from gateway.browser.cookies import Jar
from gateway.browser.door import Doors
from gateway.browser.login import Logins
from gateway.browser.routes import browser_routes
from gateway.callers import Callers
from gateway.captures import Captures
from gateway.challenges import Codes
from gateway.contacts import Contacts
from gateway.conversations import Conversations
from gateway.key_routes import key_routes
from gateway.limits.limiter import Limits
from gateway.oauth.machines import Machines
from gateway.oauth.routes import AuthorizationServer
from gateway.oauth.routes import routes as oauth_routes
from gateway.oauth.server import Parts
from gateway.record.entries import Record
from infra.chassis.clock import Clock
from infra.chassis.ring import SigningRing


@dataclass(frozen=True, slots=True)
class Identity:
    """What the app mounts. Routes that take a `Caller` also declare `callers.authenticate` as dependency `caller`."""

    routes: Sequence[ControllerRouterHandler]
    dependencies: Mapping[str, Any]


def build_identity(
    *,
    engine: AsyncEngine,
    clock: Clock,
    bearer_key: SigningRing,
    grant_key: SigningRing,
    limits: Limits,
    public_url: str,
    vault_page_url: str,
    contacts: Contacts,
    codes: Codes,
    conversations: Conversations,
    captures: Captures,
    record: Record,
) -> Identity:
    """`public_url` is the issuer, byte for byte. Raises ValueError when it cannot be one (RFC 8414 section 2)."""
    bearers = Bearers(key=bearer_key, issuer=public_url, clock=clock)
    parts = Parts(bearers=bearers, clock=clock)
    logins = Logins(engine=engine, contacts=contacts, codes=codes, clock=clock)
    dependencies = {
        "callers": Callers(bearers=bearers, machines=Machines(engine=engine, clock=clock), limits=limits),
        "authorization_server": AuthorizationServer(engine=engine, parts=parts),
        "logins": logins,
        "consenting": Consenting(engine=engine, parts=parts, conversations=conversations, record=record),
        "doors": Doors(captures=captures, logins=logins, vault_page_url=vault_page_url),
        "approvals": Approvals(engine=engine, record=record, clock=clock, public_url=public_url),
        "jar": Jar(public_url),
    }
    routes = [*oauth_routes(public_url), *key_routes(bearers, grant_key, clock), browser_routes(), approval_routes()]
    routes.append(authentication_routes())
    return Identity(routes=routes, dependencies=dependencies)
