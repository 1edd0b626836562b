"""The door to a bank's question about a charge: as to a capture, for its own person only, with a grant at the click."""

from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.browser import render
from gateway.browser.cookies import Jar, form_secret, new_value
from gateway.browser.door import Doors, LoginNeeded
from gateway.browser.login import Logins
from gateway.browser.routes import REFUSALS, read_form, redirect, with_browser
from gateway.captures import AuthenticationDoor
from gateway.contract import PurchaseState


@get("/authentications/{charge_id:str}")
async def authentication_door(
    request: Request[Any, Any, Any],
    charge_id: FromPath[str],
    doors: NamedDependency[Doors],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    door = await doors.find_authentication(charge_id)
    browser = jar.browser_of(request) or new_value()
    try:
        await doors.check(door, jar.login_of(request, door.tenant_id))
    except LoginNeeded:
        visit = await logins.begin_authentication(door, browser)
        return with_browser(redirect(f"/login/{visit.visit_id}"), jar, browser)
    if not _waits(door):
        return render.authentication_closed_page(door)
    page = render.authentication_door_page(door, form_secret(browser, charge_id), doors.vault_page_url)
    return with_browser(page, jar, browser)


@post("/authentications/{charge_id:str}", status_code=200)
async def enter_authentication(
    request: Request[Any, Any, Any],
    charge_id: FromPath[str],
    doors: NamedDependency[Doors],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """The click: only now a grant is minted, and the page that carries it posts it on."""
    await read_form(request, jar, charge_id, frozenset())
    door = await doors.find_authentication(charge_id)
    try:
        await doors.check(door, jar.login_of(request, door.tenant_id))
    except LoginNeeded:
        return redirect(f"/authentications/{charge_id}")
    if not _waits(door):
        return render.authentication_closed_page(door)
    return render.authentication_entry_page(door, doors.enter_authentication(door))


def _waits(door: AuthenticationDoor) -> bool:
    return door.state == PurchaseState.NEEDS_AUTHENTICATION


def authentication_routes() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [authentication_door, enter_authentication]
    return Router(path="/", route_handlers=handlers, exception_handlers=REFUSALS, include_in_schema=False)
