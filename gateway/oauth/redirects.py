"""Which redirect URIs may be registered, and when a requested one is the registered one. Pure.

OAuth 2.1 section 2.3: simple string comparison, except the port of a loopback address (RFC 8252 section 7.3), which a
native app gets from its operating system at the moment it listens.
"""

from urllib.parse import SplitResult, urlsplit

LENGTH_MAX = 512
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
"""`localhost` is not recommended by RFC 8252 and is what most MCP clients register."""
_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?[]@!$&'()*+,;=%")
"""RFC 3986 without `#`: a fragment never reaches a server."""


def registrable(uri: str) -> bool:
    """Yes for https, for http on the loopback, and for a scheme that is a reversed domain name (RFC 8252 7.1)."""
    parts = _split(uri)
    if parts is None:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme == "http":
        return parts.hostname in LOOPBACK_HOSTS
    return "." in parts.scheme


def matches(requested: str, registered: str) -> bool:
    if requested == registered:
        return True
    asked, known = _split(requested), _split(registered)
    if asked is None or known is None:
        return False
    if known.scheme != "http" or known.hostname not in LOOPBACK_HOSTS:
        return False
    return _without_port(asked) == _without_port(known)


def shown_host(uri: str) -> str:
    """What the consent page shows a person: where the answer will be sent."""
    parts = urlsplit(uri)
    if parts.scheme == "https":
        return parts.hostname or ""
    return "an app on this device" if parts.scheme == "http" else f"an app on this device ({parts.scheme})"


def form_target(uri: str) -> str:
    """The source expressions that let a consent form be answered with a redirect to `uri` (CSP `form-action`).

    Chromium applies `form-action` to every hop of a redirect chain (tested), and a client's callback may go on to
    another of its hosts. So https as a whole, and for a native app the loopback or its scheme; never other plain http.
    """
    parts = urlsplit(uri)
    if parts.scheme == "https":
        return "https:"
    if parts.scheme != "http":
        return f"https: {parts.scheme}:"
    if parts.hostname == "::1":
        return "https: http:"  # a source expression cannot name an IPv6 address
    return "https: http://127.0.0.1:* http://localhost:*"


def _split(uri: str) -> SplitResult | None:
    """None for what no client of ours may use: too long, odd characters, credentials, a broken port."""
    if len(uri) > LENGTH_MAX or not _ALLOWED.issuperset(uri):
        return None
    try:
        parts = urlsplit(uri)
        sound = parts.port is None or parts.port > 0
    except ValueError:
        return None
    if not sound or parts.username is not None or parts.password is not None:
        return None
    return parts if parts.scheme else None


def _without_port(parts: SplitResult) -> tuple[str, str | None, str, str]:
    return parts.scheme, parts.hostname, parts.path, parts.query
