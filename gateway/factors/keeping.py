"""Adding, listing and removing passkeys, by the person themselves, on a page of ours.

A mailbox alone must not be enough to become `strong` where somebody already is: the first passkey is added after a
fresh login, with a notice to the mailbox before it counts; the next ones need one that is there; after one was removed,
a new first one waits for REST.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.contacts import Contacts, masked
from gateway.contract import ContactKind
from gateway.factors import ceremonies, passkey_store
from gateway.factors.ceremonies import CeremonyRefused, Host
from gateway.factors.passkey_store import PASSKEYS_MAX, Passkey
from gateway.factors.passkeys import CHALLENGE_BYTES, Offer, PasskeyRefused, Passkeys, begin, take
from gateway.factors.store import FactorVisit, VisitPurpose
from gateway.peers import Inbox
from gateway.record.entries import Record
from gateway.routes import IDENTIFIER
from gateway.store import tenant_of_brand
from infra.chassis.clock import Clock
from infra.chassis.engine import directory_transaction, tenant_transaction
from infra.chassis.ids import new_id
from infra.chassis.problems import NotFound
from infra.chassis.screen import find_card_number

FRESH: Final = timedelta(minutes=15)
"""How old the login may be: as old as evidence that is called strong (assurance.MAX_AGE)."""
REST: Final = timedelta(days=7)
"""Long enough that whoever reads that mailbox now and then sees the notice (NIST SP 800-63B-4 4.6)."""
NAME_LENGTH_MAX: Final = 60


class FreshLoginNeeded(Exception):
    """Nobody is logged in here, or not lately."""

    def __init__(self, home: "Home") -> None:
        self.home = home
        super().__init__("nobody logged in lately")


class MustRest(Exception):
    """A passkey was removed a short while ago; `until` is when a new first one may be added."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__("a passkey was removed lately")


