"""Where a call is taken in: bearer, faults, request ids, one transaction, one answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from infra.sandbox.airwallex.books import Books
from infra.sandbox.airwallex.operations import CONFIRM, ConfirmAsked, Exchange, Operation
from infra.sandbox.airwallex.refusals import Refusal, broken, duplicate, unavailable
from infra.sandbox.errors import Document
from infra.sandbox.faults import ECHOES, Aim, Fault, Faults, HoldEnd, WaitingRoom, never
from infra.sandbox.ids import letters

T = TypeVar("T")
BEARER_LIFE = timedelta(minutes=30)
ENCODER = msgspec.json.Encoder(decimal_format="number")


class _Named(msgspec.Struct, frozen=True):
    """Whatever else a body holds."""

    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as it arrived. `client_gone` returns when the client has hung up."""

    operation: Operation
    target: str
    wanted: dict[str, str]
    content: bytes
    client_gone: Callable[[], Awaitable[None]]

    def aims(self) -> tuple[str, ...]:
        found = (self.operation.name, Aim.ANY)
        return (*found, Aim.CHARGE, Aim.CARD) if self.operation.name == CONFIRM else found

    def card_number(self) -> str:
        return msgspec.json.decode(self.content, type=ConfirmAsked).payment_method.card.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Desk:
    """`bearers`: each with the moment it ends; RAM only, so a restart has everybody log in again."""

    books: Books
    faults: Faults
    waiting_room: WaitingRoom
    fingerprint_key: bytes
    page_url: str
    bearers: dict[str, datetime] = field(default_factory=dict)
    in_use: set[str] = field(default_factory=set)

    def log_in(self) -> Document:
        bearer, until = letters(40), datetime.now(UTC) + BEARER_LIFE
        self.bearers[bearer] = until
        return {"token": bearer, "expires_at": until.strftime("%Y-%m-%dT%H:%M:%S+0000")}

    def knows(self, bearer: str) -> bool:
        return datetime.now(UTC) < self.bearers.get(bearer, datetime.min.replace(tzinfo=UTC))

    async def answer(self, call: Call) -> Answer:
        """Never raises for what a caller did: every refusal is an answer."""
        try:
            if self.faults.down:
                raise unavailable("The sandbox processor is switched off.")
            fault = self.faults.take(*call.aims())
            refusal = _network_answer(call, fault)
            if refusal is not None:
                return refusal
            if fault is Fault.TIMEOUT_BEFORE_CHARGE and await self._wait(call) is not HoldEnd.RELEASED:
                raise unavailable("The request was held and never executed.")
            answer = await self._once(call, fault)
        except Refusal as problem:
            return _refused(problem)
        if fault is Fault.TIMEOUT_AFTER_CHARGE:
            await self._wait(call)
        if fault is Fault.ECHO_IN_ACTION:
            return _echo_in_action(answer, call.card_number())
        return _refused(broken()) if fault is Fault.ERROR_500_AFTER_CHARGE else answer

    async def _once(self, call: Call, fault: Fault | None) -> Answer:
        """While a request is under way, another with its id is one too many."""
        request_id = _request_id(call)
        if request_id in self.in_use:
            raise duplicate(request_id)
        if request_id:
            self.in_use.add(request_id)
        try:
            if fault in {Fault.TIMEOUT_DURING_CHARGE, Fault.LATE_CHARGE}:
                late = fault is Fault.LATE_CHARGE
                ended = await (self.waiting_room.hold(never) if late else self._wait(call))
                if ended is HoldEnd.CLOSING:
                    raise unavailable("The processor stopped before it executed the request.")
            return self._execute(call)
        finally:
            self.in_use.discard(request_id)

    def _execute(self, call: Call) -> Answer:
        """A refusal that leaves a trace, such as a decline, is written like an answer; any other leaves nothing."""
        refusal: Refusal | None = None
        document: Document = {}
        exchange = self._exchange(call.content, call.target, call.wanted)
        try:
            with self.books.transaction():
                try:
                    document = call.operation.run(exchange)
                except Refusal as problem:
                    if not problem.used_up:
                        raise
                    refusal = problem
        except Refusal as problem:
            refusal = problem
        if refusal is not None:
            return _refused(refusal)
        created = call.operation.path.endswith("/create")
        return Answer(status=201 if created else 200, body=ENCODER.encode(document))

    def by_hand(self, action: Callable[[Exchange], T]) -> T:
        """Do something that no API call asked for (a person at the bank's page), in one transaction."""
        with self.books.transaction():
            try:
                return action(self._exchange(b"", "", {}))
            except Refusal as problem:
                if not problem.used_up:
                    raise
                refused = problem
        raise refused

    async def _wait(self, call: Call) -> HoldEnd:
        return await self.waiting_room.hold(call.client_gone)

    def _exchange(self, content: bytes, target: str, wanted: dict[str, str]) -> Exchange:
        return Exchange(
            books=self.books,
            content=content,
            target=target,
            wanted=wanted,
            now=datetime.now(UTC),
            fingerprint_key=self.fingerprint_key,
            page_url=self.page_url,
        )


def _request_id(call: Call) -> str:
    if call.operation.method == "GET":
        return ""
    try:
        return msgspec.json.decode(call.content, type=_Named).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _network_answer(call: Call, fault: Fault | None) -> Answer | None:
    """Answers from before anything is executed."""
    if fault in ECHOES:
        return _echo(fault, call.card_number())
    match fault:
        case Fault.ERROR_500:
            raise broken()
        case Fault.ERROR_503:
            raise unavailable("The system is temporarily unavailable. Please try again later.")
        case Fault.RATE_LIMIT:
            raise Refusal("too_many_requests", "Too many requests.", status=429)
        case Fault.NOT_JSON:
            return Answer(status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
        case _:
            return None


def _echo(fault: Fault | None, number: str) -> Answer:
    """A processor, or a proxy of its, that says back what it must not."""
    page = f"<html><h1>502 Bad Gateway</h1><pre>number: {number}</pre></html>".encode()
    if fault is Fault.ECHO_IN_HTML:
        return Answer(status=502, body=page, content_type="text/html")
    if fault is Fault.ECHO_IN_REDIRECT:
        where = {"Location": f"/api/v1/pa/payment_intents/{number}/confirm?number={number}"}
        return Answer(status=307, body=page, content_type="text/html", headers=where)
    source = "payment_method.card.number"
    if fault is Fault.ECHO_CARD_NUMBER:
        return _refused(Refusal("validation_error", f"The card number {number} is not valid.", source=source))
    headers = {"x-awx-traceid": number, "Set-Cookie": f"card={number}"}
    return replace(_refused(Refusal("validation_error", "The card is not valid.", source=source)), headers=headers)


def _echo_in_action(answer: Answer, number: str) -> Answer:
    """Done as asked; only where the person is to go has the number in its address, and among what is to be posted."""
    shown = msgspec.json.decode(answer.body)
    there = f"https://pci-api.airwallex.com/pa/card3ds/{number}?number={number}"
    action = {"type": "redirect_iframe", "method": "POST", "url": there, "data": {"number": number, number: "number"}}
    return replace(answer, body=ENCODER.encode(shown | {"next_action": action}))


def _refused(problem: Refusal) -> Answer:
    return Answer(status=problem.status, body=ENCODER.encode(problem.document()))
