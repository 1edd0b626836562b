"""What a charge does between its grant and the processor, as a service of its own: the vault's parts, no company.

Grant checked and used up, card selected, keys unwrapped, number opened, handed over. Run beside a vault, on its
database and with its settings, by path: `python -P revealing.py PORT`.
"""

import asyncio
import os
import sys

from litestar import post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

from infra.chassis import logs
from infra.chassis.clock import SystemClock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier, Presented, presented
from infra.chassis.http import Listener, Metrics, build_app, serve
from infra.chassis.jwk import JwksFile
from infra.chassis.keys import starting
from infra.chassis.keys.settings import open_key_service
from infra.chassis.problems import NotFound
from infra.chassis.settings import Bind, load
from vault import scrubbing
from vault.admission import Admission
from vault.app import AUDIENCE
from vault.at_once import stored_card
from vault.canary_marks import CanaryMarks
from vault.cleartext.pan import CardDetails, VerificationCode
from vault.cleartext.processors.stripe import StripeProcessor
from vault.cleartext.tokenise import Cards
from vault.codes import Codes
from vault.contract import Action, ChargeOrder
from vault.counters import Counters
from vault.fingerprint import Fingerprints
from vault.keys.keeping import build_keeping
from vault.settings import PREFIX, Settings
from vault.store import Store


class _AnswersAtOnce(StripeProcessor):
    """Takes the card and sends nothing: what another company needs is not measured here."""

    async def present_card(self, key: str, card: CardDetails, code: VerificationCode | None) -> str:  # noqa: ARG002 - the processor's signature
        return f"pm_{card.number.last4}"


@post("/v1/charges", status_code=200)
async def reveal(
    data: JSONBody[ChargeOrder],
    presented: NamedDependency[Presented],
    admission: NamedDependency[Admission],
    store: NamedDependency[Store],
    cards: NamedDependency[Cards],
    processor: NamedDependency[StripeProcessor],
) -> dict[str, str]:
    """As far as a charge goes without anybody else."""
    await admission.admit(presented, Action.CHARGE, data)
    card = await stored_card(store, data.tenant_id, data.token_id)
    if card is None:
        raise NotFound
    return {"method_ref": await cards.present(card, data.charge_id, processor)}


async def run(port: int, settings: Settings) -> None:
    """Until SIGTERM."""
    clock, metrics = SystemClock(), Metrics()
    engine, keys = create_engine(settings.database_url), open_key_service(settings.keys, clock)
    await starting.begin(keys)
    store = Store(engine)
    processor = _AnswersAtOnce(
        url=settings.processor_url,
        api_key=settings.processor_key,
        webhook_secret=settings.webhook_secret,
        timeout_seconds=settings.processor_timeout_seconds,
    )
    fingerprints = Fingerprints(settings.fingerprint_key)
    cards = Cards(
        store=store,
        ring=build_keeping(store, keys, clock, settings.lifecycle).ring,
        fingerprints=fingerprints,
        marks=CanaryMarks(fingerprints.keys()),
        codes=Codes(clock),
        clock=clock,
        counters=Counters(metrics.registry),
    )
    grant_keys = JwksFile(settings.grant_jwks_file, clock)
    verifier = GrantVerifier(audience=AUDIENCE, issuer=settings.grant_issuer, keys=grant_keys, clock=clock)
    app = build_app(
        service="vault reveal",
        routes=[reveal],
        dependencies={
            "presented": Provide(presented),
            "admission": Admission(verifier=verifier, store=store),
            "store": store,
            "cards": cards,
            "processor": processor,
        },
        metrics=metrics,
    )
    try:
        await serve([Listener(app, Bind("127.0.0.1", port))])
    finally:
        await processor.close()
        await engine.dispose()
        await keys.close()


if __name__ == "__main__":
    logs.configure("vault", "INFO")
    scrubbing.receive_in_small_pieces()
    asyncio.run(run(int(sys.argv[1]), load(Settings, PREFIX, os.environ)))
