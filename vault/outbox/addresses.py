"""Where a webhook may go: https to public addresses. Tenants name the hosts, so any may be meant to make us call home.

A URL is judged when it is registered, and every address again at the moment of connecting, where nothing lies between
the judgement and the connection: whatever a name resolves to by then, that very address is judged (OWASP, Server-Side
Request Forgery Prevention; Standard Webhooks 1.0.0, "Server side request forgery").
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

URL_LENGTH_MAX: Final = 2048
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
"""All that is assigned to the IPv6 internet (IANA, IPv6 address space)."""
_NOT_INTERNET: Final = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "2001::/23",  # protocol assignments, Teredo (RFC 4380) among them
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
        "2002::/16",  # 6to4: holds an IPv4 address of anybody's choice (RFC 3056)
    )
)
"""Refused besides what Python calls not global; older versions of it know fewer."""
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".home.arpa", ".onion")


class UrlRefused(ValueError):
    """The sentence says why; it does not repeat the URL."""


class AddressForbidden(OSError):
    """A connection to there is not opened. One sentence for all, as the address is not to be learned from it."""

    def __init__(self) -> None:
        super().__init__("this address is not on the internet")


def require_url(url: str, *, sandbox: bool) -> None:
    """Raises UrlRefused. In the sandbox plain http to loopback is allowed besides."""
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise UrlRefused(f"a URL is at most {URL_LENGTH_MAX} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("this is no URL") from None
    if not host or "%" in host or "\\" in url:
        raise UrlRefused("a URL names a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UrlRefused("a webhook's URL holds no credentials and no fragment")
    if sandbox and parts.scheme in {"http", "https"} and _is_loopback(host):
        return
    if parts.scheme != "https":
        raise UrlRefused("webhooks go over https")
    _require_public_host(host)


def may_connect(address: str, *, sandbox: bool) -> bool:
    """Whether a connection to this IP address may be opened."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if sandbox and found.is_loopback:
        return True
    return _is_public(found)


def guarded_sockets(*, sandbox: bool) -> Callable[[Any], socket.socket]:
    """Makes the socket for one address (family, type, protocol, name, address). Raises AddressForbidden instead."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not may_connect(str(address[0]), sandbox=sandbox):
            raise AddressForbidden
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_public_host(host: str) -> None:
    name = host.rstrip(".")
    if ":" in host or name.rpartition(".")[2][:1].isdigit():  # an address: no top-level domain begins with a digit
        if not may_connect(host, sandbox=False):
            raise UrlRefused("this address is not on the internet")
    elif "." not in name or name.endswith(_LOCAL_SUFFIXES):
        raise UrlRefused("this name is not of the internet")


def _is_public(found: IPv4Address | IPv6Address) -> bool:
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return _is_public(found.ipv4_mapped)
        if found.scope_id is not None or found not in _GLOBAL_UNICAST:
            return False
    if any(found in network for network in _NOT_INTERNET):  # of the other version none is
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved)
