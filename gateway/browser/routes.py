"""Routes for people's browsers. A handler reads its form, calls one verb, shows one page; refusals are pages too."""

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from litestar import MediaType, Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import ExceptionHandlersMap

from gateway.browser import render
from gateway.browser.consent import Consenting
from gateway.browser.cookies import Jar, form_secret, new_value
from gateway.browser.door import Doors, LoginNeeded, NoSuchDoor
from gateway.browser.login import Logins, NotThisPerson, Step, VisitOver, step_of
from gateway.browser.reaching import StepUpNeeded
from gateway.browser.spending_limits import FIELDS, LimitsRefused, typed_in
from gateway.browser.visits import Purpose, TooManyVisits, Visit
from gateway.errors import CodeRefused, TooManyCodes
from gateway.oauth import authorize
from gateway.oauth.routes import FIELDS_MAX, AuthorizationServer, form_pairs
from gateway.oauth.server import Answer
from infra.chassis.problems import PeerUnreachable, Problem

STYLESHEET_SECONDS = 31_536_000
"""A year: the path holds the digest of the content."""
FLAWS: Mapping[str, str] = {
    "contact_point_invalid": "Enter an e-mail address, such as name@example.com.",
    "card_number_refused": "This looks like a card number. Enter your e-mail address.",
    "too_many_codes": "Too many codes were sent to this address. Wait an hour, then try again.",
}
CODE_FLAW = "That code is wrong, has expired or was used up. Check it, or get a new one."
INBOX_FLAW = "We could not send the code. Try again in a moment."


class FormRefused(Exception):
    """Not our form: no or another browser's secret, another origin, unknown or repeated fields."""


async def read_form(request: Request[Any, Any, Any], jar: Jar, about: str, fields: frozenset[str]) -> dict[str, str]:
    """The form's fields if it is our page's, about this visit or capture. Raises FormRefused."""
    browser = jar.browser_of(request)
    if browser is None or jar.posted_from_elsewhere(request):
        raise FormRefused
    try:
        pairs = await form_pairs(request)
    except ValueError:
        raise FormRefused from None
    form = dict(pairs)
    if len(form) != len(pairs) or not form.keys() <= fields | {"csrf"}:
        raise FormRefused
    if not hmac.compare_digest(form.get("csrf", "").encode(), form_secret(browser, about).encode()):
        raise FormRefused
    return form


