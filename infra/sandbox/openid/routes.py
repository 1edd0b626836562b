"""The provider's HTTP side: its endpoints, the two pages where a person answers, and the switches for tests."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from infra.sandbox.control import json_response
from infra.sandbox.logs import say
from infra.sandbox.openid.realm import CIBA_GRANT, FAULTS, WAYS, OAuthRefusal, Realm
from infra.sandbox.openid.registered import ClientRefused
from infra.sandbox.pages import page

AnyRequest = Request[Any, Any, Any]
_SIGN_IN_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self' http://127.0.0.1:* http://localhost:*;"
    " frame-ancestors 'none'; base-uri 'none'"
)
"""Chromium applies `form-action` to the redirect that answers the form: back to a client on this machine."""
_ASKED = ("client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "login_hint", "max_age")


def openid_routes(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    """Routes for `/openid/{realm}/…`. A realm that is not there answers 404."""
    return [*_metadata(realms), *_signing_in(realms), *_tokens(realms), *_telephone(realms), *_switches(realms)]


def _metadata(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    @get("/openid/{realm:str}/.well-known/openid-configuration")
    async def discovery(realm: FromPath[str]) -> Response[bytes]:
        return _about(realms, realm, Realm.discovery)

    @get("/openid/{realm:str}/jwks")
    async def jwks(realm: FromPath[str]) -> Response[bytes]:
        return _about(realms, realm, lambda own: own.signer.jwks())

    return [discovery, jwks]


def _signing_in(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    @get("/openid/{realm:str}/authorize")
    async def ask(request: AnyRequest, realm: FromPath[str]) -> Response[Any]:
        asked = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        own = realms.get(realm)
        if own is None or own.take_fault("unavailable"):
            return json_response({"error": "temporarily_unavailable"}, status=404 if own is None else 503)
        refused = _refused_request(own, asked)
        if refused is not None:
            return refused
        kept = {name: asked[name] for name in _ASKED if name in asked}
        shown = page("openid_sign_in.html", realm=realm, asked=kept, ways=list(WAYS), hint=asked.get("login_hint", ""))
        shown.headers["Content-Security-Policy"] = _SIGN_IN_POLICY
        return shown

    @post("/openid/{realm:str}/authorize", status_code=200)
    async def answer(request: AnyRequest, realm: FromPath[str]) -> Response[Any]:
        form, own = await _form(request), realms.get(realm)
        if own is None:
            return json_response({"error": "not_found"}, status=404)
        refused = _refused_request(own, form)
        if refused is not None:
            return refused
        if form.get("answer") != "sign_in":
            return _back(own, form, error="access_denied")
        if "@" not in form.get("email", "") or form.get("way") not in WAYS:
            return json_response({"error": "invalid_request"}, status=400)
        say("signed_in", realm=realm)
        return _back(own, form, code=own.new_code(form, form["email"], form["way"]))

    return [ask, answer]


def _tokens(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    @post("/openid/{realm:str}/token", status_code=200)
    async def token(request: AnyRequest, realm: FromPath[str]) -> Response[bytes]:
        form = await _form(request)

        def redeemed(own: Realm) -> dict[str, Any]:
            client = own.register.authenticated(form, request.headers.get("authorization"), own.now())
            match form.get("grant_type"):
                case "authorization_code":
                    return own.redeem(client, form)
                case grant if grant == CIBA_GRANT:
                    return own.poll(client, form)
            raise OAuthRefusal("unsupported_grant_type")

        return _about(realms, realm, redeemed)

    @post("/openid/{realm:str}/bc-authorize", status_code=200)
    async def backchannel(request: AnyRequest, realm: FromPath[str]) -> Response[bytes]:
        form = await _form(request)

        def asked(own: Realm) -> dict[str, Any]:
            client = own.register.authenticated(form, request.headers.get("authorization"), own.now())
            return own.ask_telephone(client, form)

        return _about(realms, realm, asked)

    return [token, backchannel]


def _telephone(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    @get("/openid/{realm:str}/telephone")
    async def show(request: AnyRequest, realm: FromPath[str]) -> Response[Any]:
        own = realms.get(realm)
        if own is None:
            return json_response({"error": "not_found"}, status=404)
        waiting = own.waiting(request.query_params.get("email", ""))
        return page("openid_telephone.html", realm=realm, waiting=waiting, emails=own.emails)

    @post("/openid/{realm:str}/telephone", status_code=200)
    async def press(request: AnyRequest, realm: FromPath[str]) -> Response[Any]:
        form, own = await _form(request), realms.get(realm)
        approved = form.get("answer") == "approve"
        if own is None or not own.answer(form.get("auth_req_id", ""), approved=approved):
            return json_response({"error": "not_found"}, status=404)
        say("telephone_answered", realm=realm, approved=approved)
        return Response(b"", status_code=303, headers={"Location": f"/openid/{realm}/telephone"})

    return [show, press]


def _switches(realms: Mapping[str, Realm]) -> list[HTTPRouteHandler]:
    @post("/openid/{realm:str}/_sandbox/faults", status_code=200)
    async def order(request: AnyRequest, realm: FromPath[str]) -> Response[bytes]:
        try:
            fault = msgspec.json.decode(await request.body(), type=dict[str, str]).get("fault")
        except msgspec.MsgspecError:
            fault = None
        if fault not in FAULTS:
            return json_response({"error": "unknown_fault", "faults": sorted(FAULTS)}, status=400)

        def ordered(own: Realm) -> dict[str, Any]:
            own.faults.append(fault)
            return {"faults": own.faults}

        return _about(realms, realm, ordered, faulty=False)

    @post("/openid/{realm:str}/_sandbox/rotations", status_code=200)
    async def rotate(realm: FromPath[str]) -> Response[bytes]:
        def rotated(own: Realm) -> dict[str, Any]:
            own.signer.rotate()
            return own.signer.jwks()

        return _about(realms, realm, rotated, faulty=False)

    return [order, rotate]


def _about(realms: Mapping[str, Realm], name: str, verb: Any, *, faulty: bool = True) -> Response[bytes]:
    """What `verb` answers for this realm, or its OAuth error."""
    own = realms.get(name)
    if own is None:
        return json_response({"error": "not_found"}, status=404)
    if faulty and own.take_fault("unavailable"):
        return json_response({"error": "temporarily_unavailable"}, status=503)
    try:
        return json_response(verb(own))
    except ClientRefused:
        return json_response({"error": "invalid_client"}, status=401)
    except OAuthRefusal as refusal:
        return json_response({"error": refusal.error}, status=refusal.status)


def _refused_request(own: Realm, asked: Mapping[str, str]) -> Response[Any] | None:
    """RFC 6749 4.1.2.1: an unknown client or redirect URI is told to nobody else."""
    if own.client(asked.get("client_id", ""), asked.get("redirect_uri", "")) is None:
        return json_response({"error": "invalid_request"}, status=400)
    if "openid" not in asked.get("scope", "").split():
        return _back(own, asked, error="invalid_scope")
    if asked.get("code_challenge_method", "S256") != "S256" or not asked.get("code_challenge"):
        return _back(own, asked, error="invalid_request")
    return None


def _back(own: Realm, asked: Mapping[str, str], **answer: str) -> Response[Any]:
    """To the client, with `iss` (RFC 9207)."""
    state = "another" if own.take_fault("callback_other_state") else asked.get("state", "")
    named = {"iss": own.issuer}
    if own.take_fault("callback_other_issuer"):
        named = {"iss": "https://evil.example"}
    elif own.take_fault("callback_no_issuer"):
        named = {}
    query = urlencode({**answer, "state": state, **named})
    return Response(b"", status_code=303, headers={"Location": f"{asked['redirect_uri']}?{query}"})


async def _form(request: AnyRequest) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("latin-1"), keep_blank_values=True))
