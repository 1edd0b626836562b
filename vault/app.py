"""The vault, built by hand: one set of parts, three apps that share nothing but them.

The API is for the gateway, the page for people's browsers, the webhook listener for the processor; each has its own
routes and nothing of the others'.
"""

from dataclasses import dataclass

from litestar.di import Provide
from litestar.types import ASGIApp
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.chassis.clock import Clock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier, presented
from infra.chassis.http import Metrics, build_app
from infra.chassis.jwk import JwksFile
from infra.chassis.keys import KeyService
from infra.chassis.keys.custody import Custody
from infra.chassis.keys.settings import custody_of, open_key_service
from vault import pages, reports, routes, webhooks
from vault.admission import Admission
from vault.authentications import pages as authentication_routes
from vault.authentications.answering import Authentications
from vault.authentications.pages import AuthenticationPages
from vault.canaries import Canaries
from vault.canary_marks import CanaryMarks
from vault.captures import Captures
from vault.cleartext.forwarding.carrying import Carrier
from vault.cleartext.forwarding.network import Network
from vault.cleartext.hpke import PageKeys
from vault.cleartext.processors import Processor
from vault.cleartext.processors.held import HeldCards
from vault.cleartext.processors.stripe import StripeProcessor
from vault.cleartext.tokenise import Cards
from vault.codes import Codes
from vault.counters import Counters
from vault.custodians.gate import Gate
from vault.fingerprint import Fingerprints
from vault.forwarding.forwards import Forwards
from vault.hanging_up import HangingUp
from vault.inbox import Inbox
from vault.keyed.routes import ROUTES as KEYED_ROUTES
from vault.keyed.taking import KeyedCards
from vault.keys.keeping import Keeping, build_keeping
from vault.money import Money, build_money
from vault.names import Names
from vault.outbox.building import Outbox, build_outbox
from vault.processors import AIRWALLEX, STRIPE, Processors, build_airwallex
from vault.reconcile import Reconciler
from vault.settings import Settings
from vault.store import Store
from vault.updating.job import Updating, build_updating
from vault.workers import Workers

AUDIENCE = "vault"
DRAIN_SECONDS = 8
CONNECTIONS = 20
"""The vault is one process with a cluster of its own. Those beyond are made for one use and ended, which costs
more than what they are used for."""


@dataclass(frozen=True, slots=True)
class Vault:
    """A built vault, not yet listening."""

    api: ASGIApp
    page: ASGIApp
    webhook: ASGIApp
    reconciler: Reconciler
    keeping: Keeping
    outbox: Outbox
    updating: Updating
    workers: Workers
    processors: Processors
    engine: AsyncEngine
    keys: KeyService
    custody: Custody
    codes: Codes
    names: Names
    held: HeldCards

    async def close(self) -> None:
        """Finish what is under way, as far as it goes; the rest is the reconciler's after the next start."""
        await self.workers.drain(DRAIN_SECONDS)
        self.codes.forget_all()
        self.held.forget_all()
        self.names.close()
        await self.outbox.courier.close()
        await self.processors.close()
        await self.updating.close()
        await self.engine.dispose()
        await self.keys.close()


def build_vault(settings: Settings, clock: Clock) -> Vault:
    engine = create_engine(settings.database_url, pool_size=CONNECTIONS)
    custody = custody_of(settings.keys)
    keys = open_key_service(settings.keys, clock, custody)
    metrics, workers, names, held = Metrics(), Workers(), Names(), HeldCards(clock)
    store, counters, codes = Store(engine), Counters(metrics.registry), Codes(clock)
    counters.codes_locked.set(codes.pages.locked)
    processors = _processors(settings, clock, counters, held)
    keeping = build_keeping(store, keys, clock, settings.lifecycle)
    outbox = _outbox(settings, store, clock, metrics, names)
    fingerprints = Fingerprints(settings.fingerprint_key)
    marks = CanaryMarks(fingerprints.keys())
    cards = Cards(
        store=store,
        ring=keeping.ring,
        fingerprints=fingerprints,
        marks=marks,
        codes=codes,
        clock=clock,
        counters=counters,
    )
    canaries = Canaries(store=store, marks=marks, clock=clock, counters=counters, workers=workers)
    money = build_money(
        store=store,
        cards=cards,
        codes=codes,
        processors=processors,
        canaries=canaries,
        clock=clock,
        counters=counters,
        workers=workers,
        timeout_seconds=settings.processor_timeout_seconds,
        asking=settings.asking,
    )
    captures, admission = Captures(store=store, canaries=canaries, clock=clock), _admission(settings, store, clock)
    page_keys = PageKeys()
    keyed = KeyedCards(captures=captures, cards=cards, keys=page_keys, clock=clock, counters=counters)
    forwards = _forwards(settings, store, cards, names, canaries, clock, counters, workers)
    return Vault(
        api=_api(
            metrics, store, custody, admission=admission, captures=captures, keyed=keyed, money=money, forwards=forwards
        ),
        page=_page(settings, clock, counters, custody, admission, captures, cards, page_keys, money.authentications),
        webhook=_webhook(money.inbox),
        reconciler=money.reconciler,
        keeping=keeping,
        outbox=outbox,
        updating=build_updating(settings, store, cards, canaries, clock, counters),
        workers=workers,
        processors=processors,
        engine=engine,
        keys=keys,
        custody=custody,
        codes=codes,
        names=names,
        held=held,
    )


