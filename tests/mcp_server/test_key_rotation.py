"""mcp_server follows the gateway's keys over time, and changes its own: real HTTP, and a clock that can be moved."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from gateway import rotation
from gateway.bearers import Bearer, Bearers, CallerKind
from infra.chassis.client import PeerClient
from infra.chassis.clock import FixedClock
from infra.chassis.http import build_app
from infra.chassis.jwk import signing_key, stamp
from infra.chassis.ring import KeyFiles, SigningRing
from infra.chassis.secret import Secret
from mcp_server.identity import BearerCheck, BearerNotValid, ClientKey
from mcp_server.signing_keys import ASK_AGAIN_AFTER, FRESH_FOR, METADATA_PATH, SigningKeys
from tests.support.serving import free_port, served

ENDPOINT = "https://mcp.test/brands/larkspur/mcp"
TENANT, BRAND = "tnt_north", "brd_larkspur"


def pem(key: Any = None) -> bytes:
    made = key or Ed25519PrivateKey.generate()
    content: bytes = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return content


@dataclass(slots=True)
class Publisher:
    """The gateway's two documents, as it serves them, and how often they were asked for."""

    folder: Path
    clock: FixedClock
    issuer: str = ""
    asked: int = 0

    @property
    def bearers(self) -> Bearers:
        return Bearers(key=SigningRing.open(self.folder, "bearer"), issuer=self.issuer, clock=self.clock)

    def routes(self) -> list[ControllerRouterHandler]:
        @get(METADATA_PATH)
        async def metadata() -> dict[str, str]:
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/oauth/jwks"}

        @get("/oauth/jwks")
        async def jwks() -> Response[dict[str, Any]]:
            self.asked += 1
            return Response(self.bearers.jwks())

        return [metadata, jwks]

    def rotate(self, **how: bool) -> None:
        rotation.rotate(KeyFiles(self.folder, "bearer"), self.clock.now(), **{"at_once": True, **how})

    def bearer(self) -> str:
        person = Bearer(
            kind=CallerKind.ASSISTANT,
            client_id="ast_x",
            audience=ENDPOINT,
            scopes=frozenset({"catalog"}),
            subject_id="sub_x",
            tenant_id=TENANT,
            brand_id=BRAND,
            conversation_id="cnv_x",
        )
        return self.bearers.mint(person)


@pytest.fixture
async def publisher(tmp_path: Path, clock: FixedClock) -> AsyncIterator[Publisher]:
    for name in ("bearer", "bearer.next"):
        (tmp_path / f"{name}.pem").write_bytes(pem())
    port = free_port()
    made = Publisher(tmp_path, clock, f"http://127.0.0.1:{port}")
    async with served(build_app(service="gateway", routes=made.routes()), port):
        yield made


@pytest.fixture
async def check(publisher: Publisher, clock: FixedClock) -> AsyncIterator[BearerCheck]:
    client = PeerClient("gateway", publisher.issuer)
    keys = SigningKeys(client, issuer=publisher.issuer, clock=clock)
    yield BearerCheck(keys, issuer=publisher.issuer, clock=clock)
    await client.close()


async def is_let_in(check: BearerCheck, compact: str) -> bool:
    try:
        caller = await check.caller(compact, audience=ENDPOINT, tenant_id=TENANT, brand_id=BRAND)
    except BearerNotValid:
        return False
    return caller.subject_id == "sub_x"


@pytest.mark.control("UC-G.3")
async def test_a_rotation_is_followed_without_asking_because_the_next_key_was_published_before(
    publisher: Publisher, check: BearerCheck
):
    before = publisher.bearer()
    assert await is_let_in(check, before)

    publisher.rotate()

    assert await is_let_in(check, publisher.bearer())
    assert await is_let_in(check, before)
    assert publisher.asked == 1


