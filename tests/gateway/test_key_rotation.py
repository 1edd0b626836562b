"""Keys rotate while requests run; what is gone, private or of another kind checks nothing."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import rotation
from gateway.__main__ import main
from gateway.bearers import Bearer, BearerRefused, Bearers, CallerKind
from gateway.rotation import RotationRefused
from gateway.settings import Keys, load_keys
from infra.chassis.clock import FixedClock
from infra.chassis.engine import create_engine
from infra.chassis.grants import GrantVerifier
from infra.chassis.jwk import JwksFile
from infra.chassis.keys import RingFile, SoftwareKeyService
from infra.chassis.ring import KeyFiles, SigningRing
from infra.chassis.secret import Secret
from memory.app import build
from memory.prepared import Preparations
from memory.seal import SubjectKeys
from tests.gateway.shop import AGENT, Ground, Shop, Talk, open_shop
from tests.support.database import DatabaseMaker
from tests.support.keys import root_file
from tests.support.serving import free_port, served
from tests.support.waiting import wait_until

ISSUER = "https://gateway.test"
PURPOSES = ("bearer", "grant", "sender")


def pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    made.mkdir()
    for name in ("bearer", "bearer.next", "grant", "grant.next", "sender", "record"):
        (made / f"{name}.pem").write_bytes(pem())
        (made / f"{name}.pem").chmod(0o600)
    (made / "contact.key").write_bytes(os.urandom(32))
    return made


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


@pytest.fixture
def bearers(folder: Path, clock: FixedClock) -> Bearers:
    return Bearers(key=SigningRing.open(folder, "bearer"), issuer=ISSUER, clock=clock)


def minted(bearers: Bearers) -> str:
    return bearers.mint(Bearer(kind=CallerKind.AGENT, client_id="agt_x", audience=ISSUER, scopes=frozenset({"memory"})))


def rotate(folder: Path, clock: Any, *purposes: str, **how: bool) -> None:
    for purpose in purposes:
        rotation.rotate(KeyFiles(folder, purpose), clock.now(), **{"at_once": True, **how})


@asynccontextmanager
async def own_memory(ground: Ground, database: DatabaseMaker, trusted: Path) -> AsyncIterator[str]:
    """A memory that takes the grants of keys in `trusted`; its address."""
    engine, port = create_engine(Secret(database("memory").app_dsn)), free_port()
    issuer = ground.house.urls["gateway"]
    keys = JwksFile(trusted, ground.clock)
    verifier = GrantVerifier(audience="memory", issuer=issuer, keys=keys, clock=ground.clock)
    app = build(
        engine=engine,
        verifier=verifier,
        keys=SubjectKeys(SoftwareKeyService(RingFile(root_file(trusted.parent)), ground.clock)),
        clock=ground.clock,
        prepared=Preparations(ground.clock),
    )
    async with served(app, port):
        yield f"http://127.0.0.1:{port}"
    await engine.dispose()


def publish(keys: Keys, ground: Ground, to: Path) -> None:
    """What whoever rotates does next: hand the public halves on, in one step."""
    written = to.with_name("published.new")
    written.write_text(json.dumps(keys.grant.now().jwks(ground.clock.now())))
    written.replace(to)


@pytest.mark.control("UC-G.3")
async def test_five_rotations_of_every_key_under_load_refuse_no_request(
    ground: Ground, database: DatabaseMaker, folder: Path, tmp_path: Path
):
    trusted, keys = tmp_path / "grant.jwks", load_keys(folder)
    publish(keys, ground, trusted)
    async with (
        own_memory(ground, database, trusted) as memory_url,
        open_shop(replace(ground, keys=keys), memory_url=memory_url) as shop,
    ):
        talk = await shop.verified_chat()
        old_bearer = await shop.bearer(AGENT)
        statuses: Counter[int] = Counter()
        over = asyncio.Event()
        callers = [asyncio.create_task(_recalling(shop, talk, statuses, over, fresh=at % 2 == 0)) for at in range(6)]
        for _ in range(5):
            rotate(folder, ground.clock, *PURPOSES)
            publish(keys, ground, trusted)
            await _more(statuses, 12)
        over.set()
        await asyncio.gather(*callers)
        afterwards = await shop.call("GET", f"/v1/conversations/{talk.conversation_id}", old_bearer)

    assert set(statuses) == {200}
    assert afterwards.status_code == 200, "a bearer from before the first rotation"
    assert len(keys.grant.now().published(ground.clock.now())) == 7, "current, next and five that retire"


async def _recalling(shop: Shop, talk: Talk, statuses: Counter[int], over: asyncio.Event, *, fresh: bool) -> None:
    while not over.is_set():
        if fresh:
            shop.machine_bearers.clear()
        answer = await talk.post("/v1/recalls", query="tea")
        statuses[answer.status_code] += 1


async def _more(statuses: Counter[int], how_many: int) -> None:
    goal = statuses.total() + how_many
    await wait_until(lambda: statuses.total() >= goal)


@pytest.mark.control("UC-G.3")
def test_a_bearer_of_the_retiring_key_is_good_until_its_own_end(folder: Path, bearers: Bearers, clock: FixedClock):
    compact = minted(bearers)
    rotate(folder, clock, "bearer")
    clock.advance(timedelta(seconds=599))

    assert bearers.check(compact, audience=ISSUER).client_id == "agt_x"
    assert len(bearers.jwks()["keys"]) == 3
    clock.advance(timedelta(seconds=6))
    assert len(bearers.jwks()["keys"]) == 2, "its last bearer has ended, and so has the key"


@pytest.mark.control("UC-G.3")
def test_a_compromised_key_checks_nothing_from_that_moment(folder: Path, bearers: Bearers, clock: FixedClock):
    compact = minted(bearers)
    rotate(folder, clock, "bearer", compromised=True)

    with pytest.raises(BearerRefused):
        bearers.check(compact, audience=ISSUER)
    assert bearers.check(minted(bearers), audience=ISSUER).client_id == "agt_x"


@pytest.mark.control("UC-G.3")
def test_two_processes_on_one_folder_check_what_the_other_signs_at_once(
    folder: Path, bearers: Bearers, clock: FixedClock
):
    other = Bearers(key=SigningRing.open(folder, "bearer"), issuer=ISSUER, clock=clock)
    for _ in range(3):
        rotate(folder, clock, "bearer")
        assert other.check(minted(bearers), audience=ISSUER).client_id == "agt_x"
        assert bearers.check(minted(other), audience=ISSUER).client_id == "agt_x"


@pytest.mark.control("UC-G.3")
def test_the_next_key_waits_until_receivers_have_read_that_it_comes(folder: Path):
    files, made = KeyFiles(folder, "grant"), (folder / "grant.next.pem").stat().st_mtime
    now = datetime.fromtimestamp(made, UTC)

    with pytest.raises(RotationRefused):
        rotation.rotate(files, now + timedelta(minutes=15) - timedelta(seconds=1))
    before = files.read().others[0].key_id

    assert rotation.rotate(files, now + timedelta(minutes=15)) == before


def test_without_a_next_key_one_is_made_and_nothing_rotates(folder: Path, clock: FixedClock):
    (folder / "grant.next.pem").unlink()
    signing = KeyFiles(folder, "grant").read().key_id

    with pytest.raises(RotationRefused):
        rotate(folder, clock, "grant", compromised=True)

    after = KeyFiles(folder, "grant").read()
    assert (after.key_id, len(after.others)) == (signing, 1)


class Killed(Exception):
    """As `kill -9` between two system calls."""


@pytest.mark.parametrize("survives", range(4))
@pytest.mark.control("UC-G.3")
def test_a_rotation_killed_at_any_step_refuses_nothing_and_can_be_repeated(
    folder: Path, bearers: Bearers, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, survives: int
):
    """Its steps are renames: of the retiring keys, of the next to the current, of a new next."""
    compact, real = minted(bearers), Path.replace
    steps: list[str] = []

    def replaced(path: Path, target: Path) -> Path:
        if len(steps) == survives:
            raise Killed
        steps.append(target.name)
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replaced)
        ended = _outcome(lambda: rotate(folder, clock, "bearer"))
    between = minted(bearers)
    checked = [bearers.check(each, audience=ISSUER).client_id for each in (compact, between)]
    again = _outcome(lambda: rotate(folder, clock, "bearer")) or _outcome(lambda: rotate(folder, clock, "bearer"))

    assert (ended is Killed, checked) == (survives < 3, ["agt_x", "agt_x"])
    assert again in {None, RotationRefused}
    rotate(folder, clock, "bearer")
    assert [bearers.check(each, audience=ISSUER).client_id for each in (compact, between)] == ["agt_x", "agt_x"]


def _outcome(act: Callable[[], None]) -> type[Exception] | None:
    try:
        act()
    except (Killed, RotationRefused) as error:
        return type(error)
    return None


@pytest.mark.parametrize("name", ["bearer.pem", "bearer.next.pem", "bearer.retiring.jwks"])
def test_files_that_become_unusable_leave_the_keys_of_before(folder: Path, bearers: Bearers, name: str):
    compact = minted(bearers)
    (folder / name).write_bytes(b"not a key")

    assert bearers.check(compact, audience=ISSUER).client_id == "agt_x"
    assert bearers.check(minted(bearers), audience=ISSUER).client_id == "agt_x"
    with pytest.raises(ValueError, match=r".*"):
        SigningRing.open(folder, "bearer")


async def test_public_keys_are_published_and_nothing_else(ground: Ground, folder: Path):
    rotate(folder, ground.clock, *PURPOSES)
    keys = load_keys(folder)
    async with open_shop(replace(ground, keys=keys)) as shop:
        answers = [await shop.client.get(f"/.well-known/{name}.json") for name in ("jwks", "grant-jwks")]
        discovered = await shop.client.get("/oauth/jwks")

    assert answers[0].json() == discovered.json()
    for answer, ring in zip(answers, (keys.bearer, keys.grant), strict=True):
        assert answer.headers["content-type"].startswith("application/jwk-set+json")
        assert [key["kid"] for key in answer.json()["keys"]] == [
            key.key_id for key in ring.now().published(ground.clock.now())
        ]
        assert all(key.keys() <= {"kty", "crv", "x", "kid", "alg", "use", "exp"} for key in answer.json()["keys"])


def test_the_command_shows_rotates_and_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("UNDERCROFT_GATEWAY_KEYS_FOLDER", str(folder))
    signing = KeyFiles(folder, "grant").read().key_id

    codes = [main(["keys", "rotate", *more]) for more in (["grant"], ["--at-once", "grant"])]
    refused = capsys.readouterr().err
    codes.append(main(["keys", "status"]))
    shown = capsys.readouterr()
    with pytest.raises(SystemExit) as unknown:
        main(["keys", "rotate", "record"])

    assert (codes, unknown.value.code) == ([1, 0, 0], 2)
    assert "the next key is" in refused
    assert f"grant retiring {signing} until" in shown.out
    assert [line.split()[:2] for line in shown.out.splitlines()] == [
        ["bearer", "current"],
        ["bearer", "next"],
        ["grant", "current"],
        ["grant", "next"],
        ["grant", "retiring"],
        ["sender", "current"],
    ]
    assert {path.stat().st_mode & 0o077 for path in folder.glob("grant*")} == {0}
