"""The gateway, built by hand: what decides, what keeps, who is called, and one app on one listener."""

from collections.abc import Mapping
from dataclasses import dataclass

from litestar.types import ASGIApp
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import caller_id_routes, enquiry_routes, forward_routes, preparing_routes, routes
from gateway.approvals import Approvals
from gateway.authzen.points import Points
from gateway.authzen.routes import authzen_app
from gateway.authzen.search import Searches
from gateway.caller_ids import CallerIds
from gateway.callers import Callers
from gateway.captures import Captures
from gateway.cedar import Cedar
from gateway.challenges import Codes
from gateway.charging import Charging
from gateway.contacts import Contacts
from gateway.contract import ContactKind
from gateway.conversations import Conversations
from gateway.couriers import Courier, Texts
from gateway.deciding import Deciding
from gateway.disclosures import Disclosures
from gateway.enquiries import Enquiries
from gateway.factors import keeping_routes, stepping_routes
from gateway.factors import routes as factor_routes
from gateway.factors.building import Factors, build_factors
from gateway.factors.ceremonies import Host
from gateway.factors.confirming import Confirming
from gateway.factors.metadata import Published
from gateway.forwards import Forwards
from gateway.grants import GrantMint
from gateway.identity import Identity, build_identity
from gateway.limits.limiter import Limits
from gateway.listing import Listing
from gateway.mandates import Mandates
from gateway.oauth.machines import Machines
from gateway.overlays import routes as policy_routes
from gateway.overlays.active import ActiveRules
from gateway.overlays.versions import Policies
from gateway.passports import Carriers
from gateway.peers import Inbox, Memory, Vault
from gateway.possible import Possible
from gateway.preparing import Preparing
from gateway.purchases import Purchases
from gateway.quotes import Quotes
from gateway.record import proof_routes
from gateway.record import routes as record_routes
from gateway.record.cosignatures import Witnesses
from gateway.record.entries import Record
from gateway.record.sealer import Sealer
from gateway.refunds import Refunds
from gateway.refusals import API_REFUSALS
from gateway.settings import Keys, Settings
from gateway.sweeper import Sweeper
from gateway.turns import Turns
from gateway.undecided import Undecided
from infra.chassis.client import PeerClient
from infra.chassis.clock import Clock
from infra.chassis.engine import answers, create_engine
from infra.chassis.http import Metrics, build_app


@dataclass(frozen=True, slots=True)
class Gateway:
    """A built gateway, not yet listening."""

    api: ASGIApp
    authzen: ASGIApp
    """For enforcement points, on a listener of its own."""
    sweeper: Sweeper
    sealer: Sealer
    published: Published
    limits: Limits
    engine: AsyncEngine
    peers: tuple[PeerClient, ...]
    preparing: Preparing

    async def close(self) -> None:
        await self.preparing.close()
        for peer in self.peers:
            await peer.close()
        await self.engine.dispose()


@dataclass(frozen=True, slots=True)
class Core:
    """The verbs, ready to be mounted."""

    conversations: Conversations
    quotes: Quotes
    purchases: Purchases
    refunds: Refunds
    disclosures: Disclosures
    mandates: Mandates
    enquiries: Enquiries
    preparing: Preparing
    policies: Policies
    caller_ids: CallerIds
    listing: Listing
    forwards: Forwards


