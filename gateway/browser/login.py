"""Logging in: an e-mail address, then the one-time code sent to it. The same words whether or not it is known."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.approvals import ApprovalView
from gateway.browser import visits
from gateway.browser.cookies import new_value
from gateway.browser.visits import Purpose, Visit
from gateway.captures import AuthenticationDoor, DoorView
from gateway.challenges import CheckedCode, Codes
from gateway.contacts import Contacts
from gateway.contract import ContactKind
from gateway.errors import CodeRefused
from gateway.oauth import handles
from gateway.oauth.authorize import Asked
from infra.chassis.clock import Clock
from infra.chassis.engine import tenant_transaction

CODE_LENGTH = 6


class VisitOver(Exception):
    """No such visit, or another browser's, or it took too long; the three are not told apart."""


class NotThisPerson(Exception):
    """The code was right, and whoever had it is not the person this door is for."""


class Step(StrEnum):
    ADDRESS = "address"
    CODE = "code"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Both cookies are new: what the browser held before the login is worth nothing after it."""

    visit: Visit
    browser: str
    login: str


class Logins:
    def __init__(self, *, engine: AsyncEngine, contacts: Contacts, codes: Codes, clock: Clock) -> None:
        self._engine = engine
        self._contacts = contacts
        self._codes = codes
        self._clock = clock

    async def begin_consent(self, asked: Asked, browser: str) -> Visit:
        """Raises visits.TooManyVisits."""
        visit = Visit(
            tenant_id=asked.tenant_id,
            visit_id=handles.new_handle(asked.tenant_id),
            purpose=Purpose.CONSENT,
            brand_name=asked.brand_name,
            brand_id=asked.brand_id,
            client_id=asked.client_id,
            request=asked.parameters,
        )
        return await self._begin(visit, browser)

    async def begin_door(self, door: DoorView, browser: str) -> Visit:
        visit = Visit(
            tenant_id=door.tenant_id,
            visit_id=handles.new_handle(door.tenant_id),
            purpose=Purpose.DOOR,
            brand_name=door.brand_name,
            brand_id=door.brand_id,
            capture_id=door.capture_id,
        )
        return await self._begin(visit, browser)

    async def begin_passkeys(self, tenant_id: str, brand_id: str, brand_name: str, browser: str) -> Visit:
        """On the way to the page where passkeys are kept (factors/keeping.py)."""
        visit = Visit(
            tenant_id=tenant_id,
            visit_id=handles.new_handle(tenant_id),
            purpose=Purpose.PASSKEYS,
            brand_name=brand_name,
            brand_id=brand_id,
        )
        return await self._begin(visit, browser)

    async def begin_approval(self, asked: ApprovalView, browser: str) -> Visit:
        visit = Visit(
            tenant_id=asked.tenant_id,
            visit_id=handles.new_handle(asked.tenant_id),
            purpose=Purpose.APPROVAL,
            brand_name=asked.brand_name,
            brand_id=asked.brand_id,
            approval_id=asked.approval_id,
        )
        return await self._begin(visit, browser)

    async def begin_authentication(self, door: AuthenticationDoor, browser: str) -> Visit:
        visit = Visit(
            tenant_id=door.tenant_id,
            visit_id=handles.new_handle(door.tenant_id),
            purpose=Purpose.AUTHENTICATION,
            brand_name=door.brand_name,
            brand_id=door.brand_id,
            charge_id=door.charge_id,
        )
        return await self._begin(visit, browser)

    async def find(self, visit_id: str, browser: str | None) -> Visit:
        """Raises VisitOver."""
        tenant_id = handles.tenant_of(visit_id)
        if tenant_id is None or browser is None:
            raise VisitOver
        async with tenant_transaction(self._engine, tenant_id) as tx:
            found = await visits.find(tx, tenant_id, visit_id, browser=browser, now=self._clock.now())
        if found is None:
            raise VisitOver
        return found

    async def send_code(self, visit: Visit, address: str) -> None:
        """Raises what Codes.send raises: an address that cannot be one, too many codes, the inbox not answering."""
        sent = await self._codes.send(
            visit.tenant_id,
            purpose=visit.purpose.value,
            contact_kind=ContactKind.EMAIL,
            contact_value=address,
            conversation_id=None,
            brand_name=visit.brand_name,
            client_id=visit.client_id or visit.capture_id or visit.approval_id or visit.charge_id or visit.brand_id,
        )
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            await visits.code_sent(tx, visit, sent.challenge_id, sent.sent_to or "")

    async def check_code(self, visit: Visit, code: str) -> LoggedIn:
        """Raises CodeRefused, and for a door NotThisPerson."""
        plain = "".join(code.split())
        if visit.challenge_id is None or len(plain) != CODE_LENGTH or not (plain.isascii() and plain.isdigit()):
            raise CodeRefused
        checked = await self._codes.check(visit.tenant_id, visit.challenge_id, plain, purpose=visit.purpose.value)
        browser, login, now = new_value(), new_value(), self._clock.now()
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            subject_id = await self._person(tx, visit, checked)
            await visits.proven(tx, visit, subject_id=subject_id, browser=browser, now=now)
            await visits.log_in(tx, visit.tenant_id, login, subject_id=subject_id, now=now)
        return LoggedIn(visit, browser, login)

    async def subject_here(self, tenant_id: str, login: str | None) -> str | None:
        """Which subject of this tenant the browser's login cookie stands for."""
        if login is None:
            return None
        async with tenant_transaction(self._engine, tenant_id) as tx:
            return await visits.subject_of_login(tx, tenant_id, login, now=self._clock.now())

    async def log_out(self, tenant_id: str, login: str) -> None:
        async with tenant_transaction(self._engine, tenant_id) as tx:
            await visits.log_out(tx, tenant_id, login)

    async def _person(self, tx: AsyncConnection, visit: Visit, checked: CheckedCode) -> str:
        """A consent may be a person's first contact; doors and approvals are for one person, and make nobody."""
        kind, value = checked.contact_kind, checked.contact_value
        if visit.purpose is Purpose.CONSENT:
            return await self._contacts.verified_subject(tx, visit.tenant_id, kind, value)
        subject_id = await self._contacts.subject_of(tx, visit.tenant_id, kind, value)
        if visit.purpose is Purpose.PASSKEYS and subject_id is not None:
            return subject_id
        if subject_id is None or subject_id != await visits.subject_expected(tx, visit):
            raise NotThisPerson
        return subject_id

    async def _begin(self, visit: Visit, browser: str) -> Visit:
        async with tenant_transaction(self._engine, visit.tenant_id) as tx:
            await visits.begin(tx, visit, browser=browser, now=self._clock.now())
        return visit


def step_of(visit: Visit) -> Step:
    if visit.subject_id is not None:
        return Step.DONE
    return Step.CODE if visit.challenge_id is not None else Step.ADDRESS
