"""`python -m vault page check URL` and `python -m vault page inventory [--check]`: for operators and for a timer."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from vault.cleartext.page.inventory import INVENTORY, inventory_text
from vault.page_check import PageUnreachable, check_page

DIFFERS_EXIT: Final = 1
UNREACHABLE_EXIT: Final = 3
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: as it should be. 1: it differs, and every difference was written. 3: the page did not answer."""
    options = _parser().parse_args(arguments)
    return _inventory(check=options.check) if options.what == "inventory" else _check(options.url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="undercroft page", description="The card page's scripts, files and headers.")
    commands = parser.add_subparsers(dest="what", required=True)
    check = commands.add_parser("check", help="compare the page at URL, as a browser receives it, with the inventory")
    check.add_argument("url", type=_origin, metavar="URL", help="where the page listens, e.g. https://pay.example")
    inventory = commands.add_parser("inventory", help="write the inventory again from the page's files and reasons")
    inventory.add_argument("--check", action="store_true", help="only say whether it is up to date")
    return parser


def _origin(text: str) -> str:
    """Only https, or loopback: over plain HTTP anybody on the way could show the check what it wants to see."""
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise argparse.ArgumentTypeError("an https address is needed (http on loopback only)")
    return f"{parts.scheme}://{parts.netloc}"


def _check(page_url: str) -> int:
    try:
        differences = asyncio.run(check_page(page_url))
    except PageUnreachable as reason:
        sys.stderr.write(f"undercroft page: {reason}\n")
        return UNREACHABLE_EXIT
    for difference in differences:
        sys.stdout.write(f"DIFFERS  {difference}\n")
    if not differences:
        sys.stdout.write(f"{page_url}: the page, its files and its headers are those of the inventory\n")
    return DIFFERS_EXIT if differences else 0


def _inventory(*, check: bool) -> int:
    text = inventory_text()
    if not check:
        INVENTORY.write_text(text, encoding="utf-8")
        return 0
    if INVENTORY.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"undercroft page: {INVENTORY.name} is not up to date: run `undercroft page inventory`\n")
    return DIFFERS_EXIT
