"""The listener for the person's browser: in by an entry grant, one card form, out.

The cookie is SameSite=Strict. A browser that comes from a door on another *site* keeps it but does not send it with the
redirect that follows; it is then told to come again by itself, and that request is this site's own.
"""

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from infra.chassis import logs
from infra.chassis.clock import Clock
from infra.chassis.engine import DatabaseUnreachable
from infra.chassis.problems import NotFound, Problem
from vault.admission import Admission
from vault.at_once import Taken
from vault.browsers import AnyRequest, Page, claimed_subject, entry_grant, reader_of
from vault.captures import LIFE, Captures, form_secret
from vault.cleartext.hpke import PageKeys, SealedFor, SealedFormReplayed
from vault.cleartext.intake import CardFormRefused, CardIntake, FormMalformed, read_form, take_card
from vault.cleartext.issuers import CardBrand
from vault.cleartext.page.assets import STATIC
from vault.cleartext.page.language import Reader
from vault.cleartext.page.render import (
    CardPageView,
    DonePageView,
    render_card_page,
    render_done_page,
    render_gone_page,
    render_moment_page,
    render_overtaken_page,
    render_unavailable_page,
)
from vault.cleartext.tokenise import Cards
from vault.contract import Action, CaptureState, is_identifier
from vault.counters import Counters
from vault.page_check import INSPECTION, render_inspected_page
from vault.tables import CaptureRow

log = logs.get_logger()


class CardPages:
    def __init__(
        self,
        *,
        admission: Admission,
        captures: Captures,
        cards: Cards,
        keys: PageKeys,
        clock: Clock,
        counters: Counters,
        page_origin: str,
        door_origin: str,
    ) -> None:
        self._admission = admission
        self._captures = captures
        self._cards = cards
        self._keys = keys
        self._clock = clock
        self._counters = counters
        self._page_origin = page_origin
        self._door_origin = door_origin
        self._secure = page_origin.startswith("https://")
        self._cookie = "__Secure-capture" if self._secure else "capture"

    async def enter(self, capture_id: str, request: AnyRequest) -> Page:
        """Only the gateway's door may send a browser here, or anybody could send people to captures of his own."""
        reader = reader_of(request)
        if request.headers.get("origin") != self._door_origin:
            return _gone(HTTPStatus.FORBIDDEN, reader)
        compact = entry_grant(await request.body())
        parameters = {"capture_id": capture_id, "subject_id": claimed_subject(compact)}
        try:
            grant = await self._admission.admit_browser(compact, Action.OPEN_CAPTURE, parameters)
            cookie = await self._captures.enter(capture_id, grant)
        except NotFound:
            return _gone(HTTPStatus.GONE, reader)
        except DatabaseUnreachable:
            raise
        except Problem as refused:
            return _gone(HTTPStatus(refused.status), reader)
        attributes = f"Path=/captures/{capture_id}; Max-Age={int(LIFE.total_seconds())}; HttpOnly; SameSite=Strict"
        return _see(capture_id, reader, f"{self._cookie}={cookie}; {attributes}" + ("; Secure" if self._secure else ""))

    async def show(self, capture_id: str, request: AnyRequest) -> Page:
        if capture_id == INSPECTION.capture_id:
            return self._inspected(reader_of(request))
        cookie, reader = request.cookies.get(self._cookie, ""), reader_of(request)
        if not cookie and request.headers.get("sec-fetch-site") == "cross-site":
            again = {"Refresh": f"0; url=/captures/{capture_id}{reader.query}"}
            return Page(render_moment_page(reader), HTTPStatus.OK, again)
        row = await self._captures.of_browser(capture_id, cookie)
        if row is None:
            return _gone(HTTPStatus.GONE, reader)
        state = self._captures.state_of(row)
        if state is CaptureState.COMPLETED:
            return Page(render_done_page(_done(row), reader), HTTPStatus.OK)
        if state is CaptureState.EXPIRED:
            return _overtaken(reader) if row.overtaken else _gone(HTTPStatus.GONE, reader)
        return Page(self._form(row, cookie, reader, None), HTTPStatus.OK)

    async def submit(self, capture_id: str, request: AnyRequest) -> Page:
        reader = reader_of(request)
        if not self._from_this_page(request):
            return _gone(HTTPStatus.FORBIDDEN, reader)
        cookie = request.cookies.get(self._cookie, "")
        row = await self._captures.to_fill_in(capture_id, cookie)
        if row is None or self._captures.state_of(row) is not CaptureState.OPEN:
            return self._not_open(row, capture_id, reader)
        try:
            intake = self._read(row, cookie, await request.body())
        except (SealedFormReplayed, FormMalformed, CardFormRefused) as flaw:
            return await self._refuse(row.capture_id, cookie, reader, flaw)
        return await self._take(row, reader, intake)

    async def _take(self, row: CaptureRow, reader: Reader, intake: CardIntake) -> Page:
        taken = await self._cards.tokenise(row, intake)
        if taken is Taken.GONE:
            return _gone(HTTPStatus.GONE, reader)
        if taken is Taken.OVERTAKEN:
            log.info("card_overtaken", capture_id=row.capture_id)
            return _overtaken(reader)
        if taken is Taken.TAKEN:
            self._counters.forms_taken.labels(intake.suite or "none").inc()
            log.info("card_taken", capture_id=row.capture_id, sealed=intake.suite is not None, suite=intake.suite)
        return _see(row.capture_id, reader)

    async def _refuse(self, capture_id: str, cookie: str, reader: Reader, flaw: Exception) -> Page:
        """As the capture now stands. A sealed form that was opened before takes nothing and changes nothing."""
        row = await self._captures.to_fill_in(capture_id, cookie)
        if row is None or not await self._captures.count_attempt(row):
            return self._not_open(await self._captures.to_fill_in(capture_id, cookie), capture_id, reader)
        if isinstance(flaw, SealedFormReplayed):
            log.warning("sealed_form_replayed", capture_id=row.capture_id)
            return _see(row.capture_id, reader)
        if not isinstance(flaw, CardFormRefused):
            return _gone(HTTPStatus.BAD_REQUEST, reader)
        self._counters.forms_refused.inc()
        return Page(self._form(row, cookie, reader, flaw), HTTPStatus.UNPROCESSABLE_ENTITY)

    def _not_open(self, row: CaptureRow | None, capture_id: str, reader: Reader) -> Page:
        """For a capture that takes no card: the receipt, where it has one."""
        return _see(capture_id, reader) if row is not None and row.token_id else _gone(HTTPStatus.GONE, reader)

    def _read(self, row: CaptureRow, cookie: str, body: bytes) -> CardIntake:
        fields = read_form(body)
        expected = form_secret(cookie, row.capture_id)
        if not hmac.compare_digest(fields.get("csrf", "").encode(), expected.encode()):
            raise FormMalformed("the form is not this browser's")
        return take_card(fields, place=_place(row), keys=self._keys, now=self._clock.now())

    def _inspected(self, reader: Reader) -> Page:
        """For `page_check.py`: the form of no capture, which anybody may see and nobody can post."""
        keys = self._keys.offered(INSPECTION, self._clock.now())
        return Page(render_inspected_page(keys, reader), HTTPStatus.OK)

    def _form(self, row: CaptureRow, cookie: str, reader: Reader, refused: CardFormRefused | None) -> str:
        return render_card_page(
            CardPageView(
                capture_id=row.capture_id,
                brand_name=row.brand_name,
                amount_minor=row.amount_minor,
                currency=row.currency,
                csrf=form_secret(cookie, row.capture_id),
                keys=self._keys.offered(_place(row), self._clock.now()),
                language=row.language,
                refused=refused,
                replaces=_replaced(row),
            ),
            reader,
        )

    def _from_this_page(self, request: AnyRequest) -> bool:
        """Sec-Fetch-Site where the browser sends it, for a page that hides its address posts `Origin: null`."""
        site = request.headers.get("sec-fetch-site")
        return site == "same-origin" if site else request.headers.get("origin") == self._page_origin