def build_gateway(settings: Settings, keys: Keys, clock: Clock) -> Gateway:
    """Raises PoliciesUnusable when the policies do not fit the schema or the contract."""
    engine = create_engine(settings.database_url)
    peers = _peers(settings)
    mint = GrantMint(keys.grant, settings.public_url, clock, keys.sender)
    record, rules = Record(keys.record, clock), ActiveRules(Cedar.load())
    metrics, possible = Metrics(), Possible(passkeys=Host(settings.public_url).has_name)
    deciding = Deciding(rules, record, Undecided(engine, record, metrics.registry), possible)
    vault, memory = Vault(peers["vault"], mint), Memory(peers["memory"], mint)
    charging = Charging(engine, vault, record, clock)
    contacts = Contacts(keys.contact, clock)
    codes = Codes(engine, contacts, _couriers(settings, peers), keys.contact, clock)
    captures = Captures(engine, mint, settings.public_url)
    conversations = Conversations(engine, contacts, codes, clock)
    turns = Turns(clock)
    core = Core(
        conversations=conversations,
        quotes=Quotes(engine, clock),
        purchases=_purchases(settings.public_url, engine, deciding, record, vault, captures, charging, clock),
        refunds=Refunds(engine=engine, deciding=deciding, record=record, vault=vault, clock=clock),
        disclosures=Disclosures(deciding, memory, turns, clock),
        mandates=Mandates(deciding, record, clock),
        enquiries=Enquiries(deciding, clock),
        policies=Policies(engine, rules, record, clock),
        listing=Listing(deciding, record, clock),
        forwards=Forwards(engine=engine, deciding=deciding, record=record, vault=vault, clock=clock),
        preparing=Preparing(deciding, record, memory, turns, clock),
        caller_ids=CallerIds(engine, conversations, contacts, Carriers(settings.carriers_folder), clock),
    )
    limits = Limits(engine, clock, settings.limits)
    identity = build_identity(
        engine=engine,
        clock=clock,
        bearer_key=keys.bearer,
        grant_key=keys.grant,
        limits=limits,
        public_url=settings.public_url,
        vault_page_url=settings.vault_page_url,
        contacts=contacts,
        codes=codes,
        conversations=core.conversations,
        captures=captures,
        record=record,
    )
    factors = build_factors(settings, engine, contacts, core.conversations, Inbox(peers["inbox"]), record, clock)
    return Gateway(
        authzen=_authzen(engine, core, identity, settings.authzen_url, clock),
        api=_api(engine, core, identity, factors, record, Witnesses.load(settings.keys_folder), metrics),
        sweeper=Sweeper(engine=engine, charging=charging, refunding=core.refunds, record=record, clock=clock),
        sealer=Sealer(engine, record),
        published=factors.published,
        limits=limits,
        engine=engine,
        peers=(*peers.values(), factors.client),
        preparing=core.preparing,
    )


def _purchases(
    public_url: str,
    engine: AsyncEngine,
    deciding: Deciding,
    record: Record,
    vault: Vault,
    captures: Captures,
    charging: Charging,
    clock: Clock,
) -> Purchases:
    return Purchases(
        engine=engine,
        deciding=deciding,
        record=record,
        vault=vault,
        captures=captures,
        charging=charging,
        approvals=Approvals(engine=engine, record=record, clock=clock, public_url=public_url),
        confirming=Confirming(public_url),
        clock=clock,
    )


def _couriers(settings: Settings, peers: Mapping[str, PeerClient]) -> dict[ContactKind, Courier]:
    return {
        ContactKind.EMAIL: Inbox(peers["inbox"]),
        ContactKind.PHONE: Texts(peers["texting"], settings.texting_account, settings.texting_from),
    }


def _authzen(engine: AsyncEngine, core: Core, identity: Identity, url: str, clock: Clock) -> ASGIApp:
    callers: Callers = identity.dependencies["callers"]
    points = Points(engine, core.enquiries, Machines(engine=engine, clock=clock), clock)
    return authzen_app(callers, points, Searches(engine, points), url)


def _peers(settings: Settings) -> dict[str, PeerClient]:
    urls = {
        "vault": settings.vault_url,
        "memory": settings.memory_url,
        "inbox": settings.inbox_url,
        "texting": settings.texting_url,
    }
    return {name: PeerClient(name, url) for name, url in urls.items()}


def _api(
    engine: AsyncEngine,
    core: Core,
    identity: Identity,
    factors: Factors,
    record: Record,
    witnesses: Witnesses,
    metrics: Metrics,
) -> ASGIApp:
    async def database() -> bool:
        return await answers(engine)

    dependencies = {
        "conversations": core.conversations,
        "quotes": core.quotes,
        "purchases": core.purchases,
        "refunds": core.refunds,
        "disclosures": core.disclosures,
        "mandates": core.mandates,
        "enquiries": core.enquiries,
        "listing": core.listing,
        "preparing": core.preparing,
        "caller_ids": core.caller_ids,
        "forwards": core.forwards,
        "engine": engine,
        "record": record,
        "witnesses": witnesses,
        "policies": core.policies,
        **identity.dependencies,
        **factors.dependencies,
    }
    return build_app(
        service="gateway",
        routes=[
            routes.router(identity.dependencies["callers"]),
            enquiry_routes.router(identity.dependencies["callers"]),
            forward_routes.router(identity.dependencies["callers"]),
            preparing_routes.router(identity.dependencies["callers"]),
            factor_routes.api_router(identity.dependencies["callers"]),
            factor_routes.browser_router(),
            caller_id_routes.router(identity.dependencies["callers"]),
            keeping_routes.router(),
            stepping_routes.router(),
            *record_routes.ROUTES,
            *proof_routes.ROUTES,
            *policy_routes.ROUTES,
            *identity.routes,
        ],
        ready={"database": database},
        dependencies=dependencies,
        metrics=metrics,
        docs=True,
        refusals={"/v1": API_REFUSALS},
    )