@dataclass(frozen=True, slots=True)
class Home:
    """Where passkeys are managed: the page of one brand."""

    tenant_id: str
    brand_id: str
    brand_name: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What the page shows. `first`: no passkey is there, so a login is enough to add one. `rest_until`: not yet."""

    home: Home
    passkeys: Sequence[Passkey]
    offer: Offer | None
    first: bool
    rest_until: datetime | None


class Keeping:
    def __init__(
        self,
        engine: AsyncEngine,
        *,
        passkeys: Passkeys,
        contacts: Contacts,
        inbox: Inbox,
        record: Record,
        host: Host,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._passkeys = passkeys
        self._contacts = contacts
        self._inbox = inbox
        self._record = record
        self._host = host
        self._clock = clock

    async def home(self, brand_id: str) -> Home:
        """Raises NotFound."""
        if IDENTIFIER.fullmatch(brand_id) is None:
            raise NotFound
        async with directory_transaction(self._engine) as tx:
            tenant_id = await tenant_of_brand(tx, brand_id)
        async with tenant_transaction(self._engine, tenant_id) as tx:
            name = (await tx.execute(_BRAND, {"tenant_id": tenant_id, "brand_id": brand_id})).scalar_one()
        return Home(tenant_id, brand_id, str(name))

    async def person(self, home: Home, login: str | None) -> str:
        """Who logged in here lately. Raises FreshLoginNeeded."""
        now = self._clock.now()
        if login is None:
            raise FreshLoginNeeded(home)
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            found = await passkey_store.subject_fresh(tx, home.tenant_id, login, now - FRESH, now)
        if found is None:
            raise FreshLoginNeeded(home)
        return found

    async def kept(self, home: Home, subject_id: str, browser: str) -> Kept:
        """The page, with what its browser is asked next. Raises TooManyChallenges."""
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            own = await passkey_store.of_subject(tx, home.tenant_id, subject_id)
            removed = await passkey_store.last_removed(tx, home.tenant_id, subject_id)
        rest = _rest(own, removed, self._clock.now())
        offer: Offer | None = None
        if own and len(own) < PASSKEYS_MAX:
            offer = await self._passkeys.offer_proof(home.tenant_id, subject_id, browser)
        elif not own and rest is None:
            offer = await self.offer_registration(home, subject_id, browser)
        return Kept(home, own, offer, not own, rest)

    async def offer_registration(self, home: Home, subject_id: str, browser: str) -> Offer:
        """After a fresh login where there is no passkey, or after a proof with one; never otherwise."""
        nonce, now = secrets.token_bytes(CHALLENGE_BYTES), self._clock.now()
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            own = await passkey_store.of_subject(tx, home.tenant_id, subject_id)
            email = await self._contacts.value_of(tx, home.tenant_id, subject_id, ContactKind.EMAIL)
        visit = FactorVisit(
            tenant_id=home.tenant_id,
            purpose=VisitPurpose.REGISTER,
            subject_id=subject_id,
            webauthn_challenge=nonce,
            begun_at=now,
        )
        handle = await begin(self._engine, visit, browser)
        options = ceremonies.registration_options(
            self._host,
            challenge=nonce,
            handle=ceremonies.handle_of(home.tenant_id, subject_id),
            brand_name=home.brand_name,
            shown_name=home.brand_name if email is None else masked(ContactKind.EMAIL, email),
            known=[passkey.credential_id for passkey in own],
        )
        return Offer(handle, options)

    async def add(self, home: Home, subject_id: str, visit: str, browser: str | None, posted: str, name: str) -> None:
        """Raises LinkOver, PasskeyRefused, MustRest, PeerUnreachable: without the notice nothing is added."""
        taken = await take(self._engine, home.tenant_id, visit, browser, VisitPurpose.REGISTER, self._clock.now())
        if taken.subject_id != subject_id:
            raise PasskeyRefused
        try:
            made = ceremonies.registered(self._host, posted, taken.webauthn_challenge or b"")
        except CeremonyRefused:
            raise PasskeyRefused from None
        await self._notify(home, subject_id, "added")
        now, passkey_id = self._clock.now(), new_id("psk")
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            own = await passkey_store.of_subject(tx, home.tenant_id, subject_id)
            rest = _rest(own, await passkey_store.last_removed(tx, home.tenant_id, subject_id), now)
            if rest is not None:
                raise MustRest(rest)
            added = await passkey_store.add(
                tx,
                made,
                tenant_id=home.tenant_id,
                passkey_id=passkey_id,
                subject_id=subject_id,
                name=_name(name, now),
                now=now,
            )
            if added:
                await self._keep_on_record(tx, home, subject_id, passkey_id, "passkey_added", now)
        if not added:
            raise PasskeyRefused

    async def remove(self, home: Home, subject_id: str, passkey_id: str) -> None:
        """Whoever lost the device removes it by login alone. Raises NotFound, PeerUnreachable."""
        await self._notify(home, subject_id, "removed")
        now = self._clock.now()
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            if not await passkey_store.remove(tx, home.tenant_id, subject_id, passkey_id, now):
                raise NotFound
            await self._keep_on_record(tx, home, subject_id, passkey_id, "passkey_removed", now)

    async def _notify(self, home: Home, subject_id: str, what: str) -> None:
        """Before it is done: who cannot be told is not changed behind their back."""
        async with tenant_transaction(self._engine, home.tenant_id) as tx:
            email = await self._contacts.value_of(tx, home.tenant_id, subject_id, ContactKind.EMAIL)
        if email is None:
            raise PasskeyRefused
        link = f"{self._host.public_url}/passkeys/{home.brand_id}"
        await self._inbox.send_notice(
            to=email,
            subject=f"A passkey is being {what} at {home.brand_name}",
            body=f"A passkey is being {what} for you at {home.brand_name}. If that is not you, sign in at {link},"
            f" remove what you do not know, and tell {home.brand_name}.",
        )

    async def _keep_on_record(
        self, tx: AsyncConnection, home: Home, subject_id: str, passkey_id: str, event: str, now: datetime
    ) -> None:
        body = {
            "v": 1,
            "event": event,
            "at": now.isoformat(),
            "subject_id": subject_id,
            "brand_id": home.brand_id,
            "passkey_id": passkey_id,
        }
        await self._record.append(tx, tenant_id=home.tenant_id, decision_id=new_id("evt"), body=body)


def _rest(own: Sequence[Passkey], removed: datetime | None, now: datetime) -> datetime | None:
    """Until when no first passkey may be added; None when one may, or when it would not be the first."""
    if own or removed is None or removed + REST <= now:
        return None
    return removed + REST


def _name(given: str, now: datetime) -> str:
    plain = " ".join("".join(mark if mark.isprintable() else " " for mark in given).split())[:NAME_LENGTH_MAX]
    return plain if plain and find_card_number(plain) is None else f"Passkey of {now:%-d %B %Y}"


_BRAND = text("SELECT name FROM brands WHERE tenant_id = :tenant_id AND brand_id = :brand_id")