def _processors(settings: Settings, clock: Clock, counters: Counters, held: HeldCards) -> Processors:
    timeout, chosen = settings.processor_timeout_seconds, settings.processors
    stripe = StripeProcessor(
        url=settings.processor_url,
        api_key=settings.processor_key,
        webhook_secret=settings.webhook_secret,
        timeout_seconds=timeout,
        action_origins=settings.action_origins,
    )
    connected: dict[str, Processor] = {STRIPE: stripe}
    if chosen.has_airwallex:
        connected[AIRWALLEX] = build_airwallex(chosen, timeout, clock, held, settings.airwallex_action_origins)
    return Processors(connected, chosen, clock, counters)


def _outbox(settings: Settings, store: Store, clock: Clock, metrics: Metrics, names: Names) -> Outbox:
    return build_outbox(
        store=store,
        settings=settings.outbox,
        clock=clock,
        registry=metrics.registry,
        sandbox=settings.sandbox,
        names=names,
    )


def _admission(settings: Settings, store: Store, clock: Clock) -> Admission:
    verifier = GrantVerifier(
        audience=AUDIENCE,
        issuer=settings.grant_issuer,
        keys=JwksFile(settings.grant_jwks_file, clock),
        clock=clock,
    )
    return Admission(verifier=verifier, store=store)


def _forwards(
    settings: Settings,
    store: Store,
    cards: Cards,
    names: Names,
    canaries: Canaries,
    clock: Clock,
    counters: Counters,
    workers: Workers,
) -> Forwards:
    timeout, sandbox = settings.forward_timeout_seconds, settings.sandbox
    network = Network(timeout_seconds=timeout, sandbox=sandbox, names=names)
    return Forwards(
        store=store,
        carrier=Carrier(
            cards=cards, network=network, clock=clock, credentials=settings.forward_credentials, sandbox=sandbox
        ),
        canaries=canaries,
        clock=clock,
        counters=counters,
        workers=workers,
        timeout_seconds=timeout,
    )


def _api(
    metrics: Metrics,
    store: Store,
    custody: Custody,
    *,
    admission: Admission,
    captures: Captures,
    keyed: KeyedCards,
    money: Money,
    forwards: Forwards,
) -> ASGIApp:
    app = build_app(
        service="vault",
        routes=(*routes.ROUTES, *KEYED_ROUTES),
        ready={"database": store.answers, "custody": custody.answers},
        dependencies={
            "admission": admission,
            "presented": Provide(presented),
            "captures": captures,
            "keyed_cards": keyed,
            "charges": money.charges,
            "holds": money.holds,
            "refunds": money.refunds,
            "forwards": forwards,
        },
        metrics=metrics,
        docs=True,
    )
    return Gate(app, custody, operations=True)


def _page(
    settings: Settings,
    clock: Clock,
    counters: Counters,
    custody: Custody,
    admission: Admission,
    captures: Captures,
    cards: Cards,
    keys: PageKeys,
    authentications: Authentications,
) -> ASGIApp:
    card_pages = pages.CardPages(
        admission=admission,
        captures=captures,
        cards=cards,
        keys=keys,
        clock=clock,
        counters=counters,
        page_origin=settings.page_origin,
        door_origin=settings.door_origin,
    )
    authentication_pages = AuthenticationPages(
        admission=admission,
        authentications=authentications,
        door_origin=settings.door_origin,
        asking=settings.asking,
    )
    policy_reports = reports.PolicyReports(clock=clock, counters=counters, page_origin=settings.page_origin)
    app = build_app(
        service="vault page",
        routes=(*pages.ROUTES, *authentication_routes.ROUTES, *reports.ROUTES),
        dependencies={
            "card_pages": card_pages,
            "authentication_pages": authentication_pages,
            "policy_reports": policy_reports,
        },
        operations=False,
    )
    return HangingUp(Gate(app, custody, operations=False))


def _webhook(inbox: Inbox) -> ASGIApp:
    return build_app(service="vault webhooks", routes=webhooks.ROUTES, dependencies={"inbox": inbox}, operations=False)
