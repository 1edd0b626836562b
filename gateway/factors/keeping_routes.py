"""Routes of the page where a person adds and removes passkeys."""

from typing import Any

from litestar import MediaType, Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from gateway.browser import render
from gateway.browser.cookies import Jar, form_secret, new_value
from gateway.browser.login import Logins
from gateway.browser.routes import FormRefused, read_form
from gateway.browser.visits import TooManyVisits
from gateway.factors import pages
from gateway.factors.keeping import FreshLoginNeeded, Home, Keeping, Kept, MustRest
from gateway.factors.passing import LinkOver
from gateway.factors.passkeys import PasskeyRefused, Passkeys
from infra.chassis.problems import NotFound, Problem


def _about(home: Home) -> str:
    """What the forms of this page are about (cookies.form_secret)."""
    return f"passkeys {home.brand_id}"


@get("/passkeys/{brand_id:str}")
async def passkeys_page(
    request: Request[Any, Any, Any],
    brand_id: FromPath[str],
    keeping: NamedDependency[Keeping],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """The person's passkeys, after a login that is not old."""
    home = await keeping.home(brand_id)
    browser = jar.browser_of(request) or new_value()
    try:
        subject_id = await keeping.person(home, jar.login_of(request, home.tenant_id))
    except FreshLoginNeeded:
        visit = await logins.begin_passkeys(home.tenant_id, home.brand_id, home.brand_name, browser)
        answer = _redirect(f"/login/{visit.visit_id}")
        answer.set_cookie(jar.browser(browser))
        return answer
    page = pages.passkeys_page(await keeping.kept(home, subject_id, browser), form_secret(browser, _about(home)))
    page.set_cookie(jar.browser(browser))
    return page


@post("/passkeys/{brand_id:str}", status_code=200)
async def add_passkey(
    request: Request[Any, Any, Any],
    brand_id: FromPath[str],
    keeping: NamedDependency[Keeping],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    home = await keeping.home(brand_id)
    form = await read_form(request, jar, _about(home), frozenset({"visit", "credential", "answer", "name"}))
    subject_id = await keeping.person(home, jar.login_of(request, home.tenant_id))
    await keeping.add(
        home,
        subject_id,
        form.get("visit", ""),
        jar.browser_of(request),
        form.get("credential", ""),
        form.get("name", ""),
    )
    return _redirect(f"/passkeys/{brand_id}")


@post("/passkeys/{brand_id:str}/proofs", status_code=200)
async def prove_with_passkey(
    request: Request[Any, Any, Any],
    brand_id: FromPath[str],
    keeping: NamedDependency[Keeping],
    passkeys: NamedDependency[Passkeys],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """Whoever has a passkey already shows it before adding another one."""
    home = await keeping.home(brand_id)
    form = await read_form(request, jar, _about(home), frozenset({"visit", "credential", "answer"}))
    browser = jar.browser_of(request) or ""
    subject_id = await keeping.person(home, jar.login_of(request, home.tenant_id))
    proven = await passkeys.prove(home.tenant_id, form.get("visit", ""), browser, form.get("credential", ""))
    if proven != subject_id:
        raise PasskeyRefused
    offer = await keeping.offer_registration(home, subject_id, browser)
    return pages.next_passkey_page(Kept(home, (), offer, first=False, rest_until=None), form["csrf"])


@post("/passkeys/{brand_id:str}/removals", status_code=200)
async def remove_passkey(
    request: Request[Any, Any, Any],
    brand_id: FromPath[str],
    keeping: NamedDependency[Keeping],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    home = await keeping.home(brand_id)
    form = await read_form(request, jar, _about(home), frozenset({"passkey_id"}))
    subject_id = await keeping.person(home, jar.login_of(request, home.tenant_id))
    await keeping.remove(home, subject_id, form.get("passkey_id", ""))
    return _redirect(f"/passkeys/{brand_id}")


def _redirect(location: str) -> Response[Any]:
    headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return Response(b"", status_code=303, media_type=MediaType.TEXT, headers=headers)


_REFUSALS: ExceptionHandlersMap = {
    LinkOver: lambda _request, _error: render.visit_over_page(),
    PasskeyRefused: lambda _request, _error: pages.passkey_refused_page(),
    MustRest: lambda _request, error: pages.must_rest_page(error.until),
    FreshLoginNeeded: lambda _request, error: _redirect(f"/passkeys/{error.home.brand_id}"),
    FormRefused: lambda _request, _error: render.form_refused_page(),
    TooManyVisits: lambda _request, _error: render.busy_page(),
    NotFound: lambda _request, _error: render.not_found_page(),
    Problem: lambda _request, error: render.problem_page(error),
}


def router() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [passkeys_page, add_passkey, prove_with_passkey, remove_passkey]
    return Router(path="/", route_handlers=handlers, exception_handlers=_REFUSALS, include_in_schema=False)
