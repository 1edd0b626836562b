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

OPEN_SECONDS, CLOSED_SECONDS = 10.0, 0.3
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
OWN_LISTENER = 7300
WAYS = f"""
import os, socket, sys
from contextlib import closing

VAULT, SECONDS = int(sys.argv[1]), float(sys.argv[2])

def by(user, do):
    os.seteuid(user)
    try:
        return do()
    finally:
        os.seteuid(0)

def made(user, family, kind, protocol=0, port=None, host="127.0.0.1"):
    one = by(user, lambda: socket.socket(family, kind, protocol))  # whose it is, is who made it
    one.settimeout(SECONDS)
    if port is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
    return one

def datagram(sender, receiver):
    sender.sendto(b"digits", receiver.getsockname())
    return receiver.recv(16) == b"digits"

def udp():
    return datagram(made(VAULT, socket.AF_INET, socket.SOCK_DGRAM), made(0, socket.AF_INET, socket.SOCK_DGRAM, 0, 0))

def udp_answer():
    there, vault = (made(user, socket.AF_INET, socket.SOCK_DGRAM, 0, 0) for user in (0, VAULT))
    return datagram(there, vault) and datagram(vault, there)

def udp_to_the_listeners_port():
    there = made(0, socket.AF_INET, socket.SOCK_DGRAM)
    return datagram(there, made(VAULT, socket.AF_INET, socket.SOCK_DGRAM, 0, {OWN_LISTENER}))

def stream(caller, listening, family=socket.AF_INET, protocol=0, port=0, host="127.0.0.1", seconds=SECONDS):
    with closing(made(listening, family, socket.SOCK_STREAM, protocol, port, host)) as there:
        there.listen()
        with closing(made(caller, family, socket.SOCK_STREAM, protocol)) as calling:
            calling.settimeout(seconds)
            calling.connect(there.getsockname()[:2])
            there.settimeout(seconds)
            with closing(by(listening, there.accept)[0]) as accepted:
                accepted.sendall(b"digits")
                return calling.recv(16) == b"digits"

def icmp():
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as allowed:
        allowed.write("0 2147483647")
    vault = made(VAULT, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    vault.sendto(bytes((8, 0, 0, 0, 0, 1, 0, 1)) + b"digits", ("127.0.0.1", 0))
    return vault.recv(64).endswith(b"digits")

WAYS = {{
    "its listener": lambda: stream(0, VAULT, port={OWN_LISTENER}, seconds={OPEN_SECONDS}),
    "UDP": udp,
    "an answer by UDP": udp_answer,
    "UDP to its listener's port": udp_to_the_listeners_port,
    "TCP": lambda: stream(VAULT, 0),
    "a listener nobody knows of": lambda: stream(0, VAULT),
    "IPv6": lambda: stream(VAULT, 0, socket.AF_INET6, host="::1"),
    "its listener by IPv6": lambda: stream(0, VAULT, socket.AF_INET6, port={OWN_LISTENER}, host="::1"),
    "SCTP": lambda: stream(VAULT, 0, protocol=socket.IPPROTO_SCTP),
    "ICMP": icmp,
}}
for name, way in WAYS.items():
    try:
        print(name, way(), sep=": ")
    except OSError:
        print(name, False, sep=": ")
"""
"""Each from or to a socket that is the vault's, and one that is not."""
LET_THROUGH = "the rules are loaded, and let through what they name nowhere"
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


def beside(inside: Inside, nft: str, listens: int = LISTENER) -> subprocess.CompletedProcess[str]:
    given = {"listens": listens, "callers": HOST, "reaches": f"{HOST} . {PROCESSOR}"}
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


def ways(inside: Inside, seconds: float) -> set[str]:
    """Those that are open."""
    answer = inside.run([sys.executable, "-I", "-c", WAYS, str(NUMBERS["vault"]), str(seconds)])
    assert answer.stderr == ""
    return {line.removesuffix(": True") for line in answer.stdout.splitlines() if line.endswith(": True")}


@pytest.mark.control("UC-1.3")
def test_beside_others_nothing_but_its_listeners_answers_leaves_the_vault_by_any_protocol(inside: Inside | None):
    """Also not as an answer to whoever found a socket that code inside the vault has opened."""
    nft = packets.find()
    if inside is None or nft is None:
        return
    before = ways(inside, OPEN_SECONDS)
    assert before >= {"its listener", "UDP", "an answer by UDP", "UDP to its listener's port", "TCP"}

    loaded = beside(inside, nft, OWN_LISTENER)

    if loaded.returncode == 0:
        assert ways(inside, CLOSED_SECONDS) == {"its listener"}
    else:
        assert inside.filter([LISTENER], [PROCESSOR]) != "", "what the kernel lacks it lacks for both"


def test_the_look_at_the_rules_never_takes_a_port_that_they_name(inside: Inside | None):
    """As a port the kernel picks is, once in some thousand starts: it was then said that they let through anything."""
    if inside is None or packets.find() is None:
        return
    picked, setting = range(40_000, 40_010), "/proc/sys/net/ipv4/ip_local_port_range"
    narrowed = inside.run(["/bin/sh", "-c", f"echo {picked.start} {picked.stop - 1} > {setting}"])
    if narrowed.returncode == 0:
        named = inside.filter([*picked, packets.FIRST_PORT], [])
        assert named != LET_THROUGH
        assert named == "" or named.startswith("nft: ")


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
