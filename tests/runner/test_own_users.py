"""A house whose services are users of their own, where this machine allows it; and what is said where it does not."""

import errno
import itertools
import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.chassis.walls import Wall
from infra.dev import crossing, enclosure, peers, users, walls
from infra.dev.house import House, Options
from infra.dev.keyring import Keyring
from infra.dev.ports import Ports, free_ports
from infra.dev.postgres import Cluster, programs
from infra.dev.settings import ROOT
from tests.runner.test_commands import undercroft

SERVICES = ("sandbox", "vault", "memory")
POWERLESS = """
from infra.chassis.walls import process
from infra.dev import peers, users
process.forbid_new_privileges()
process.drop_capabilities([], keep_low_ports=False)
print(peers.missing(users.Users()))
"""
"""Root without root's powers, as in many a container."""
ROOT_ONLY = "only root may start a process as somebody else"


@pytest.fixture(scope="module")
def parted(throwaway_folder: Path) -> Iterator[House]:
    wanted = Options(services=SERVICES, durable=False, close_ports=True, own_users=True)
    with House(throwaway_folder / "parted", Ports.free(), wanted) as running:
        yield running


def as_user(number: int, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        list(map(str, command)), user=number, group=number, extra_groups=[], capture_output=True, check=False
    )


def said(house: House, name: str = walls.OWN_USER) -> Wall:
    (wall,) = [wall for wall in walls.standing(house.folder) if wall.name == name]
    return wall


