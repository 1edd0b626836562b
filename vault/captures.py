"""Captures: one attempt to get one card from one person, on the hosted page in one browser, or by telephone.

The gateway orders a capture and later lets the person's browser in with an entry grant. From then on a secret in that
browser's cookie is the key to the capture; here is only its hash. Entering again moves the capture to the new browser.

The form that a browser was shown last is remembered, so that posting it need not read the capture again. What may have
changed meanwhile is looked at where the card is stored, in the same statement; the rest never changes.

A capture by telephone has no browser and no page: its card comes keyed in, with a grant (vault/keyed).
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final

from infra.chassis.clock import Clock
from infra.chassis.grants import Grant
from infra.chassis.problems import NotFound
from vault.at_once import enter_capture, open_capture
from vault.canaries import Canaries, CanaryUse
from vault.contract import CaptureChannel, CaptureOrder, CaptureState, CaptureView, is_identifier
from vault.errors import CaptureIdReused
from vault.store import RowMissing, Store, Tx
from vault.tables import CaptureRow, CardRow
from vault.terms import ordered

LIFE: Final = timedelta(minutes=15)
"""As long as the gateway holds the money reserved; shorter than the page's keys live."""
ATTEMPTS_MAX: Final = 10
"""Enough for a person's typing errors, too few to try out card numbers."""
KEYED_ATTEMPTS_MAX: Final = 3
"""Of a card keyed in on the telephone, where a wrong number is said at once and somebody helps: as Twilio's `<Pay>`."""
SECRET_BYTES: Final = 32
SHOWN_MAX: Final = 4_096
"""Forms remembered, of some 500 bytes each; of more that are open at once, the oldest are read again."""