@pytest.mark.control("UC-G.3")
async def test_a_bearer_of_the_former_key_is_good_to_its_last_second_and_the_key_is_gone_soon_after(
    publisher: Publisher, check: BearerCheck, clock: FixedClock
):
    assert await is_let_in(check, publisher.bearer())
    last, copied = publisher.bearer(), signing_key(Secret((publisher.folder / "bearer.pem").read_bytes()))
    publisher.rotate()

    clock.advance(timedelta(seconds=599))
    to_the_last = await is_let_in(check, last)
    clock.advance(FRESH_FOR)
    now = int(clock.now().timestamp())
    claims = {**jwt.decode(last, options={"verify_signature": False}), "iat": now, "exp": now + 60}
    stolen = jwt.encode(claims, copied, algorithm="EdDSA", headers=jwt.get_unverified_header(last))

    assert to_the_last
    assert not await is_let_in(check, stolen)
    assert await is_let_in(check, publisher.bearer())


@pytest.mark.control("UC-G.3")
async def test_a_key_it_never_heard_of_is_asked_for_at_once_but_not_for_every_made_up_name(
    publisher: Publisher, check: BearerCheck, clock: FixedClock
):
    assert await is_let_in(check, publisher.bearer())
    publisher.rotate()
    publisher.rotate()
    clock.advance(ASK_AGAIN_AFTER)

    followed = await is_let_in(check, publisher.bearer())
    for number in range(5):
        made_up = jwt.encode({}, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": f"made-up-{number}"})
        assert not await is_let_in(check, made_up)

    assert (followed, publisher.asked) == (True, 2)


@pytest.mark.control("UC-G.3")
async def test_a_compromised_key_is_out_with_the_next_asking(
    publisher: Publisher, check: BearerCheck, clock: FixedClock
):
    """Ten minutes at most: whoever cannot wait starts mcp_server again."""
    stolen = publisher.bearer()
    assert await is_let_in(check, stolen)
    publisher.rotate(compromised=True)
    publisher.rotate()
    clock.advance(ASK_AGAIN_AFTER)
    assert await is_let_in(check, publisher.bearer())

    assert not await is_let_in(check, stolen)


@pytest.fixture
def own_key(tmp_path: Path, clock: FixedClock) -> ClientKey:
    (tmp_path / "client.pem").write_bytes(pem())
    return ClientKey(tmp_path / "client.pem", client_id="mcp_main", issuer="https://gateway.test", clock=clock)


def is_signed_by(own_key: ClientKey, key: Any) -> bool:
    compact = own_key.fields()["client_assertion"]
    algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
    try:
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False}
        jwt.decode(compact, key.public_key(), algorithms=[algorithm], options=options)
    except jwt.PyJWTError:
        return False
    return True


@pytest.mark.control("UC-G.3")
def test_its_own_key_is_exchanged_as_a_file_also_for_one_of_the_other_kind(own_key: ClientKey, tmp_path: Path):
    file = tmp_path / "client.pem"
    for following in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        (tmp_path / "client.pem.new").write_bytes(pem(following))
        (tmp_path / "client.pem.new").replace(file)

        assert is_signed_by(own_key, following)


@pytest.mark.parametrize("content", [None, b"", b"not a key", pem(ec.generate_private_key(ec.SECP384R1()))])
def test_an_own_key_that_cannot_be_read_leaves_the_former_one_signing(
    own_key: ClientKey, tmp_path: Path, content: bytes | None
):
    file = tmp_path / "client.pem"
    former, before = signing_key(Secret(file.read_bytes())), stamp(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert stamp(file) != before

    meanwhile = is_signed_by(own_key, former)
    mended = Ed25519PrivateKey.generate()
    file.write_bytes(pem(mended))

    assert meanwhile
    assert is_signed_by(own_key, mended)


def test_a_file_that_holds_no_usable_key_is_refused_at_the_start(tmp_path: Path, clock: FixedClock):
    (tmp_path / "client.pem").write_bytes(b"not a key")
    with pytest.raises(ValueError, match=r"."):
        ClientKey(tmp_path / "client.pem", client_id="mcp_main", issuer="https://gateway.test", clock=clock)
