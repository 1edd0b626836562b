"""Routes of challenges that are answered elsewhere: the pages behind their links, the way back from providers, the API.

A handler reads its form, calls one verb, shows one page; refusals are pages too.
"""

from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import MediaType, Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from gateway.browser import render
from gateway.browser.cookies import Jar, form_secret, new_value
from gateway.browser.routes import FormRefused, read_form
from gateway.callers import Caller, Callers
from gateway.contract import ChallengeMethod, ChallengeView
from gateway.factors import pages
from gateway.factors.asking import Asking
from gateway.factors.logins import Links, OpenIdLogins, WorthNothing
from gateway.factors.passing import LinkOver, NotThisSubject
from gateway.factors.passkeys import PasskeyRefused, Passkeys
from gateway.factors.relying import LoginRefused
from gateway.routes import checked, router_of
from infra.chassis.problems import Problem

FIELDS_MAX: Final = 12
"""Of a provider's answer: four are read; others are added by providers and ignored (RFC 6749 4.1.2)."""
VALUE_LENGTH_MAX: Final = 4_096


@get("/challenges/{challenge_id:str}")
async def read_challenge(
    challenge_id: FromPath[str], caller: NamedDependency[Caller], asking: NamedDependency[Asking]
) -> ChallengeView:
    """How a challenge by link or by phone stands."""
    return await asking.read(checked(challenge_id), caller)


@get("/factors/{link:str}")
async def link_page(
    request: Request[Any, Any, Any],
    link: FromPath[str],
    links: NamedDependency[Links],
    openid_logins: NamedDependency[OpenIdLogins],
    passkeys: NamedDependency[Passkeys],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """Looking changes nothing: links are opened by previewers too."""
    challenge = await links.open(link)
    browser = jar.browser_of(request) or new_value()
    if challenge.method is ChallengeMethod.PASSKEY:
        offer = await passkeys.offer(challenge, browser)
        page = pages.passkey_page(challenge, offer, link, form_secret(browser, link))
    else:
        provider = await openid_logins.provider(challenge)
        page = pages.sign_in_page(challenge, provider, link, form_secret(browser, link))
    page.set_cookie(jar.browser(browser))
    return page


@post("/factors/{link:str}", status_code=200)
async def leave_for_provider(
    request: Request[Any, Any, Any],
    link: FromPath[str],
    links: NamedDependency[Links],
    openid_logins: NamedDependency[OpenIdLogins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """Only `answer=go` goes on."""
    form = await read_form(request, jar, link, frozenset({"answer"}))
    challenge = await links.open(link)
    if form.get("answer") != "go":
        await links.refuse(challenge)
        return pages.refused_page()
    if challenge.method is not ChallengeMethod.OPENID_LOGIN:
        raise LinkOver
    location = await openid_logins.leave(challenge, jar.browser_of(request) or "")
    headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(b"", status_code=303, media_type=MediaType.TEXT, headers=headers)


@post("/factors/{link:str}/passkey", status_code=200)
async def use_passkey(
    request: Request[Any, Any, Any],
    link: FromPath[str],
    links: NamedDependency[Links],
    passkeys: NamedDependency[Passkeys],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """Only `answer=go` uses it; without scripts the page can only be refused."""
    form = await read_form(request, jar, link, frozenset({"visit", "credential", "answer"}))
    challenge = await links.open(link)
    if form.get("answer") != "go":
        await links.refuse(challenge)
        return pages.refused_page()
    if challenge.method is not ChallengeMethod.PASSKEY:
        raise LinkOver
    await passkeys.finish(challenge, form.get("visit", ""), jar.browser_of(request), form.get("credential", ""))
    return pages.passed_page(challenge)


@get("/openid/{brand_id:str}/callback")
async def returned(
    request: Request[Any, Any, Any],
    brand_id: FromPath[str],
    openid_logins: NamedDependency[OpenIdLogins],
    jar: NamedDependency[Jar],
) -> Response[Any]:
    """RFC 6749 4.1.2: what the provider answers, in the browser that was sent there."""
    answer = _answer_of(request)
    challenge, flow = await openid_logins.returned(brand_id, answer.get("state", ""), jar.browser_of(request))
    if "error" in answer:
        await openid_logins.refused(challenge, answer.get("iss"))
        return pages.refused_page()
    if "code" not in answer:
        raise LoginRefused
    await openid_logins.finish(challenge, flow, answer["code"], answer.get("iss"))
    return pages.passed_page(challenge)


def _answer_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Raises LoginRefused for what is no single answer: repeated, too many or too long parameters."""
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise LoginRefused from None
    answer = dict(pairs)
    if len(answer) != len(pairs) or any(len(value) > VALUE_LENGTH_MAX for value in answer.values()):
        raise LoginRefused
    return answer


_REFUSALS: ExceptionHandlersMap = {
    LinkOver: lambda _request, _error: pages.link_over_page(),
    NotThisSubject: lambda _request, _error: pages.not_this_person_page(),
    LoginRefused: lambda _request, _error: pages.sign_in_failed_page(),
    PasskeyRefused: lambda _request, _error: pages.passkey_refused_page(),
    WorthNothing: lambda _request, _error: pages.worth_nothing_page(),
    FormRefused: lambda _request, _error: render.form_refused_page(),
    Problem: lambda _request, error: render.problem_page(error),
}


def browser_router() -> Router:
    """A new router: Litestar gives one to one app only."""
    handlers = [link_page, leave_for_provider, use_passkey, returned]
    return Router(path="/", route_handlers=handlers, exception_handlers=_REFUSALS, include_in_schema=False)


def api_router(callers: Callers) -> Router:
    return router_of(callers, [read_challenge])
