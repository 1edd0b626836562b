"""`python -m infra.sandbox`: the processor and the inbox, two listeners in one process, on loopback only."""

import asyncio
import os
import secrets
import signal
import sys
from contextlib import closing, suppress
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server
from joserfc.jwk import RSAKey

from infra.sandbox import logs
from infra.sandbox.airwallex import desk as airwallex
from infra.sandbox.airwallex.app import build_airwallex
from infra.sandbox.airwallex.books import Books
from infra.sandbox.airwallex.operations import OPERATIONS as AIRWALLEX_OPERATIONS
from infra.sandbox.app import build_app
from infra.sandbox.carrier import calls, read_signer
from infra.sandbox.checkout.answers import OPERATION, Updater
from infra.sandbox.checkout.app import build_checkout
from infra.sandbox.courier import Courier
from infra.sandbox.desk import Desk, Merchant
from infra.sandbox.documents import Documents
from infra.sandbox.faults import Fault, Faults, WaitingRoom
from infra.sandbox.inbox import Inbox, build_inbox
from infra.sandbox.ledger import Ledger, StateUnreadable
from infra.sandbox.openid.realm import open_realms
from infra.sandbox.openid.registered import ClientsUnusable
from infra.sandbox.openid.routes import openid_routes
from infra.sandbox.operations import OPERATIONS
from infra.sandbox.settings import (
    AIRWALLEX_CLIENT_ID,
    CHECKOUT_CLIENT_ID,
    Address,
    AirwallexListener,
    CheckoutListener,
    Settings,
    SettingsIncomplete,
    load,
)
from infra.sandbox.texting import Account, texting
from infra.sandbox.transit.app import Transit, build_transit

_FINGERPRINT_KEY_BYTES = 32


def main() -> int:
    try:
        settings = load(os.environ)
    except SettingsIncomplete as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 2
    transit = [] if settings.transit is None else [settings.transit.bind]
    others = [one.bind for one in (settings.airwallex, settings.checkout) if one is not None]
    for address in (settings.bind, settings.inbox_bind, *transit, *others):
        if not address.is_free():
            sys.stderr.write(f"sandbox: {address.url} is taken or cannot be bound\n")
            return 1
    logs.configure(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except (StateUnreadable, ClientsUnusable) as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    realms = {} if settings.openid_clients is None else open_realms(settings.openid_clients, settings.inbox_bind.url)
    settings.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _fingerprint_key(settings.state_folder / "fingerprint.key")
    with (
        closing(Ledger(settings.state_folder / "processor.sqlite")) as ledger,
        closing(Inbox(settings.state_folder / "inbox.sqlite")) as inbox,
        closing(Books(settings.state_folder / "airwallex.sqlite")) as books,
    ):
        documents = Documents(ledger, page_url=settings.bind.url)
        faults = Faults(
            frozenset(operation.name for operation in OPERATIONS), without=frozenset({Fault.ECHO_IN_ACTION})
        )
        courier = None if settings.webhook is None else Courier(ledger, documents, faults, settings.webhook)
        desk = Desk(
            ledger=ledger,
            documents=documents,
            faults=faults,
            waiting_room=WaitingRoom(),
            fingerprint_key=key,
            webhooks=courier is not None,
            keys_in_use=set(),
            wrote=_nobody_to_wake if courier is None else courier.wake,
            merchant=Merchant(settings.moto),
        )
        processor = build_app(desk, api_key=settings.api_key, operations=OPERATIONS)
        others = [] if settings.texting is None else [texting(inbox, Account.parse(settings.texting))]
        others += openid_routes(realms)
        others += [] if settings.carrier is None else [calls(read_signer(settings.carrier))]
        servers = [_server(processor, settings.bind), _server(build_inbox(inbox, others), settings.inbox_bind)]
        if settings.transit is not None:
            engine = build_transit(Transit(settings.transit.bearer))
            servers.append(_server(engine, settings.transit.bind))
        if settings.airwallex is not None:
            servers.append(_second(settings.airwallex, books, desk.waiting_room, key))
        if settings.checkout is not None:
            servers.append(_updater(settings.checkout, desk.waiting_room))
        await _run(servers, desk.waiting_room, courier)


async def _run(servers: list[Server], waiting_room: WaitingRoom, courier: Courier | None) -> None:
    """Serve until SIGTERM or SIGINT, or until something that should run for ever ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = [asyncio.create_task(server.serve()) for server in servers]
    delivering = [] if courier is None else [asyncio.create_task(courier.run())]
    stopped = asyncio.create_task(stop.wait())
    logs.say("started")
    await asyncio.wait([*serving, *delivering, stopped], return_when=asyncio.FIRST_COMPLETED)
    waiting_room.close()
    stopped.cancel()
    for server in servers:
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it unannotated
    for task in delivering:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*serving, *delivering)
    logs.say("stopped")


def _second(listener: AirwallexListener, books: Books, waiting_room: WaitingRoom, key: bytes) -> Server:
    desk = airwallex.Desk(
        books=books,
        faults=Faults(frozenset(operation.name for operation in AIRWALLEX_OPERATIONS)),
        waiting_room=waiting_room,
        fingerprint_key=key,
        page_url=listener.bind.url,
    )
    return _server(build_airwallex(desk, client_id=AIRWALLEX_CLIENT_ID, api_key=listener.api_key), listener.bind)


def _updater(listener: CheckoutListener, waiting_room: WaitingRoom) -> Server:
    updater = Updater(
        key=RSAKey.import_key(listener.sealing_key),
        faults=Faults(frozenset({OPERATION})),
        waiting_room=waiting_room,
    )
    return _server(build_checkout(updater, client_id=CHECKOUT_CLIENT_ID, client_secret=listener.secret), listener.bind)


def _server(app: object, address: Address) -> Server:
    return Server(app, address=address.host, port=address.port, interface=Interfaces.ASGI, log_enabled=False)


def _fingerprint_key(path: Path) -> bytes:
    """The key of card fingerprints, made at the first start and readable by this user only."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_FINGERPRINT_KEY_BYTES))
    return path.read_bytes()


def _nobody_to_wake() -> None:
    """Without a webhook URL nothing is delivered."""


if __name__ == "__main__":
    sys.exit(main())
