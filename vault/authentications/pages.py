"""The page between a person and their bank: in by the door's grant, out to the bank, back here, and what came of it.

===================================  ==========================================================================
`POST /authentications/{id}/open`    the door's form. 303 to the page, with the cookie that binds this browser.
`GET  /authentications/{id}`         asks the processor. Waiting: a link to the bank's page (redirects.py), no
                                     redirect by itself. Ended: how. 410 for every browser but the charge's.
`GET  /authentications/{id}/return`  where the bank sends the browser, or has it post to. 303 to the page; what it
`POST /authentications/{id}/return`  brings is neither read nor kept.
===================================  ==========================================================================

The cookie is SameSite=Strict, as a capture's: a browser that comes from the bank does not send it with that request, is
told to come again by itself, and that request is this site's own.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from litestar import get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath

from infra.chassis import logs
from infra.chassis.engine import DatabaseUnreachable
from infra.chassis.problems import NotFound, Problem
from vault.admission import Admission
from vault.authentications.answering import Authentications, Standing
from vault.authentications.asking import FOLDER, Asking
from vault.browsers import AnyRequest, Page, claimed_subject, entry_grant, reader_of
from vault.cleartext.page.authentication import (
    AuthenticationView,
    render_authentication_page,
    render_bank_away_page,
    render_confirmed_page,
    render_over_page,
    render_unconfirmed_page,
)
from vault.cleartext.page.language import Reader
from vault.cleartext.page.render import render_moment_page
from vault.contract import Action, ChargeState, is_identifier

PAID = frozenset({ChargeState.APPROVED, ChargeState.HELD, ChargeState.SETTLED, ChargeState.VOIDED, ChargeState.EXPIRED})
"""The bank said yes; what became of held money later is not this page's to tell."""
log = logs.get_logger()


class AuthenticationPages:
    def __init__(
        self,
        *,
        admission: Admission,
        authentications: Authentications,
        door_origin: str,
        asking: Asking,
    ) -> None:
        self._admission = admission
        self._authentications = authentications
        self._door_origin = door_origin
        self._lasts = asking.lasts
        self._secure = asking.page_origin.startswith("https://")
        self._cookie = "__Secure-authentication" if self._secure else "authentication"

    async def enter(self, charge_id: str, request: AnyRequest) -> Page:
        """Only the gateway's door may send a browser here."""
        reader = reader_of(request)
        if request.headers.get("origin") != self._door_origin:
            return _over(HTTPStatus.FORBIDDEN, reader)
        compact = entry_grant(await request.body())
        parameters = {"charge_id": charge_id, "subject_id": claimed_subject(compact)}
        try:
            grant = await self._admission.admit_browser(compact, Action.OPEN_AUTHENTICATION, parameters)
            cookie = await self._authentications.enter(charge_id, grant)
        except NotFound:
            return _over(HTTPStatus.GONE, reader)
        except DatabaseUnreachable:
            raise
        except Problem as refused:
            return _over(HTTPStatus(refused.status), reader)
        attributes = f"Path={FOLDER}/{charge_id}; Max-Age={int(self._lasts.total_seconds())}; HttpOnly; SameSite=Strict"
        secure = "; Secure" if self._secure else ""
        return _see(charge_id, reader, {"Set-Cookie": f"{self._cookie}={cookie}; {attributes}{secure}"})

    async def show(self, charge_id: str, request: AnyRequest) -> Page:
        cookie, reader = request.cookies.get(self._cookie, ""), reader_of(request)
        if not cookie and request.headers.get("sec-fetch-site") == "cross-site":
            again = {"Refresh": f"0; url={FOLDER}/{charge_id}{reader.query}"}
            return Page(render_moment_page(reader), HTTPStatus.OK, again)
        row = await self._authentications.of_browser(charge_id, cookie)
        if row is None:
            return _over(HTTPStatus.GONE, reader)
        return _shown(await self._authentications.look(row), reader)

    async def come_back(self, charge_id: str, request: AnyRequest) -> Page:
        return _see(charge_id, reader_of(request))


def _shown(standing: Standing, reader: Reader) -> Page:
    """Silent in the middle, or not done with it: the person may look again."""
    row = standing.row
    view = AuthenticationView(row.amount_minor, row.currency, standing.action_url)
    if standing.action_url is not None:
        return Page(render_authentication_page(view, reader), HTTPStatus.OK)
    if row.state in PAID:
        return Page(render_confirmed_page(view, reader), HTTPStatus.OK)
    if row.state in {ChargeState.DECLINED, ChargeState.FAILED}:
        return Page(render_unconfirmed_page(view, reader), HTTPStatus.OK)
    return Page(render_bank_away_page(reader), HTTPStatus.SERVICE_UNAVAILABLE)


@post("/authentications/{charge_id:str}/open")
async def enter_authentication(
    charge_id: FromPath[str], request: AnyRequest, authentication_pages: NamedDependency[AuthenticationPages]
) -> Page:
    """The door's form: one field, `grant`."""
    return await _answer(charge_id, request, authentication_pages.enter)


@get("/authentications/{charge_id:str}/open")
async def enter_authentication_by_link(charge_id: FromPath[str], request: AnyRequest) -> Page:  # noqa: ARG001 - of the path
    """Nobody gets in by a link; a person who reloads the door's answer, or changes its language, is told so."""
    return _over(HTTPStatus.GONE, reader_of(request))


@get("/authentications/{charge_id:str}")
async def show_authentication(
    charge_id: FromPath[str], request: AnyRequest, authentication_pages: NamedDependency[AuthenticationPages]
) -> Page:
    return await _answer(charge_id, request, authentication_pages.show)


@route("/authentications/{charge_id:str}/return", http_method=["GET", "POST"])
async def return_from_bank(
    charge_id: FromPath[str], request: AnyRequest, authentication_pages: NamedDependency[AuthenticationPages]
) -> Page:
    """Whatever the bank or anybody else says in the query or in a form: it is not read."""
    return await _answer(charge_id, request, authentication_pages.come_back)


ROUTES = (enter_authentication, enter_authentication_by_link, show_authentication, return_from_bank)


async def _answer(charge_id: str, request: AnyRequest, handle: Callable[[str, AnyRequest], Awaitable[Page]]) -> Page:
    """A person gets a page, whatever happens; the log gets the kind of error and nothing of its text.

    The id goes into headers (Location, Refresh, Set-Cookie), where nothing but an id may.
    """
    if not is_identifier(charge_id):
        return _over(HTTPStatus.GONE, reader_of(request))
    try:
        return await handle(charge_id, request)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("authentication_page_failed", error=type(error).__name__)
        return Page(render_bank_away_page(reader_of(request)), HTTPStatus.SERVICE_UNAVAILABLE)


def _see(charge_id: str, reader: Reader, headers: dict[str, str] | None = None) -> Page:
    where = {"Location": f"{FOLDER}/{charge_id}{reader.query}"}
    return Page("", HTTPStatus.SEE_OTHER, {**where, **(headers or {})})


def _over(status: HTTPStatus, reader: Reader) -> Page:
    return Page(render_over_page(reader), status)
