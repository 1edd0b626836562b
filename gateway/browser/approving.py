"""The page on which a person approves or refuses one payment. Reached as a door is: by its own person, logged in."""

from typing import Any, Final

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.approvals import Approvals, ApprovalView
from gateway.browser import render
from gateway.browser.cookies import Jar, form_secret, new_value
from gateway.browser.door import NoSuchDoor
from gateway.browser.login import Logins
from gateway.browser.routes import REFUSALS, FormRefused, read_form, redirect, with_browser
from gateway.routes import IDENTIFIER

ANSWERS: Final = {"approve": True, "refuse": False}
"""Anything else is neither: a refusal stays one, so it is not read into a form without an answer."""


@get("/approvals/{approval_id:str}")
async def approval_page(
    request: Request[Any, Any, Any],
    approval_id: FromPath[str],
    approvals: NamedDependency[Approvals],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    asked = await _found(approvals, approval_id)
    browser = jar.browser_of(request) or new_value()
    if not await _is_its_person(request, asked, logins, jar):
        visit = await logins.begin_approval(asked, browser)
        return with_browser(redirect(f"/login/{visit.visit_id}"), jar, browser)
    page = render.approval_page(asked, form_secret(browser, approval_id))
    return with_browser(page, jar, browser)


@post("/approvals/{approval_id:str}", status_code=200)
async def answer_approval(
    request: Request[Any, Any, Any],
    approval_id: FromPath[str],
    approvals: NamedDependency[Approvals],
    logins: NamedDependency[Logins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """The first answer holds; whoever answers again is shown how it was answered."""
    form = await read_form(request, jar, approval_id, frozenset({"answer"}))
    approve = ANSWERS.get(form.get("answer", ""))
    if approve is None:
        raise FormRefused
    asked = await _found(approvals, approval_id)
    if not await _is_its_person(request, asked, logins, jar):
        return redirect(f"/approvals/{approval_id}")
    await approvals.answer(asked, approve=approve)
    return redirect(f"/approvals/{approval_id}")


async def _found(approvals: Approvals, approval_id: str) -> ApprovalView:
    """Raises NoSuchDoor."""
    asked = await approvals.find(approval_id) if IDENTIFIER.fullmatch(approval_id) else None
    if asked is None:
        raise NoSuchDoor
    return asked


async def _is_its_person(request: Request[Any, Any, Any], asked: ApprovalView, logins: Logins, jar: Jar) -> bool:
    """False for nobody, who may log in. Raises NoSuchDoor for somebody else, to whom there is nothing here."""
    subject_id = await logins.subject_here(asked.tenant_id, jar.login_of(request, asked.tenant_id))
    if subject_id is not None and subject_id != asked.subject_id:
        raise NoSuchDoor
    return subject_id is not None


def approval_routes() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [approval_page, answer_approval]
    return Router(path="/", route_handlers=handlers, exception_handlers=REFUSALS, include_in_schema=False)
