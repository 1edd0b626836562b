"""What the sandbox is told at start, read once from the environment."""

import ipaddress
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "UNDERCROFT_SANDBOX_"
_REQUIRED = ("BIND", "INBOX_BIND", "STATE_FOLDER", "API_KEY_FILE")
_CARRIER = "CARRIER_KEY_FILE"
_TEXTING = "TEXTING_ACCOUNT_FILE"
_OPENID = "OPENID_CLIENTS_FILE"
_TRANSIT = ("TRANSIT_BIND", "TRANSIT_BEARER_FILE")
_WEBHOOK = ("WEBHOOK_URL", "WEBHOOK_SECRET_FILE")
_AIRWALLEX = ("AIRWALLEX_BIND", "AIRWALLEX_KEY_FILE")
_CHECKOUT = ("CHECKOUT_BIND", "CHECKOUT_SECRET_FILE", "CHECKOUT_SEALING_KEY_FILE")
AIRWALLEX_CLIENT_ID = CHECKOUT_CLIENT_ID = "sandbox-client"
_PORT_MAX = 65_535
_FLAGS = {"": False, "false": False, "true": True}


class SettingsIncomplete(Exception):
    """The sandbox cannot start. Its text names every setting that is missing or wrong, never a secret's value."""


@dataclass(frozen=True, slots=True)
class Address:
    """A loopback address and port. Anything else is refused: test cards and fault switches stay on this machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not separator or not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
            raise ValueError("must be host:port")
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            raise ValueError("must be a numeric loopback address, such as 127.0.0.1") from None
        if not loopback:
            raise ValueError("must be a loopback address: the sandbox never listens to another machine")
        return cls(host=host, port=int(port))

    def is_free(self) -> bool:
        """Whether nobody listens here. Asked first because the server would share a taken port without a word."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just closed do not count
            try:
                probe.bind((self.host, self.port))
                probe.listen()
            except OSError:
                return False
        return True

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are posted, and the secret their signature is made with."""

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TransitListener:
    bind: Address
    bearer: str = field(repr=False)
    """May do anything there."""


@dataclass(frozen=True, slots=True)
class AirwallexListener:
    bind: Address
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckoutListener:
    bind: Address
    secret: str = field(repr=False)
    sealing_key: str
    """A public RSA key as PEM, under which new card numbers are sent."""


@dataclass(frozen=True, slots=True)
class Settings:
    bind: Address
    inbox_bind: Address
    state_folder: Path
    api_key: str = field(repr=False)
    webhook: Webhook | None
    carrier: str | None = field(repr=False)
    """The telephone company's key, as PEM; None: nobody rings here."""
    texting: str | None = field(repr=False)
    """Account and password of the SMS company, as `ACCOUNT:PASSWORD`; None: nobody sends texts here."""
    log_level: int
    transit: "TransitListener | None" = None
    """A transit engine, which forgets its keys when it ends; without it there is none."""
    openid_clients: Path | None = None
    """Who is registered at the sandbox's OpenID provider; without it there is none."""
    airwallex: AirwallexListener | None = None
    """A second processor; without it there is one."""
    checkout: CheckoutListener | None = None
    """A card updater; without it there is none."""
    moto: bool = False
    """The merchant's account is enabled for mail and telephone orders, which a new one is not."""


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings; the two webhook settings come together or not at all (then no webhook is sent)."""
    names = (*_REQUIRED, *_WEBHOOK, *_TRANSIT, *_AIRWALLEX, *_CHECKOUT, _TEXTING, _CARRIER)
    values = {name: environment.get(PREFIX + name, "").strip() for name in names}
    wrong = [f"{PREFIX}{name} is missing" for name in _REQUIRED if not values[name]]
    for together in (_WEBHOOK, _TRANSIT, _AIRWALLEX, _CHECKOUT):
        if any(values[name] for name in together):
            wrong += [f"{PREFIX}{name} is missing" for name in together if not values[name]]
    level = logging.getLevelNamesMapping().get(environment.get(PREFIX + "LOG_LEVEL", "INFO").upper())
    if level is None:
        wrong.append(f"{PREFIX}LOG_LEVEL is not a log level")
    binds = [name for name in values if name.endswith("BIND") and values[name]]
    addresses = {name: _address(name, values[name], wrong) for name in binds}
    secrets = {name: _secret(name, values[name], wrong) for name in values if name.endswith("_FILE") and values[name]}
    if values["WEBHOOK_URL"] and not values["WEBHOOK_URL"].startswith(("http://", "https://")):
        wrong.append(f"{PREFIX}WEBHOOK_URL must be an http or https URL")
    moto = _FLAGS.get(environment.get(PREFIX + "MOTO", "").strip())
    if moto is None:
        wrong.append(f"{PREFIX}MOTO must be true or false")
    clients = environment.get(PREFIX + _OPENID, "").strip()
    if wrong or level is None or moto is None:
        raise SettingsIncomplete("; ".join(wrong))
    webhook = Webhook(values["WEBHOOK_URL"], secrets["WEBHOOK_SECRET_FILE"]) if values["WEBHOOK_URL"] else None
    transit, airwallex, checkout = (addresses.get(f"{name}_BIND") for name in ("TRANSIT", "AIRWALLEX", "CHECKOUT"))
    return Settings(
        checkout=None
        if checkout is None
        else CheckoutListener(checkout, secrets["CHECKOUT_SECRET_FILE"], secrets["CHECKOUT_SEALING_KEY_FILE"]),
        airwallex=None if airwallex is None else AirwallexListener(airwallex, secrets["AIRWALLEX_KEY_FILE"]),
        transit=None if transit is None else TransitListener(transit, secrets["TRANSIT_BEARER_FILE"]),
        bind=addresses["BIND"],
        inbox_bind=addresses["INBOX_BIND"],
        state_folder=Path(values["STATE_FOLDER"]),
        api_key=secrets["API_KEY_FILE"],
        webhook=webhook,
        texting=secrets.get(_TEXTING),
        carrier=secrets.get(_CARRIER),
        log_level=level,
        moto=moto,
        openid_clients=Path(clients) if clients else None,
    )


def _address(name: str, text: str, wrong: list[str]) -> Address:
    try:
        return Address.parse(text)
    except ValueError as problem:
        wrong.append(f"{PREFIX}{name} {problem}")
        return Address(host="", port=0)


def _secret(name: str, path: str, wrong: list[str]) -> str:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        wrong.append(f"{PREFIX}{name} names a file that cannot be read")
        return ""
    if not secret:
        wrong.append(f"{PREFIX}{name} names an empty file")
    return secret