def asks_database(house: House, user: str, role: str, *, group: str = "vault", password: str = "") -> str:
    """What PostgreSQL answers `user`, who says he is `role`, at the vault's cluster."""
    socket, program, number = house.clusters["vault"].socket_folder, programs() / "psql", users.NUMBERS[user]
    answer = subprocess.run(
        [program, "-X", "-A", "-t", "-w", "-h", socket, "-U", role, "-d", "vault", "-c", "SELECT current_user"],
        user=number,
        group=number,
        extra_groups=[users.CLUSTER_GROUPS[group]],
        env={"PGPASSWORD": password, "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or answer.stderr


@pytest.mark.control("UC-2.3")
def test_each_service_is_a_user_without_an_account_or_the_report_says_why_not(parted: House):
    real = {name: psutil.Process(pid).uids() for name, pid in parted.pids.items() if name in users.NUMBERS}

    assert set(real) == {*SERVICES, "courier"}
    assert said(parted).stands == parted.users.stand
    if parted.users.stand:
        assert {name: set(uids) for name, uids in real.items()} == {name: {users.NUMBERS[name]} for name in real}
        assert not {users.NUMBERS[name] for name in real} & {entry.pw_uid for entry in pwd.getpwall()}
    else:
        assert {uid for uids in real.values() for uid in uids} == {os.geteuid()}
        assert said(parted).why
    assert parted.ended() == {}


def test_status_and_harden_say_the_same_as_the_runner(parted: House):
    told = undercroft("status", f"--folder={parted.folder}").stdout
    report = undercroft("harden", "--report", f"--folder={parted.folder}").stdout

    for name in (walls.OWN_USER, walls.DATABASE_PEER):
        assert name in told
        assert said(parted, name).why in told
        assert f"{name} " in report
        assert said(parted, name).why in report


@pytest.mark.control("UC-2.3")
def test_no_service_reads_or_reaches_what_is_anothers(parted: House):
    if not parted.users.stand:
        assert said(parted).why == parted.users.why
        return
    key, pid = parted.keyring.path("vault/root.key"), parted.pids["vault"]
    forbidden: list[str | Path] = [key, f"/proc/{pid}/environ", f"/proc/{pid}/mem", parted.logs / "vault.log"]

    for name in ("memory", "courier", "sandbox"):
        for path in forbidden:
            assert b"Permission denied" in as_user(users.NUMBERS[name], "/bin/cat", path).stderr, (name, path)
        killed = as_user(users.NUMBERS[name], "/bin/sh", "-c", f"kill -0 {pid}")
        assert b"not permitted" in killed.stderr
    assert as_user(users.NUMBERS["vault"], "/bin/cat", key).stdout == key.read_bytes()
    source = ROOT / "vault" / "app.py"
    if not source.stat().st_mode & stat.S_IWOTH:  # as some make a clone that is everybody's
        assert as_user(users.NUMBERS["memory"], "/usr/bin/touch", source).returncode != 0


@pytest.mark.control("UC-2.3")
def test_the_vaults_database_lets_in_the_vaults_user_and_nobody_else_whatever_he_knows(parted: House):
    if not said(parted, walls.DATABASE_PEER).stands:
        assert said(parted, walls.DATABASE_PEER).why == peers.missing(parted.users) != ""
        return
    password, refused = parted.keyring.password("vault", "app"), "Peer authentication failed"

    assert asks_database(parted, "vault", "vault_app") == "vault_app"
    assert asks_database(parted, "courier", "vault_app") == "vault_app"
    for role in ("vault_owner", "postgres"):
        assert refused in asks_database(parted, "vault", role)
    for name, given in itertools.product(("memory", "gateway", "sandbox"), ("", password)):
        assert refused in asks_database(parted, name, "vault_app", password=given)
        assert "Permission denied" in asks_database(parted, name, "vault_app", group="house", password=given)
    assert "passfile" not in parted.keyring.read("vault/app.url").decode()


def test_the_machines_own_accounts_are_not_touched_by_what_the_database_sees(parted: House):
    views = [cluster.folder / "passwd" for cluster in parted.clusters.values()]
    ours = [f"{peers.account(name)}:" for name in users.NUMBERS]

    assert not any(account in peers.ACCOUNTS.read_text() for account in ours)
    assert str(parted.folder) not in Path("/proc/self/mountinfo").read_text()
    if said(parted, walls.DATABASE_PEER).stands:
        assert all(account in view.read_text() for account in ours for view in views)


def test_a_machine_on_which_nothing_can_be_mounted_keeps_its_passwords_and_says_so():
    tried = subprocess.run([sys.executable, "-c", POWERLESS], cwd=ROOT, capture_output=True, text=True, check=True)

    assert tried.stdout.strip() == "no accounts of its own in /etc/passwd: Operation not permitted"


def test_every_file_of_a_service_is_its_own_and_of_nobody_else(parted: House):
    for folder in parted.keyring.folder.iterdir():
        for path in (folder, *folder.rglob("*")):
            assert path.stat().st_uid == parted.users.number(folder.name), path
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(parted.keyring.folder.stat().st_mode) & 0o066 == 0
    assert not list(parted.keyring.path("vault").glob("owner*"))


def test_a_restarted_service_is_the_same_user_and_a_written_key_stays_its_own(parted: House):
    before = psutil.Process(parted.pids["memory"]).uids()

    parted.keyring.publish_grant_keys()
    parted.restart("memory")

    assert psutil.Process(parted.pids["memory"]).uids() == before
    assert parted.keyring.path("memory/grant.jwks").stat().st_uid == parted.users.number("memory")


def test_the_vaults_commands_leave_nothing_that_the_vault_cannot_read(parted: House):
    done = undercroft("keys", "list", "--folder", str(parted.folder))
    rotated = undercroft("keys", "round", "--folder", str(parted.folder))

    assert done.returncode == 0, done.stderr
    assert rotated.returncode == 0, rotated.stderr
    owners = {path.stat().st_uid for path in parted.keyring.path("vault").rglob("*")}
    assert owners == {parted.users.number("vault")}


def test_a_kept_house_changes_hands_and_goes_on(throwaway_folder: Path):
    ports, folder = Ports.free(), throwaway_folder / "kept"
    owners, rules = [], []
    (folder / "walls").mkdir(parents=True)
    reports = [folder / "walls" / f"{name}.json" for name in (enclosure.NETWORK, enclosure.FILTER)]
    for report in reports:  # as it was left by a house that had them
        report.write_text(json.dumps({"name": report.stem, "stands": True, "why": ""}))
    for own in (True, False):
        with House(folder, ports, Options(services=("sandbox",), durable=False, own_users=own)) as house:
            owners.append({path.stat().st_uid for path in (folder / "sandbox").iterdir()})
            expected = house.users.number("sandbox")
            assert owners[-1] == {expected}
            rules.append((house.clusters["house"].data / "pg_hba.conf").read_text().splitlines()[-1])
            asked = house.clusters["house"].peers
            assert rules[-1] == f"local all all {'peer map=services' if asked else 'scram-sha-256'}"
            assert house.clusters["house"].sql("SELECT 1").strip() == "1"

    assert owners[-1] == {os.geteuid()}
    assert rules[-1] == "local all all scram-sha-256"
    assert [json.loads(report.read_text())["why"] for report in reports] == [users.NOT_ASKED] * 2


def test_compiled_files_that_are_not_ours_to_open_stop_no_start(monkeypatch: pytest.MonkeyPatch):
    before = users.of_this_machine()

    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(errno.EPERM, "as for files of a user who has no number here")

    monkeypatch.setattr(Path, "chmod", refuse)

    assert users.of_this_machine() == before


def test_a_number_that_is_an_accounts_is_not_used(monkeypatch: pytest.MonkeyPatch):
    taken = pwd.struct_passwd(("somebody", "x", users.NUMBERS["memory"], 1, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [taken])

    found = users.of_this_machine()

    number = f"the number {users.NUMBERS['memory']} is an account's on this machine"
    assert found.why == (number if os.geteuid() == 0 else ROOT_ONLY)
    assert found.word("memory") is None
    assert found.number("memory") == os.geteuid()


@pytest.fixture
def tree() -> Iterator[Path]:
    """Everybody's to read. Not pytest's folder, which nobody else may pass."""
    with tempfile.TemporaryDirectory(prefix="undercroft-tests-") as folder:
        package = Path(folder) / "infra"
        package.mkdir()
        (package / "open.py").touch()
        for path in (Path(folder), package, package / "open.py"):
            path.chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("closed", ["infra/closed.py", "infra", "."])
def test_a_tree_that_others_cannot_read_is_found_out_and_the_first_closed_file_is_named(tree: Path, closed: str):
    (tree / "infra" / "closed.py").touch(mode=0o644)
    (tree / closed).chmod(0o600)

    program = [sys.executable, "-I", "-S", crossing.__file__, "65520", f"{tree},infra"]
    answer = subprocess.run(program, capture_output=True, text=True, check=False)

    assert (answer.returncode, answer.stderr) == (1, "")
    if os.geteuid() != 0:
        assert "nobody can become user 65520" in answer.stdout
    else:  # where Python itself is closed to others, that is named first
        assert answer.stdout.endswith(
            (f"{tree / closed} cannot be read by other users", "cannot be run by other users")
        )


def test_what_a_service_put_a_link_to_in_place_of_its_key_is_neither_read_nor_written(tmp_path: Path):
    keyring, outside = Keyring(tmp_path / "secrets"), tmp_path / "shadow"
    outside.write_text("root's own")
    keyring.folder.mkdir(mode=0o700)
    keyring.write("vault/a.key", b"first")
    vault = keyring.path("vault")
    (vault / "b.key.new").symlink_to(outside)
    (vault / "b.key").symlink_to(outside)
    (vault / "inner").symlink_to(tmp_path, target_is_directory=True)

    for reading in (keyring.read, keyring.private_key):
        with pytest.raises(OSError, match="symbolic"):
            reading("vault/b.key")
    with pytest.raises(OSError, match=r"inner"):
        keyring.write("vault/inner/shadow", b"gone")
    keyring.write("vault/b.key", b"second")

    assert outside.read_text() == "root's own"
    assert keyring.read("vault/b.key") == b"second"


def test_links_put_where_the_carriers_certificates_are_to_be_written_lead_nowhere(tmp_path: Path):
    """By a gateway that was broken into, before root starts the house again: it would have root write through them."""
    keyring, outside = Keyring(tmp_path / "secrets"), tmp_path / "shadow"
    outside.write_text("root's own")
    carriers = keyring.path("gateway/carriers")
    carriers.mkdir(mode=0o700, parents=True)
    for name in ("roots.pem", "carrier.pem", "certificates.json"):
        (carriers / name).symlink_to(outside)
    (carriers / "roots.pem.new").symlink_to(outside)

    keyring.make([])

    assert outside.read_text() == "root's own"
    assert not any(path.is_symlink() for path in carriers.iterdir())
    assert b"BEGIN CERTIFICATE" in keyring.read("gateway/carriers/roots.pem")


def test_a_folder_of_carriers_that_is_a_link_stops_the_start_and_nothing_is_written_behind_it(tmp_path: Path):
    keyring, elsewhere = Keyring(tmp_path / "secrets"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    keyring.path("gateway").mkdir(mode=0o700, parents=True)
    keyring.path("gateway/carriers").symlink_to(elsewhere, target_is_directory=True)

    with pytest.raises(OSError, match="carriers"):
        keyring.make([])

    assert list(elsewhere.iterdir()) == []


def test_what_the_database_server_put_links_to_in_its_own_folder_root_does_not_write_through(throwaway_folder: Path):
    cluster, outside = Cluster(throwaway_folder / "linked", "vault", durable=False), throwaway_folder / "shadow"
    outside.write_text("root's own")
    try:
        cluster.start()
        cluster.stop()
        for name in ("undercroft.conf", "pg_hba.conf", "pg_ident.conf"):
            (cluster.data / name).unlink()
            (cluster.data / name).symlink_to(outside)

        cluster.start()

        assert cluster.sql("SELECT 1").strip() == "1"
    finally:
        cluster.stop()
    assert outside.read_text() == "root's own"


def test_a_folder_for_the_socket_that_is_a_link_or_somebody_elses_is_not_taken(throwaway_folder: Path):
    cluster, outside = Cluster(throwaway_folder / "socketless", "vault"), throwaway_folder / "outside"
    outside.mkdir(mode=0o700)
    cluster.folder.mkdir(parents=True)
    cluster.socket_folder.symlink_to(outside, target_is_directory=True)
    before = outside.stat()

    with pytest.raises(OSError, match="socket"):
        cluster.prepare()

    assert (outside.stat().st_uid, outside.stat().st_mode) == (before.st_uid, before.st_mode)
    if os.geteuid() == 0:
        cluster.socket_folder.unlink()
        cluster.socket_folder.mkdir(mode=0o700)
        os.chown(cluster.socket_folder, users.NUMBERS["memory"], users.NUMBERS["memory"])
        with pytest.raises(PermissionError, match="it belongs to user"):
            cluster.prepare()


def test_a_link_where_ports_are_reserved_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the temporary folder anybody may make one of that name, before root does."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / f"undercroft-ports-{os.geteuid()}").symlink_to(outside, target_is_directory=True)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))

    with pytest.raises(OSError, match="undercroft-ports"):
        free_ports(1)

    assert list(outside.iterdir()) == []


def test_what_a_vault_says_of_its_walls_moves_nothing_on_the_terminal_and_is_read_through_no_link(tmp_path: Path):
    own = tmp_path / "walls" / "vault"
    own.mkdir(parents=True)
    said = {"pid": 1, "walls": [{"name": "files", "stands": False, "why": "\x1b[2Jall\u202e is well\x07"}]}
    (own / "walls.json").write_text(json.dumps(said))

    (wall,) = walls.standing(tmp_path)
    (own / "walls.json").rename(own / "elsewhere.json")
    (own / "walls.json").symlink_to(own / "elsewhere.json")

    assert wall.why == "[2Jall is well"
    with pytest.raises(OSError, match=r"walls\.json"):
        walls.standing(tmp_path)


def test_handing_a_folder_over_gives_away_nothing_it_only_points_to(tmp_path: Path):
    outside, folder = tmp_path / "shadow", tmp_path / "vault"
    outside.write_text("root's own")
    folder.mkdir()
    (folder / "own").touch()
    (folder / "soft").symlink_to(outside)
    os.link(outside, folder / "hard")

    users.give(folder, users.NUMBERS["vault"])

    given = users.NUMBERS["vault"] if os.geteuid() == 0 else os.geteuid()
    assert outside.stat().st_uid == os.geteuid()
    assert {folder.stat().st_uid, (folder / "own").stat().st_uid} == {given}
    users.give(folder, os.geteuid())