class Captures:
    def __init__(self, *, store: Store, canaries: Canaries, clock: Clock) -> None:
        self._store = store
        self._canaries = canaries
        self._clock = clock
        self._shown: dict[str, CaptureRow] = {}

    async def order(self, order: CaptureOrder, agent_id: str) -> CaptureView:
        """`agent_id` is who asked, as the grant says.

        Raises CaptureIdReused when the id was used with other parameters, and NotFound when there is no card to be
        replaced.
        """
        now = self._clock.now()
        try:
            async with self._store.transaction(order.tenant_id) as tx:
                await tx.ensure_tenant()
                row = await tx.capture(order.capture_id) if order.replaces_card_of is not None else None
                if row is None:
                    await tx.insert_capture(order, await self._to_replace(tx, order), now, now + LIFE)
                    row = await tx.capture(order.capture_id)
        except NotFound:
            self._alarm_of_canary(order, agent_id)
            raise
        if row is None:
            raise RowMissing("capture")
        if not _same(row, order):
            raise CaptureIdReused
        return self._view(row)

    async def _to_replace(self, tx: Tx, order: CaptureOrder) -> CardRow | None:
        """The card the order names, if it names one. Raises NotFound for what is not this order's to replace."""
        if order.replaces_card_of is None:
            return None
        card = await tx.card(order.replaces_card_of)
        canary = self._canaries.is_canary(order.tenant_id, order.replaces_card_of)
        if canary or card is None or card.is_shredded:
            raise NotFound
        if (card.brand_id, card.subject_id) != (order.brand_id, order.subject_id):
            raise NotFound
        return card

    def _alarm_of_canary(self, order: CaptureOrder, agent_id: str) -> None:
        token_id = order.replaces_card_of
        if token_id is None or not self._canaries.is_canary(order.tenant_id, token_id):
            return
        use = CanaryUse(
            tenant_id=order.tenant_id,
            token_id=token_id,
            act="replace",
            reference=order.capture_id,
            brand_id=order.brand_id,
            subject_id=order.subject_id,
            agent_id=agent_id,
            purchase_id=order.purchase_id,
        )
        self._canaries.raise_alarm(use)

    async def show(self, capture_id: str, grant: Grant) -> CaptureView:
        """Raises NotFound for what is missing and for what is not this grant's brand's and subject's."""
        return self._view(await self.own(capture_id, grant))

    async def own(self, capture_id: str, grant: Grant) -> CaptureRow:
        """The capture of this grant's brand and subject. Raises NotFound for every other."""
        if not is_identifier(capture_id):
            raise NotFound
        async with self._store.transaction(grant.tenant_id) as tx:
            row = await tx.capture(capture_id)
        if row is None or not _is_of(row, grant):
            raise NotFound
        return row

    async def enter(self, capture_id: str, grant: Grant) -> str:
        """The cookie that makes this browser the capture's browser. Raises NotFound as `show` does, and by phone."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        if not await enter_capture(self._store, grant, capture_id, _hash(secret)):
            raise NotFound
        return f"{grant.tenant_id}.{secret}"

    async def of_browser(self, capture_id: str, cookie: str) -> CaptureRow | None:
        """The capture, if the cookie is the one its browser was given. The path names no tenant, so the cookie does."""
        tenant_id, _, secret = cookie.partition(".")
        if not secret or not is_identifier(tenant_id):
            return None
        async with self._store.transaction(tenant_id) as tx:
            row = await tx.capture(capture_id)
        if row is None or not _is_browser(row, secret):
            return None
        if self.state_of(row) is CaptureState.OPEN:
            self._remember(row)
        return row

    def _remember(self, row: CaptureRow) -> None:
        self._shown.pop(row.capture_id, None)
        self._shown[row.capture_id] = row
        if len(self._shown) > SHOWN_MAX:
            del self._shown[next(iter(self._shown))]

    async def to_fill_in(self, capture_id: str, cookie: str) -> CaptureRow | None:
        """As `of_browser`, without the card it may have: once as this browser was shown it, then as it stands.

        So whoever takes its card must be ready to find it completed, expired or another browser's by then.
        """
        tenant_id, _, secret = cookie.partition(".")
        if not secret or not is_identifier(tenant_id):
            return None
        shown = self._shown.pop(capture_id, None)
        if shown is not None and shown.tenant_id == tenant_id and _is_browser(shown, secret):
            return shown
        row = await open_capture(self._store, tenant_id, capture_id)
        return row if _is_browser(row, secret) else None

    async def count_attempt(self, row: CaptureRow) -> bool:
        """Whether the person may be told what is wrong, and try again: an attempt is counted before it is answered.

        An attempt that succeeds is counted where its card is stored.
        """
        async with self._store.transaction(row.tenant_id) as tx:
            return await tx.count_capture_attempt(row.capture_id, attempts_max(row), self._clock.now())

    def state_of(self, row: CaptureRow) -> CaptureState:
        if row.token_id is not None:
            return CaptureState.COMPLETED
        spent = row.attempts >= attempts_max(row) or self._clock.now() >= row.expires_at or row.overtaken
        return CaptureState.EXPIRED if spent else CaptureState.OPEN

    def _view(self, row: CaptureRow) -> CaptureView:
        return CaptureView(
            capture_id=row.capture_id,
            state=self.state_of(row),
            expires_at=row.expires_at,
            token_id=row.token_id,
            card_brand=row.card_brand,
            last4=row.last4,
            earlier_token_id=row.earlier_token_id,
        )


def attempts_max(row: CaptureRow) -> int:
    return KEYED_ATTEMPTS_MAX if row.channel == CaptureChannel.PHONE else ATTEMPTS_MAX


def form_secret(cookie: str, capture_id: str) -> str:
    """What the form must repeat: computable only with the cookie, which a page of somebody else cannot read."""
    return hmac.new(cookie.encode(), f"form\n{capture_id}".encode(), hashlib.sha256).hexdigest()


def _is_browser(row: CaptureRow | None, secret: str) -> bool:
    if row is None or row.browser_hash is None:
        return False
    return hmac.compare_digest(row.browser_hash, _hash(secret))


def _same(row: CaptureRow, order: CaptureOrder) -> bool:
    names = [name for name in order.__struct_fields__ if name != "terms"]
    return row.terms == ordered(order) and all(getattr(row, name) == getattr(order, name) for name in names)


def _is_of(row: CaptureRow, grant: Grant) -> bool:
    return (row.brand_id, row.subject_id) == (grant.brand_id, grant.subject_id)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
