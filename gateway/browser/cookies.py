"""Two kinds of cookie, and the form secret that hangs on the first.

`browser`: a random value that ties forms and visits to one browser; it proves nobody's identity. `login`: one for each
tenant, a fresh value at every login, of which the hash is stored; it says which subject of that tenant sits here.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie

LOGIN_SECONDS = 12 * 3600
"""As long as a login code counts as evidence."""


def new_value() -> str:
    return secrets.token_urlsafe(32)


def digest(value: str) -> bytes:
    """256 random bits need no salt."""
    return hashlib.sha256(value.encode()).digest()


def form_secret(browser: str, purpose: str) -> str:
    """The hidden field `csrf`: only who knows this browser's cookie can compute it, for this visit or capture only."""
    return hmac.new(browser.encode(), f"form {purpose}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Jar:
    """Cookies of one public URL. Over https they carry the `__Host-` prefix: no other host can set them."""

    public_url: str

    @property
    def secure(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def origin(self) -> str:
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    def browser_of(self, request: Request[Any, Any, Any]) -> str | None:
        return request.cookies.get(self._name("browser"))

    def login_of(self, request: Request[Any, Any, Any], tenant_id: str) -> str | None:
        return request.cookies.get(self._name(f"login_{tenant_id}"))

    def logins_of(self, request: Request[Any, Any, Any]) -> dict[str, str]:
        """Tenant → login cookie, of every tenant this browser is logged in for."""
        ours = self._name("login_")
        return {name.removeprefix(ours): value for name, value in request.cookies.items() if name.startswith(ours)}

    def browser(self, value: str) -> Cookie:
        return self._cookie(self._name("browser"), value)

    def login(self, tenant_id: str, value: str) -> Cookie:
        return self._cookie(self._name(f"login_{tenant_id}"), value)

    def all_gone(self, request: Request[Any, Any, Any]) -> list[Cookie]:
        """What makes this browser forget every login of ours."""
        return [self._cookie(self._name(f"login_{tenant}"), "", seconds=0) for tenant in self.logins_of(request)]

    def posted_from_elsewhere(self, request: Request[Any, Any, Any]) -> bool:
        """A second wall behind `csrf`: browsers name the origin of every posted form."""
        origin = request.headers.get("origin")
        return origin is not None and origin != self.origin

    def _name(self, name: str) -> str:
        return f"__Host-undercroft_{name}" if self.secure else f"undercroft_{name}"

    def _cookie(self, name: str, value: str, *, seconds: int = LOGIN_SECONDS) -> Cookie:
        return Cookie(
            key=name, value=value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="lax"
        )
