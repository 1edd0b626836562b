"""The packet filter's rules, loaded into networks of their own where this machine has such a thing."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.dev import packets
from infra.dev.enclosure import Inside
from infra.dev.ports import HOST
from infra.dev.users import NUMBERS

LISTENER, PROCESSOR, OTHER, NOBODYS = 7200, 7400, 7500, 7600
BESIDE = packets.RULES / "vault-beside.nft"
TRIES = """
import os, socket, sys
user, *ports = map(int, sys.argv[1:])
os.setuid(user)
for port in ports:
    with socket.socket() as calling:
        calling.settimeout(5)
        print(calling.connect_ex(("127.0.0.1", port)) == 0)
"""
REFUSED = """
import errno, socket, sys
with socket.socket() as calling:
    calling.settimeout(5)
    print(errno.errorcode[calling.connect_ex(("127.0.0.1", int(sys.argv[1])))])
"""
UNTRACKED = f"""
table ip untracked {{
    chain leaving {{
        type filter hook output priority raw
        tcp sport {NOBODYS} notrack
    }}
}}
"""
"""What answers from there belongs to no connection that is known."""


@pytest.fixture
def inside() -> Iterator[Inside | None]:
    """None on a machine that gives us no network of our own."""
    try:
        made = Inside()
    except OSError:
        yield None
        return
    with made.socket() as listener, made.socket() as processor, made.socket() as other:
        for listening, port in ((listener, LISTENER), (processor, PROCESSOR), (other, OTHER)):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, port))
            listening.listen()
        yield made


def reached(inside: Inside, user: int) -> list[bool]:
    """Whether the listener, the processor and the other one are, by `user` in this network."""
    answer = inside.run([sys.executable, "-I", "-c", TRIES, *map(str, (user, LISTENER, PROCESSOR, OTHER))])
    assert answer.stderr == ""
    return [line == "True" for line in answer.stdout.split()]


def beside(inside: Inside, nft: str) -> subprocess.CompletedProcess[str]:
    given = {"listens": LISTENER, "callers": HOST, "reaches": f"{HOST} . {PROCESSOR}"}
    named = [f"-Dvault={NUMBERS['vault']}", *(f"-D{name}={{ {value} }}" for name, value in given.items())]
    return inside.run([nft, "-I", str(packets.RULES), *named, "-f", str(BESIDE)])


def test_alone_in_a_network_nobody_reaches_what_is_not_named(inside: Inside | None):
    if inside is None:
        return
    before = reached(inside, 0)

    why = inside.filter([LISTENER], [PROCESSOR])

    assert before == [True, True, True]
    assert reached(inside, 0) == (before if why else [True, True, False])


def test_a_network_through_which_nothing_goes_has_rules_too(inside: Inside | None):
    if inside is not None and not inside.filter([], []):
        assert reached(inside, 0) == [False, False, False]


def test_beside_others_the_vaults_user_reaches_the_processor_only_and_others_are_left_alone(inside: Inside | None):
    nft = packets.find()
    if inside is None or nft is None:
        return

    loaded = beside(inside, nft)

    if loaded.returncode == 0:
        assert reached(inside, NUMBERS["vault"]) == [False, True, False]
        assert reached(inside, 0) == [True, True, True]
    else:
        assert inside.filter([LISTENER], [PROCESSOR]) != "", "what the kernel lacks it lacks for both"


def test_beside_others_what_the_kernel_sends_by_itself_is_not_taken_for_the_vaults(
    inside: Inside | None, tmp_path: Path
):
    """It has no user. Most of it is of a known connection; some never is, as IPv6's looking for neighbours."""
    nft, untracked = packets.find(), tmp_path / "untracked.nft"
    if inside is None or nft is None:
        return
    untracked.write_text(UNTRACKED)
    loaded = [beside(inside, nft), inside.run([nft, "-f", str(untracked)])]

    answer = inside.run([sys.executable, "-I", "-c", REFUSED, str(NOBODYS)])

    if all(one.returncode == 0 for one in loaded):
        assert (answer.stdout.strip(), answer.stderr) == ("ECONNREFUSED", "")


def test_without_nft_it_is_said_what_is_missing(inside: Inside | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packets, "PLACES", "/nowhere")

    if inside is not None:
        assert inside.filter([LISTENER], [PROCESSOR]) == packets.NOT_INSTALLED


def test_rules_are_never_loaded_into_the_network_of_the_machine():
    def no_socket() -> socket.socket:
        raise AssertionError("they were")

    assert packets.load([LISTENER], [PROCESSOR], make=no_socket) == packets.NOT_ALONE
