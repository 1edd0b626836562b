"""The payment processors this vault is connected to, by name. A charge stays with the one it was given to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.secret import Secret
from vault.cleartext.processors import Processor, ProcessorSilent
from vault.cleartext.processors.airwallex import AirwallexProcessor
from vault.cleartext.processors.held import HeldCards
from vault.contract import ChargeReason
from vault.counters import Counters
from vault.routing.breakers import Watched, in_line
from vault.routing.rules import Asked, Route, order_of

STRIPE: Final = "stripe"
AIRWALLEX: Final = "airwallex"
NAMES: Final = (STRIPE, AIRWALLEX)

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """A second processor, of which everything is given or nothing, and who charges where nothing else is said.

    Stripe is always there: its settings are the vault's own. `phone_processors`: those whose account is enabled for
    telephone orders, which a processor does on request and not by itself; names with commas between them.
    """

    default_processor: str = STRIPE
    airwallex_url: str = ""
    airwallex_client_id: str = ""
    airwallex_key_file: Path | None = None
    airwallex_webhook_secret_file: Path | None = None
    phone_processors: str = ""

    @property
    def by_phone(self) -> frozenset[str]:
        return frozenset(name.strip() for name in self.phone_processors.split(",") if name.strip())

    @property
    def has_airwallex(self) -> bool:
        return bool(self.airwallex_url)

    def faults(self) -> list[str]:
        """What is missing or cannot be used, by the name of its variable."""
        needed = ("airwallex_url", "airwallex_client_id", "airwallex_key_file", "airwallex_webhook_secret_file")
        given = [name for name in needed if getattr(self, name)]
        if given and len(given) < len(needed):
            return [f"{name.upper()} is missing" for name in needed if name not in given]
        unread = [name for name in given if name.endswith("_file") and not _readable(getattr(self, name))]
        if unread:
            return [f"{name.upper()} cannot be used" for name in unread]
        known = NAMES if self.has_airwallex else (STRIPE,)
        wrong = [] if self.default_processor in known else [f"DEFAULT_PROCESSOR must be one of {', '.join(known)}"]
        unknown = self.by_phone - set(known)
        return [*wrong, f"PHONE_PROCESSORS may name {', '.join(known)}"] if unknown else wrong


class Processors:
    """Each watched by a breaker of its own."""

    def __init__(
        self, by_name: Mapping[str, Processor], chosen: ProcessorSettings, clock: Clock, counters: Counters
    ) -> None:
        self._by_name = {name: Watched(name, one, clock, counters) for name, one in by_name.items()}
        self._default = chosen.default_processor
        self._by_phone = chosen.by_phone

    def in_line_for(self, routes: Iterable[Route], asked: Asked) -> tuple[str, ...]:
        """Who is to charge, and who next if that one does not act. Never empty: `refusal` says if the first may not."""
        order = order_of(routes, asked, self._default)
        able = tuple(name for name in order if self._allows(name, asked)) or order[:1]
        return in_line(able, {name: one.breaker for name, one in self._by_name.items()})

    def refusal(self, name: str, asked: Asked) -> ChargeReason | None:
        """Why this processor is not to be asked at all."""
        return None if self._allows(name, asked) else ChargeReason.PHONE_ORDERS_NOT_TAKEN

    def _allows(self, name: str, asked: Asked) -> bool:
        return not asked.by_phone or name in self._by_phone

    def may_be_tried(self, name: str) -> bool:
        """Asked right before a call where others could be called instead; an open breaker counts it as the trial."""
        found = self._by_name.get(name)
        return found is None or found.breaker.lets_through()

    def of(self, name: str) -> Processor:
        """Raises ProcessorSilent when it is not connected any more: whatever it did, nobody here can ask it."""
        found = self._by_name.get(name)
        if found is None:
            log.warning("processor_not_connected", processor=name if name in NAMES else "unknown")
            raise ProcessorSilent
        return found

    async def close(self) -> None:
        for processor in self._by_name.values():
            await processor.close()


def build_airwallex(
    settings: ProcessorSettings, timeout_seconds: float, clock: Clock, held: HeldCards, action_origins: frozenset[str]
) -> AirwallexProcessor:
    return AirwallexProcessor(
        url=settings.airwallex_url,
        client_id=settings.airwallex_client_id,
        api_key=_read(settings.airwallex_key_file),
        webhook_secret=_read(settings.airwallex_webhook_secret_file),
        timeout_seconds=timeout_seconds,
        clock=clock,
        held=held,
        action_origins=action_origins,
    )


def _read(path: Path | None) -> Secret[str]:
    """Of a file the settings have been found to name."""
    return Secret("" if path is None else path.read_text(encoding="utf-8").strip())


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return False
