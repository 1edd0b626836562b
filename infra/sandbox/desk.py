"""Where a call is taken in: faults, idempotency keys, one transaction, one answer."""

import hmac
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from infra.sandbox.documents import Documents
from infra.sandbox.errors import BadParameter, NotArrived, StripeError, server_error, unavailable
from infra.sandbox.exchange import Exchange, Operation
from infra.sandbox.faults import ECHOES, Aim, Fault, Faults, HoldEnd, WaitingRoom, never
from infra.sandbox.form import Pair, Parameters
from infra.sandbox.ledger import Ledger, StoredAnswer
from infra.sandbox.lists import expand
from infra.sandbox.luhn import find_card_number

T = TypeVar("T")

IDEMPOTENCY_KEY_LENGTH_MAX = 255  # https://docs.stripe.com/api/idempotent_requests
_CARD_NUMBER_NAME = re.compile(r"(?:payment_method_data\[card\]|card)\[number\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as it arrived. `client_gone` returns when the client has hung up."""

    operation: Operation
    path: str
    target: str
    pairs: tuple[Pair, ...]
    idempotency_key: str | None
    request_id: str
    client_gone: Callable[[], Awaitable[None]]

    def card_number(self) -> str | None:
        return next((value for name, value in self.pairs if _CARD_NUMBER_NAME.fullmatch(name)), None)

    def aims(self) -> tuple[str, ...]:
        """What faults may be aimed at so that they hit this call."""
        found = [self.operation.name, Aim.ANY]
        created_and_confirmed = self.operation.name == "payment_intents.create" and ("confirm", "true") in self.pairs
        if self.operation.name == "payment_intents.confirm" or created_and_confirmed:
            found.append(Aim.CHARGE)
        if self.card_number() is not None:
            found.append(Aim.CARD)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`original_request` is set when the answer was given before, under the same idempotency key."""

    status: int
    body: bytes
    retry_advice: str | None = None
    original_request: str | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Merchant:
    """What the processor has agreed with its merchant. `moto`: mail and telephone orders, which it has to enable."""

    moto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    ledger: Ledger
    documents: Documents
    faults: Faults
    waiting_room: WaitingRoom
    fingerprint_key: bytes
    webhooks: bool
    keys_in_use: set[str]
    wrote: Callable[[], None]
    merchant: Merchant = field(default_factory=Merchant)

    async def answer(self, call: Call) -> Answer:
        """Never raises for what a caller did: every refusal is an answer."""
        try:
            if self.faults.down:
                raise unavailable("The sandbox processor is switched off.")
            fault = self.faults.take(*call.aims())
            refusal = _network_answer(call, fault)
            if refusal is not None:
                return refusal
            if fault is Fault.TIMEOUT_BEFORE_CHARGE:
                ended = await self.waiting_room.hold(call.client_gone)
                if ended is not HoldEnd.RELEASED:
                    raise unavailable("The request was held and never executed.")
            answer = await self._once(call, fault)
        except StripeError as problem:
            return _refused(problem)
        if fault is Fault.TIMEOUT_AFTER_CHARGE:
            await self.waiting_room.hold(call.client_gone)
        return answer

    async def _once(self, call: Call, fault: Fault | None) -> Answer:
        """Execute, or repeat what was answered under the same key."""
        key = call.idempotency_key if call.operation.method == "POST" else None
        if key is None:
            return self._execute(call, fault, None, b"")
        _check_key(key)
        mac = self._parameters_mac(call)
        stored = self.ledger.answer_under(key, now=int(datetime.now(UTC).timestamp()))
        if stored is not None:
            return _replay(call, key, mac, stored)
        with self._claim(key):
            if fault in {Fault.TIMEOUT_DURING_CHARGE, Fault.LATE_CHARGE}:
                ended = await self.waiting_room.hold(never if fault is Fault.LATE_CHARGE else call.client_gone)
                if ended is HoldEnd.CLOSING:
                    raise unavailable("The processor stopped before it executed the request.")
            return self._execute(call, fault, key, mac)

    def _execute(self, call: Call, fault: Fault | None, key: str | None, mac: bytes) -> Answer:
        """Run the operation and keep its answer in the same transaction: no effect without its answer, ever."""
        now = datetime.now(UTC)
        with self.ledger.transaction():
            answer, remembered = self._attempt(call, fault, now)
            if key is not None and remembered:
                stored = StoredAnswer(
                    path=call.path,
                    parameters_mac=mac,
                    status=answer.status,
                    body=answer.body,
                    retry_advice=answer.retry_advice,
                    request_id=call.request_id,
                )
                self.ledger.remember(key, stored, now=int(now.timestamp()))
        self.wrote()
        return answer

    def _attempt(self, call: Call, fault: Fault | None, now: datetime) -> tuple[Answer, bool]:
        with self.ledger.attempt() as attempt:
            try:
                if fault is Fault.ERROR_500:
                    raise server_error()
                answer = self._run(call, now)
                if fault is Fault.ERROR_500_AFTER_CHARGE:
                    return _refused(server_error()), True
            except StripeError as problem:
                if not problem.leaves_trace:
                    attempt.undo()
                return _refused(problem), problem.remembered
        return answer, True

    def _run(self, call: Call, now: datetime) -> Answer:
        parameters = Parameters.of(call.pairs)
        paths = parameters.texts("expand")
        exchange = self._exchange(parameters, call.target, now, call)
        document = expand(exchange, call.operation.run(exchange), paths)
        return Answer(status=200, body=msgspec.json.encode(document))

    def by_hand(self, target: str, action: Callable[[Exchange], T]) -> T:
        """Do something that no API call asked for (a person at the bank's page), in one transaction."""
        with self.ledger.transaction():
            done = action(self._exchange(Parameters.of(()), target, datetime.now(UTC), None))
        self.wrote()
        return done

    def _exchange(self, parameters: Parameters, target: str, now: datetime, call: Call | None) -> Exchange:
        return Exchange(
            ledger=self.ledger,
            documents=self.documents,
            parameters=parameters,
            target=target,
            now=now,
            request_id=None if call is None else call.request_id,
            idempotency_key=None if call is None else call.idempotency_key,
            fingerprint_key=self.fingerprint_key,
            webhooks=self.webhooks,
            moto=self.merchant.moto,
        )

    @contextmanager
    def _claim(self, key: str) -> Iterator[None]:
        if key in self.keys_in_use:
            raise NotArrived(
                "There is currently another in-progress request using this Idempotent Key (that probably means you"
                f" submitted twice, and the other request is still going through): {key}. Please try again later.",
                status=409,
                code="idempotency_key_in_use",
            )
        self.keys_in_use.add(key)
        try:
            yield
        finally:
            self.keys_in_use.discard(key)

    def _parameters_mac(self, call: Call) -> bytes:
        """Keyed, because the parameters may hold a card number: a plain hash of one is as good as the number."""
        return hmac.digest(self.fingerprint_key, b"parameters:" + msgspec.json.encode(sorted(call.pairs)), "sha256")


def _replay(call: Call, key: str, mac: bytes, stored: StoredAnswer) -> Answer:
    if stored.path != call.path:
        raise NotArrived(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{call.path}' vs '{stored.path}'). Try using a key other than '{key}' if you meant to execute a"
            " different request.",
            kind="idempotency_error",
        )
    if not hmac.compare_digest(stored.parameters_mac, mac):
        raise NotArrived(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    return Answer(
        status=stored.status,
        body=stored.body,
        retry_advice=stored.retry_advice,
        original_request=stored.request_id,
    )


def _check_key(key: str) -> None:
    if len(key) > IDEMPOTENCY_KEY_LENGTH_MAX:
        raise BadParameter("Idempotency keys can have at most 255 characters.")
    if find_card_number(key):
        raise BadParameter("An idempotency key must not be a card number.")


def _network_answer(call: Call, fault: Fault | None) -> Answer | None:
    """Answers from before the place where keys are remembered."""
    if fault in ECHOES:
        return _echo(fault, call.card_number() or "")
    match fault:
        case Fault.ERROR_503:
            raise unavailable("The processor is temporarily unavailable.")
        case Fault.RATE_LIMIT:
            raise NotArrived("Too many requests hit the API too quickly.", status=429, code="rate_limit")
        case Fault.NOT_JSON:
            return Answer(status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
        case _:
            return None


def _echo(fault: Fault | None, number: str) -> Answer:
    """A processor, or a proxy of its, that says back what it must not."""
    page = f"<html><h1>502 Bad Gateway</h1><pre>card[number]={number}</pre></html>".encode()
    if fault is Fault.ECHO_IN_HTML:
        return Answer(status=502, body=page, content_type="text/html")
    if fault is Fault.ECHO_IN_REDIRECT:
        where = {"Location": f"/v1/payment_methods/{number}?card[number]={number}"}
        return Answer(status=307, body=page, content_type="text/html", headers=where)
    said = f"Your card number {number} is incorrect." if fault is Fault.ECHO_CARD_NUMBER else "Your card is incorrect."
    problem = NotArrived(said, status=402, kind="card_error", code="incorrect_number", param="number")
    if fault is Fault.ECHO_CARD_NUMBER:
        return _refused(problem)
    return replace(_refused(problem), headers={"Request-Id": f"req_{number}", "Set-Cookie": f"card={number}"})


def _refused(problem: StripeError) -> Answer:
    return Answer(
        status=problem.status, body=msgspec.json.encode(problem.document()), retry_advice=problem.retry_advice
    )
