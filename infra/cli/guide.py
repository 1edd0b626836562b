"""What `up` tells a person once the house runs: where things are, how to connect, which walls stand."""

import os
import sys

from infra.cli.console import table
from infra.dev import walls
from infra.dev.house import House

WHAT = {
    "gateway": "decides; OAuth, callers, purchases, the record",
    "authzen": "AuthZEN 1.0, for enforcement points",
    "mcp_server": "MCP for assistants",
    "memory": "remembers (the gateway only)",
    "vault": "cards in, tokens out (the gateway only)",
    "vault_page": "the hosted card page; opened by links from the gateway",
    "vault_webhooks": "the processor's events",
    "processor": "the sandbox processor: payments as the processor saw them",
    "inbox": "one-time codes arrive here; open it in a browser",
}
CARDS = (
    ("4242 4242 4242 4242", "is approved"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
)
MISSING_WALLS = ("TLS between services, and a key service outside the vault's own process (keys are files)",)


CUSTODY = {
    "open": "missing  custody of the vault's root: it lies open in a file, for this house is for development; "
    "`undercroft custody`",
    "sealed": "sealed   the vault answers nobody until its custodians have been here: `undercroft custody enter NAME`",
    "opened": "stands   custody of the vault's root: its custodians have opened it",
}


ORPHANS = "the kernel's help against orphans: after a killed runner, use `undercroft down`"


def welcome(house: House) -> str:
    listeners = table((name, house.urls[name], what) for name, what in WHAT.items())
    cards = table((number, what) for number, what in CARDS)
    return f"""
The house runs. Ctrl-C stops it, or `undercroft down` in another shell; data stays in {house.folder}

{listeners}

Connect an assistant
{_endpoints(house)}
  MCP Inspector    npx @modelcontextprotocol/inspector
                   then: Streamable HTTP, the URL above, Connect. It will open our login page; any e-mail address will
                   do, its code arrives in the inbox.
  Claude, ChatGPT  call from their own servers and only over https with a public name: they cannot reach this machine.
                   `up` serves loopback only. A deployment gives gateway, mcp_server and the vault's page https names
                   in their settings PUBLIC_URL and PAGE_URL.

Pay with a test card (any future date, any three digits)
{cards}

Walls
{_walls()}
  {CUSTODY[house.custody()]}
{walls.summary(house.folder)}
"""


def _endpoints(house: House) -> str:
    return "\n".join(f"  {brand.name:15}  {brand.resource_url}" for own in house.brands.values() for brand in own)


def _walls() -> str:
    user = "as your user's `pgserver`" if os.geteuid() == 0 else "as you"
    standing = (
        "a process each; each is started with its own settings and the path of its own keys only",
        f"a database and two roles each (the vault: a PostgreSQL cluster of its own); PostgreSQL runs {user}",
        "separate keys for bearers, grants, the record, contact points, cards, fingerprints and memories",
    )
    missing = MISSING_WALLS if sys.platform == "linux" else (*MISSING_WALLS, ORPHANS)
    return "\n".join([*(f"  stands   {wall}" for wall in standing), *(f"  missing  {wall}" for wall in missing)])
