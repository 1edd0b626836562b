"""The factors, built by hand: what the app mounts, runs beside the listener, and closes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.contacts import Contacts
from gateway.conversations import Conversations
from gateway.factors.asking import Asking
from gateway.factors.ceremonies import Host
from gateway.factors.credentials import load_credentials
from gateway.factors.keeping import Keeping
from gateway.factors.logins import Links, OpenIdLogins
from gateway.factors.metadata import PROVIDER, Published
from gateway.factors.passkeys import Passkeys
from gateway.factors.phone import Phones
from gateway.factors.relying import RelyingParty
from gateway.factors.stepping import Stepping
from gateway.peers import Inbox
from gateway.record.entries import Record
from gateway.settings import Settings
from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock


@dataclass(frozen=True, slots=True)
class Factors:
    """`published` keeps providers' keys fresh in the background."""

    dependencies: Mapping[str, Any]
    published: Published
    client: PeerClient


def build_factors(
    settings: Settings,
    engine: AsyncEngine,
    contacts: Contacts,
    conversations: Conversations,
    inbox: Inbox,
    record: Record,
    clock: Clock,
) -> Factors:
    """Raises SettingsIncomplete for credentials that cannot be used."""
    public_url = settings.public_url
    client = PeerClient(PROVIDER, "")
    published = Published(client, clock, plain_http=settings.sandbox)
    party = RelyingParty(client, published, load_credentials(settings.keys_folder / "openid"), clock)
    phones = Phones(engine, party, conversations, clock)
    host = Host(public_url)
    passkeys = Passkeys(engine, conversations, host, clock)
    asking = Asking(engine, phones, clock, public_url=public_url, passkeys_possible=host.has_name)
    dependencies = {
        "asking": asking,
        "passkeys": passkeys,
        "keeping": Keeping(
            engine, passkeys=passkeys, contacts=contacts, inbox=inbox, record=record, host=host, clock=clock
        ),
        "links": Links(engine, clock),
        "stepping": Stepping(
            engine, conversations=conversations, passkeys=passkeys, phones=phones, host=host, clock=clock
        ),
        "openid_logins": OpenIdLogins(engine, party, conversations, contacts, clock, public_url=public_url),
    }
    return Factors(dependencies, published, client)
