"""The page between a login and a consent that asks for more than a login."""

from typing import Any, Final

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import ExceptionHandlersMap

from gateway.browser.consent import Consenting
from gateway.browser.cookies import Jar, form_secret
from gateway.browser.login import Logins
from gateway.browser.routes import REFUSALS, back, proven_visit, read_form, redirect
from gateway.factors import pages
from gateway.factors.passing import LinkOver, NotThisSubject
from gateway.factors.passkeys import PasskeyRefused
from gateway.factors.stepping import Stepping

OTHER: Final = "other"


@get("/step-up/{visit_id:str}")
async def step_up_page(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    stepping: NamedDependency[Stepping],
    jar: NamedDependency[Jar],
    way: FromQuery[str | None] = None,
) -> Response[Any]:
    """Looks at the phone's answer too: a browser without scripts loads the page again by itself."""
    visit = await proven_visit(request, visit_id, logins, jar)
    browser = jar.browser_of(request) or ""
    ways = await stepping.ways(visit, browser, other=way == OTHER)
    if ways is None:
        return redirect(f"/consent/{visit_id}")
    return pages.step_up_page(ways, form_secret(browser, visit_id))


@post("/step-up/{visit_id:str}/passkey", status_code=200)
async def step_up_by_passkey(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    stepping: NamedDependency[Stepping],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    form = await read_form(request, jar, visit_id, frozenset({"visit", "credential", "answer"}))
    visit = await proven_visit(request, visit_id, logins, jar)
    browser = jar.browser_of(request) or ""
    await stepping.use_passkey(visit, browser, form.get("visit", ""), form.get("credential", ""))
    return redirect(f"/consent/{visit_id}")


@post("/step-up/{visit_id:str}/phone", status_code=200)
async def step_up_by_phone(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    stepping: NamedDependency[Stepping],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    await read_form(request, jar, visit_id, frozenset())
    visit = await proven_visit(request, visit_id, logins, jar)
    await stepping.ask_phone(visit, jar.browser_of(request) or "")
    return redirect(f"/step-up/{visit_id}")


@post("/step-up/{visit_id:str}/end", status_code=200)
async def go_back_without(
    request: Request[Any, Any, Any],
    visit_id: FromPath[str],
    logins: NamedDependency[Logins],
    consenting: NamedDependency[Consenting],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """To the assistant, which learns that what it asked for was not reached, and not why."""
    await read_form(request, jar, visit_id, frozenset())
    return back(await consenting.give_up(await proven_visit(request, visit_id, logins, jar)))


_REFUSALS: ExceptionHandlersMap = {
    **REFUSALS,
    LinkOver: lambda _request, _error: pages.passkey_refused_page(),
    NotThisSubject: lambda _request, _error: pages.passkey_refused_page(),
    PasskeyRefused: lambda _request, _error: pages.passkey_refused_page(),
}


def router() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [step_up_page, step_up_by_passkey, step_up_by_phone, go_back_without]
    return Router(path="/", route_handlers=handlers, exception_handlers=_REFUSALS, include_in_schema=False)