@post("/captures/{capture_id:str}/open")
async def enter_capture(capture_id: FromPath[str], request: AnyRequest, card_pages: NamedDependency[CardPages]) -> Page:
    """The door's form: one field, `grant`."""
    return await _answer(capture_id, request, card_pages.enter)


@get("/captures/{capture_id:str}/open")
async def enter_by_link(capture_id: FromPath[str], request: AnyRequest) -> Page:  # noqa: ARG001 - of the path
    """Nobody gets in by a link; a person who reloads the door's answer, or changes its language, is told so."""
    return _gone(HTTPStatus.GONE, reader_of(request))


@get("/captures/{capture_id:str}")
async def show_capture(capture_id: FromPath[str], request: AnyRequest, card_pages: NamedDependency[CardPages]) -> Page:
    return await _answer(capture_id, request, card_pages.show)


@post("/captures/{capture_id:str}")
async def submit_card(capture_id: FromPath[str], request: AnyRequest, card_pages: NamedDependency[CardPages]) -> Page:
    return await _answer(capture_id, request, card_pages.submit)


@get("/static/{name:str}")
async def static_file(name: FromPath[str]) -> Response[bytes]:
    asset = next((asset for asset in STATIC.values() if asset.path == f"/static/{name}"), None)
    if asset is None:
        raise NotFound
    return Response(asset.content, headers=asset.headers, media_type=asset.content_type)


ROUTES = (enter_capture, enter_by_link, show_capture, submit_card, static_file)


async def _answer(capture_id: str, request: AnyRequest, handle: Callable[[str, AnyRequest], Awaitable[Page]]) -> Page:
    """A person gets a page, whatever happens; the log gets the kind of error and nothing of its text.

    The id goes into headers (Location, Refresh, Set-Cookie), where nothing but an id may.
    """
    if not is_identifier(capture_id):
        return _gone(HTTPStatus.GONE, reader_of(request))
    try:
        return await handle(capture_id, request)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("card_page_failed", error=type(error).__name__)
        return Page(render_unavailable_page(reader_of(request)), HTTPStatus.SERVICE_UNAVAILABLE)


def _done(row: CaptureRow) -> DonePageView:
    return DonePageView(
        brand_name=row.brand_name,
        amount_minor=row.amount_minor,
        currency=row.currency,
        card_brand=CardBrand(row.card_brand or ""),
        last4=row.last4 or "",
        language=row.language,
    )


def _replaced(row: CaptureRow) -> tuple[CardBrand, str] | None:
    if row.replaces_brand is None or row.replaces_last4 is None:
        return None
    return CardBrand(row.replaces_brand), row.replaces_last4


def _place(row: CaptureRow) -> SealedFor:
    return SealedFor(row.tenant_id, row.capture_id)


def _see(capture_id: str, reader: Reader, cookie: str | None = None) -> Page:
    headers = {"Location": f"/captures/{capture_id}{reader.query}"} | ({"Set-Cookie": cookie} if cookie else {})
    return Page("", HTTPStatus.SEE_OTHER, headers)


def _gone(status: HTTPStatus, reader: Reader) -> Page:
    return Page(render_gone_page(reader), status)


def _overtaken(reader: Reader) -> Page:
    return Page(render_overtaken_page(reader), HTTPStatus.CONFLICT)
