"""One call while it is being executed: its parameters, the moment, and what it may write."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from infra.sandbox.documents import Documents
from infra.sandbox.errors import BadParameter, Document, missing
from infra.sandbox.form import Parameters
from infra.sandbox.ids import new_id
from infra.sandbox.ledger import Ledger
from infra.sandbox.resources import Event, Resource

R = TypeVar("R", bound=Resource)

API_VERSION = "2026-10-28.endive"  # the version the stripe SDK 16.1 asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """`target` is the id in the path, if the route has one. `moto`: the account may charge telephone orders."""

    ledger: Ledger
    documents: Documents
    parameters: Parameters
    target: str
    now: datetime
    request_id: str | None
    idempotency_key: str | None
    fingerprint_key: bytes
    webhooks: bool
    moto: bool

    @property
    def timestamp(self) -> int:
        return int(self.now.timestamp())

    def finish_parameters(self) -> None:
        """Refuse unknown parameters; `expand` is read later, by whoever shows the answer."""
        self.parameters.finish()

    def get(self, kind: type[R], identifier: str, *, param: str) -> R:
        found = self.ledger.find(kind, identifier)
        if found is None:
            raise missing(kind.kind, identifier, param)
        return found

    def announce(self, event_type: str, subject: Resource) -> None:
        """Write an event about a resource as it is now, and schedule its webhook."""
        event = Event(
            id=new_id("evt"),
            created=self.timestamp,
            type=event_type,
            subject=msgspec.Raw(msgspec.json.encode(self.documents.show(subject))),
            api_version=API_VERSION,
            request=self.request_id,
            idempotency_key=self.idempotency_key,
        )
        self.ledger.save(event)
        if self.webhooks:
            self.ledger.schedule(event.id, due=self.now.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route of the API. `name` is what faults are aimed at."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    run: Callable[[Exchange], Document]


def whole_within(parameters: Parameters, key: str, lowest: int, highest: int, default: int) -> int:
    value = parameters.whole(key)
    if value is None:
        return default
    if not lowest <= value <= highest:
        raise BadParameter(f"Invalid {key}: must be between {lowest} and {highest}.", param=key)
    return value