@get("/oauth/authorize")
async def authorize_get(
    request: Request[Any, Any, Any],
    authorization_server: NamedDependency[AuthorizationServer],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """RFC 6749 4.1.1: check what the assistant asks for, then let the person log in."""
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        return render.request_refused_page("invalid_request")
    return await _begin(request, pairs, authorization_server, logins, jar)


@post("/oauth/authorize", status_code=200)
async def authorize_post(
    request: Request[Any, Any, Any],
    authorization_server: NamedDependency[AuthorizationServer],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """As GET, for clients that post the request (RFC 6749 3.1)."""
    try:
        pairs = await form_pairs(request)
    except ValueError:
        return render.request_refused_page("invalid_request")
    return await _begin(request, pairs, authorization_server, logins, jar)


@get("/login/{visit_id:str}")
async def login_page(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
    step: FromQuery[str | None] = None,
) -> Response[Any]:
    browser = jar.browser_of(request)
    visit = await logins.find(visit_id, browser)
    if step_of(visit) is Step.DONE:
        return redirect(_after_login(visit))
    csrf = form_secret(browser or "", visit_id)
    if step_of(visit) is Step.CODE and step != Step.ADDRESS:
        return render.code_page(visit, csrf)
    return render.address_page(visit, csrf)


@post("/login/{visit_id:str}", status_code=200)
async def send_code(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    form = await read_form(request, jar, visit_id, frozenset({"email"}))
    visit = await logins.find(visit_id, jar.browser_of(request))
    try:
        await logins.send_code(visit, form.get("email", ""))
    except PeerUnreachable:
        return render.address_page(visit, form["csrf"], flaw=INBOX_FLAW, status=503)
    except Problem as problem:
        flaw = FLAWS.get(problem.code)
        if flaw is None:
            raise
        status = TooManyCodes.status if isinstance(problem, TooManyCodes) else 422
        return render.address_page(visit, form["csrf"], flaw=flaw, status=status)
    return redirect(f"/login/{visit_id}")


@post("/login/{visit_id:str}/code", status_code=200)
async def check_code(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    form = await read_form(request, jar, visit_id, frozenset({"code"}))
    visit = await logins.find(visit_id, jar.browser_of(request))
    try:
        entered = await logins.check_code(visit, form.get("code", ""))
    except CodeRefused:
        return render.code_page(visit, form["csrf"], flaw=CODE_FLAW, status=422)
    answer = redirect(_after_login(visit))
    answer.set_cookie(jar.browser(entered.browser))
    answer.set_cookie(jar.login(visit.tenant_id, entered.login))
    return answer


@get("/consent/{visit_id:str}")
async def consent_page(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    consenting: NamedDependency[Consenting],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    visit = await proven_visit(request, visit_id, logins, jar)
    view = await consenting.view(visit)
    return render.consent_page(visit, view, form_secret(jar.browser_of(request) or "", visit_id))


@post("/consent/{visit_id:str}", status_code=200)
async def answer_consent(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    consenting: NamedDependency[Consenting],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """Only `answer=agree` agrees; the browser goes back to the assistant either way."""
    form = await read_form(request, jar, visit_id, FIELDS | {"answer"})
    visit = await proven_visit(request, visit_id, logins, jar)
    if form.get("answer") != "agree":
        return back(await consenting.refuse(visit))
    typed = typed_in(form)
    try:
        return back(await consenting.agree(visit, jar.browser_of(request) or "", typed))
    except LimitsRefused as refused:
        view = await consenting.view(visit, typed, refused.flaws)
        return render.consent_page(visit, view, form["csrf"], status=422)


@get("/captures/{capture_id:str}")
async def door_page(
    request: Request[Any, Any, Any],
    capture_id: FromPath[str],
    doors: NamedDependency[Doors],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    door = await doors.find(capture_id)
    browser = jar.browser_of(request) or new_value()
    try:
        await doors.check(door, jar.login_of(request, door.tenant_id))
    except LoginNeeded:
        visit = await logins.begin_door(door, browser)
        return with_browser(redirect(f"/login/{visit.visit_id}"), jar, browser)
    if door.state != "open":
        return render.door_closed_page(door)
    page = render.door_page(door, form_secret(browser, capture_id), doors.vault_page_url)
    return with_browser(page, jar, browser)


@post("/captures/{capture_id:str}", status_code=200)
async def enter_door(
    request: Request[Any, Any, Any],
    capture_id: FromPath[str],
    doors: NamedDependency[Doors],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """The click: only now a grant is minted, and the page that carries it posts it on."""
    await read_form(request, jar, capture_id, frozenset())
    door = await doors.find(capture_id)
    try:
        await doors.check(door, jar.login_of(request, door.tenant_id))
    except LoginNeeded:
        return redirect(f"/captures/{capture_id}")
    return render.door_closed_page(door) if door.state != "open" else render.entry_page(door, doors.enter(door))


@post("/logout", status_code=200)
async def log_out(
    request: Request[Any, Any, Any], logins: NamedDependency[Logins], jar: NamedDependency[Jar]
) -> Response[Any]:
    if jar.posted_from_elsewhere(request):
        raise FormRefused
    for tenant_id, login in jar.logins_of(request).items():
        await logins.log_out(tenant_id, login)
    page = render.signed_out_page()
    for cookie in jar.all_gone(request):
        page.set_cookie(cookie)
    return page


@get(render.STYLESHEET_PATH, media_type="text/css")
async def stylesheet() -> Response[bytes]:
    headers = {"Cache-Control": f"public, max-age={STYLESHEET_SECONDS}, immutable"}
    return Response(render.STYLESHEET, media_type="text/css", headers=headers)


async def _begin(
    request: Request[Any, Any, Any],
    pairs: list[tuple[str, str]],
    server: AuthorizationServer,
    logins: Logins,
    jar: Jar,
) -> Response[Any]:
    asked = await authorize.check(server.engine, server.parts, pairs)
    if isinstance(asked, Answer):
        if asked.location is not None:
            return back(asked)
        return render.request_refused_page(asked.body["error"] if isinstance(asked.body, dict) else "invalid_request")
    browser = jar.browser_of(request) or new_value()
    visit = await logins.begin_consent(asked, browser)
    return with_browser(redirect(f"/login/{visit.visit_id}"), jar, browser)


async def proven_visit(request: Request[Any, Any, Any], visit_id: str, logins: Logins, jar: Jar) -> Visit:
    """Raises VisitOver, also for who has not logged in or has come by a door."""
    visit = await logins.find(visit_id, jar.browser_of(request))
    if step_of(visit) is not Step.DONE or visit.purpose is not Purpose.CONSENT:
        raise VisitOver
    return visit


def _after_login(visit: Visit) -> str:
    if visit.purpose is Purpose.PASSKEYS:
        return f"/passkeys/{visit.brand_id}"
    if visit.purpose is Purpose.CONSENT:
        return f"/consent/{visit.visit_id}"
    if visit.purpose is Purpose.AUTHENTICATION:
        return f"/authentications/{visit.charge_id}"
    return f"/captures/{visit.capture_id}" if visit.purpose is Purpose.DOOR else f"/approvals/{visit.approval_id}"


def with_browser(response: Response[Any], jar: Jar, browser: str) -> Response[Any]:
    response.set_cookie(jar.browser(browser))
    return response


def back(answer: Answer) -> Response[Any]:
    """To the assistant, or, when its request is no longer sound, nowhere."""
    return redirect(answer.location) if answer.location is not None else render.visit_over_page()


def redirect(location: str) -> Response[Any]:
    """303: whatever was posted here is not posted there."""
    headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return Response(b"", status_code=303, media_type=MediaType.TEXT, headers=headers)


REFUSALS: ExceptionHandlersMap = {
    VisitOver: lambda _request, _error: render.visit_over_page(),
    StepUpNeeded: lambda _request, error: redirect(f"/step-up/{error.visit.visit_id}"),
    FormRefused: lambda _request, _error: render.form_refused_page(),
    NoSuchDoor: lambda _request, _error: render.not_found_page(),
    NotThisPerson: lambda _request, _error: render.not_found_page(),
    TooManyVisits: lambda _request, _error: render.busy_page(),
    Problem: lambda _request, error: render.problem_page(error),
}


def browser_routes() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [
        authorize_get,
        authorize_post,
        login_page,
        send_code,
        check_code,
        consent_page,
        answer_consent,
        door_page,
        enter_door,
        log_out,
        stylesheet,
    ]
    return Router(path="/", route_handlers=handlers, exception_handlers=REFUSALS, include_in_schema=False)
