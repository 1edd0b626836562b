"""What can be typed after `python3 -m infra`. Standard library only: `--help` works on a bare machine."""

import argparse
from collections.abc import Sequence
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / ".undercroft"
HOUSE = DATA / "house"
DELEGATED = (
    "policy", "record", "page", "keys", "tokens", "custody", "ledger", "inbox", "webhooks", "routes", "destinations",
    "astray",
)  # fmt: skip
"""Commands of a service, which reads what follows itself."""

INTRODUCTION = """\
Undercroft: payments and memory under AI agents. No model guards anything.

The first run of any command makes a virtual environment in .venv and installs what is needed, once."""
CLOSING = """\
Start with `python3 -m infra demo`. Data is kept in .undercroft/, which git ignores. Every command also exists as the
installed script: `.venv/bin/undercroft demo`."""


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="undercroft",
        description=INTRODUCTION,
        epilog=CLOSING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_house_commands(commands)
    _add_work_commands(commands)
    return whole


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the arguments; what `test`, `policy`, `record` and `page` do not know they pass on."""
    options, rest = parser().parse_known_args(arguments)
    if options.command in DELEGATED:
        options.arguments = rest
    elif options.command == "test":
        options.pytest = [item for item in rest if item != "--"]
    elif rest:
        parser().error(f"not understood: {' '.join(rest)}")
    return options


Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives the type no public name


def _add_house_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="start a fresh house, play one purchase and one memory, show it, clean up")
    demo.add_argument("--keep", action="store_true", help="keep the demo's data, logs and wire captures afterwards")

    up = commands.add_parser("up", help="start the house and keep it running until Ctrl-C; its data is kept")
    _add_folder(up)
    up.add_argument("--base-port", type=int, default=7100, metavar="PORT", help="first port of the pattern (7100)")
    up.add_argument(
        "--port", action="append", default=[], type=_named_port, metavar="NAME=PORT", help="one listener's own port"
    )
    up.add_argument(
        "--open-network",
        action="store_true",
        help="let the vault connect anywhere on this machine: for destinations you listen with yourself",
    )
    up.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])

    down = commands.add_parser("down", help="stop the house from any shell, also what a killed one left behind")
    _add_folder(down)
    status = commands.add_parser("status", help="show what runs, and where it answers")
    _add_folder(status)
    logs = commands.add_parser("logs", help="show one process's log")
    logs.add_argument(
        "name", nargs="?", metavar="NAME", help="e.g. gateway, vault, postgres-vault; without it, list them"
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what is added")
    logs.add_argument("-n", "--lines", type=int, default=200, help="how many of the last lines (200)")
    _add_folder(logs)
    reset = commands.add_parser("reset", help="delete the house's data: cards, memories, keys, orders, logs")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    _add_folder(reset)
    harden = commands.add_parser("harden", help="say which walls this machine can build, and which stand in the house")
    harden.add_argument("--report", action="store_true", required=True, help="look, and change nothing")
    _add_folder(harden)


def _add_work_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    commands.add_parser(
        "test",
        help="run the tests on real PostgreSQL; further arguments go to pytest",
        usage="undercroft test [pytest arguments, e.g. tests/vault -k charge]",
    )
    commands.add_parser("check", help="format, lint, types, import contracts and tests: what CI runs")
    bench = commands.add_parser("bench", help="measure our figures and their floors in one run")
    bench.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (all)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    bench.add_argument("--strict", action="store_true", help="fail if a bar is missed")
    _add_delegated_commands(commands)
    commands.add_parser("lock", help="make infra/locks/*.txt again from pyproject.toml")


def _add_delegated_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    policy = commands.add_parser(
        "policy",
        help="ask the policies their cases, or see what other rules would change: as `python -m gateway policy`",
        usage="undercroft policy test [PATH] [--rules FOLDER] | diff A B [--last N] [--tenant TENANT]",
        add_help=False,
    )
    record = commands.add_parser(
        "record",
        help="check the gateway's record, also offline from an export; decide it again: as `python -m gateway record`",
        usage="undercroft record verify [EXPORT] … | replay [--tenant TENANT]",
        add_help=False,
    )
    ledger = commands.add_parser(
        "ledger",
        help="compare the vault's ledger with charges, refunds and disputes, or show it: as `python -m vault ledger`",
        usage="undercroft ledger check [--tenant TENANT] | show [--tenant TENANT [--charge CHARGE]]",
        add_help=False,
    )
    inbox = commands.add_parser(
        "inbox",
        help="the processor's events at the vault, and looking again at one: as `python -m vault inbox`",
        usage="undercroft inbox list --tenant TENANT [--limit N] | replay --tenant TENANT EVENT",
        add_help=False,
    )
    routes = commands.add_parser(
        "routes",
        help="which processor a tenant's charges are given to: as `python -m vault routes`",
        usage="undercroft routes list | add --processor NAME [--position N] [--currency EUR] … | remove ROUTE",
        add_help=False,
    )
    keys = commands.add_parser(
        "keys",
        help="the vault's keys: list, rotate, shred a card or a tenant, purge, export: as `python -m vault keys`",
        usage="undercroft keys list | rotate [TENANT] | shred --card TENANT TOKEN | purge [--dry-run] | round | export",
        add_help=False,
    )
    destinations = commands.add_parser(
        "destinations",
        help="where stored cards may be sent: register, list, withdraw: as `python -m vault destinations`",
        usage="undercroft destinations add FILE | list TENANT | withdraw TENANT DESTINATION",
        add_help=False,
    )
    astray = commands.add_parser(
        "astray",
        help="payments that took money for a charge that had failed: as `python -m vault astray`",
        usage="undercroft astray list --tenant TENANT | seen-to --tenant TENANT PAYMENT",
        add_help=False,
    )
    for command in (policy, record, keys, ledger, inbox, routes, destinations, astray):
        _add_folder(command)
    commands.add_parser(
        "page",
        help="compare a card page with its inventory, as a browser receives it: as `python -m vault page`",
        usage="undercroft page check URL | inventory [--check]",
        add_help=False,
    )
    _add_webhooks(commands)
    _add_tokens(commands)
    _add_custody(commands)


def _add_custody(commands: "Commands[argparse.ArgumentParser]") -> None:
    custody = commands.add_parser(
        "custody",
        help="the custodians of the vault's root, their shares, opening a sealed vault: as `python -m vault custody`",
        usage="undercroft custody enrol NAME | generate [--threshold K] NAME … | enter NAME | verify NAME | "
        "reshare [--threshold K] NAME … | status",
        add_help=False,
    )
    _add_folder(custody)


def _add_webhooks(commands: "Commands[argparse.ArgumentParser]") -> None:
    webhooks = commands.add_parser(
        "webhooks",
        help="what the vault tells tenants: endpoints, what is owed, sending it again: as `python -m vault webhooks`",
        usage="undercroft webhooks endpoints list|add|rotate|disable|enable … | list | replay | purge",
        add_help=False,
    )
    _add_folder(webhooks)


def _add_tokens(commands: "Commands[argparse.ArgumentParser]") -> None:
    tokens = commands.add_parser(
        "tokens",
        help="the vault's tokens: plant canaries and see who used one; versions of the cards' fingerprints; cards from"
        " another vault and to one; whether cards are asked about at the card updater: as `python -m vault tokens`",
        usage="undercroft tokens canary TENANT BRAND | canary-uses TENANT | fingerprints | fingerprint-key | "
        "import-key TENANT | seal CARDS --to KEY --out FILE | import FILE [--sha256 HEX] --tenant TENANT --brand BRAND"
        " --result FILE | export --tenant TENANT --to KEY --out FILE | updater TENANT [--on|--off]",
        add_help=False,
    )
    _add_folder(tokens)


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("--folder", type=Path, default=HOUSE, help="the house's data (.undercroft/house)")


def _named_port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    if not name or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PORT, e.g. gateway=8100")
    return name, int(port)
