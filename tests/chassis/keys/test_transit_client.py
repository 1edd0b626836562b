"""What only a transit server can do wrong, over real HTTP."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from infra.chassis.keys import CannotDestroy, KeyServiceUnfit, KeyServiceUnreachable, KeyUnusable, new_key
from infra.chassis.keys.frame import HEADER_BYTES
from infra.chassis.keys.transit import Server, TransitKeyService
from infra.sandbox.transit.app import KEY_ACTS, Faults, Transit, build_transit
from tests.support.serving import free_port, served
from tests.support.transit import KEY_NAME, Engine, bearer_file, transit_engine

CONTEXT, ELSEWHERE = b"tenant a", b"tenant b"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with transit_engine(tmp_path) as opened:
        yield opened


@pytest.fixture
async def keys(engine: Engine) -> AsyncIterator[TransitKeyService]:
    service = engine.service()
    yield service
    await service.close()


async def opens(keys: TransitKeyService, wrapped: bytes, context: bytes = CONTEXT) -> bool:
    try:
        await keys.unwrap(wrapped, context)
    except KeyUnusable:
        return False
    return True


@pytest.mark.control("UC-3.6.1")
async def test_a_server_that_ignores_the_context_is_refused_at_the_start(engine: Engine, keys: TransitKeyService):
    engine.transit.misbehave(Faults(ignores_associated_data=True))

    with pytest.raises(KeyServiceUnfit, match="ignores associated data"):
        await keys.prove()


@pytest.mark.control("UC-3.6.1")
async def test_even_on_such_a_server_a_wrap_opens_in_its_own_context_only(engine: Engine, keys: TransitKeyService):
    engine.transit.misbehave(Faults(ignores_associated_data=True))
    wrapped = await keys.wrap(new_key(), CONTEXT)
    text = f"vault:v1:{b64encode(wrapped[HEADER_BYTES:]).decode()}"
    moved = engine.transit.engine.reseal(KEY_NAME, {"ciphertext": text})

    assert moved["key_version"] == 1
    assert await opens(keys, wrapped)
    assert not await opens(keys, wrapped, ELSEWHERE)


async def test_a_serving_process_needs_no_right_but_to_seal_and_open(engine: Engine):
    keys = TransitKeyService(engine.as_service, 20)
    await keys.prove()

    assert await opens(keys, await keys.wrap(new_key(), CONTEXT))
    for beyond in (keys.rotate(), keys.destroy_before(1), keys.describe()):
        with pytest.raises(KeyServiceUnreachable, match="Forbidden"):
            await beyond
    await keys.close()


@pytest.mark.control("UC-3.6.1")
@pytest.mark.parametrize("flag", ["exportable", "allow_plaintext_backup"])
async def test_a_root_that_could_be_taken_out_of_the_server_stops_the_start(engine: Engine, flag: str):
    engine.transit.engine.create("open", {flag: True})
    keys = TransitKeyService(replace(engine.server, key_name="open"), 20)

    with pytest.raises(KeyServiceUnfit, match="exportable"):
        await keys.prove()
    await keys.close()


@pytest.mark.control("UC-3.6.1")
async def test_a_destroyed_version_does_not_come_back_when_the_servers_settings_are_undone(
    engine: Engine, keys: TransitKeyService
):
    wrapped = await keys.wrap(new_key(), CONTEXT)
    await keys.destroy_before(await keys.rotate())

    engine.transit.engine.keys[KEY_NAME].min_decryption_version = 1

    assert list(engine.transit.engine.keys[KEY_NAME].versions) == [2]
    with pytest.raises((KeyUnusable, KeyServiceUnreachable)):
        await keys.unwrap(wrapped, CONTEXT)


async def test_a_server_that_only_says_it_deleted_is_not_believed(
    engine: Engine, keys: TransitKeyService, monkeypatch: pytest.MonkeyPatch
):
    await keys.rotate()
    monkeypatch.setitem(KEY_ACTS, "trim", lambda *_: None)

    with pytest.raises(CannotDestroy, match="keeps the versions"):
        await keys.destroy_before(2)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_passes_is_tried_again_and_not_for_ever(engine: Engine, keys: TransitKeyService, status: int):
    wrapped = await keys.wrap(new_key(), CONTEXT)
    engine.transit.misbehave(Faults(refuses=status, times=2))
    assert await opens(keys, wrapped)

    asked = engine.transit.asked
    engine.transit.misbehave(Faults(refuses=status))
    with pytest.raises(KeyServiceUnreachable):
        await keys.unwrap(wrapped, CONTEXT)

    assert engine.transit.asked == asked + 3


async def test_a_rotation_is_asked_for_once(engine: Engine, keys: TransitKeyService):
    engine.transit.misbehave(Faults(refuses=503))
    asked = engine.transit.asked

    with pytest.raises(KeyServiceUnreachable):
        await keys.rotate()

    assert engine.transit.asked == asked + 1


async def test_a_slow_server_is_not_waited_for_and_does_not_hold_the_event_loop(engine: Engine):
    keys, hasty, turns = engine.service(), engine.service(timeout_seconds=0.3), 0
    engine.transit.misbehave(Faults(seconds=2))
    asked = asyncio.ensure_future(hasty.wrap(new_key(), CONTEXT))
    while not asked.done():
        await asyncio.sleep(0.01)
        turns += 1

    with pytest.raises(KeyServiceUnreachable, match="in time"):
        await asked
    assert turns > 5
    engine.transit.misbehave(Faults())
    assert await opens(keys, await keys.wrap(new_key(), CONTEXT))
    for each in (keys, hasty):
        await each.close()


async def test_a_server_that_was_stopped_and_started_again_is_found_again(tmp_path: Path):
    transit, port = Transit("s.root"), free_port()
    transit.mounts.add("transit")
    transit.engine.create(KEY_NAME, {})
    server = Server(f"http://127.0.0.1:{port}", "transit", KEY_NAME, bearer_file(tmp_path, "s.root"))
    keys = TransitKeyService(server, 20)
    async with served(build_transit(transit), port):
        wrapped = await keys.wrap(new_key(), CONTEXT)

    with pytest.raises(KeyServiceUnreachable, match="ConnectionError"):
        await keys.unwrap(wrapped, CONTEXT)
    async with served(build_transit(transit), port):
        assert await opens(keys, wrapped)
    await keys.close()


async def test_a_replaced_bearer_is_used_without_a_restart(engine: Engine, keys: TransitKeyService):
    wrapped = await keys.wrap(new_key(), CONTEXT)
    tokens = engine.transit.doors.tokens
    tokens["s.new"] = tokens.pop(engine.transit.root_token)
    with pytest.raises(KeyServiceUnreachable, match="Forbidden"):
        await keys.unwrap(wrapped, CONTEXT)

    bearer_file(engine.server.bearer_file.parent, "s.new").replace(engine.server.bearer_file)

    assert await opens(keys, wrapped)


async def test_a_missing_bearer_file_and_a_sealed_server_are_named(engine: Engine, keys: TransitKeyService):
    engine.transit.misbehave(Faults(sealed=True))
    with pytest.raises(KeyServiceUnreachable, match="sealed"):
        await keys.prove()
    engine.transit.misbehave(Faults())
    engine.server.bearer_file.unlink()

    with pytest.raises(KeyServiceUnreachable, match="bearer file is missing"):
        await keys.prove()


async def test_no_proxy_of_the_environment_sees_what_is_asked(
    engine: Engine, keys: TransitKeyService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")

    assert await opens(keys, await keys.wrap(new_key(), CONTEXT))


AnyRequest = Request[Any, Any, Any]
Answering = Callable[[AnyRequest], Awaitable[Response[Any]]]


def elsewhere(answer: Answering) -> Litestar:
    handler = HTTPRouteHandler("/{path:path}", http_method=["GET", "POST", "PUT"], status_code=200)(answer)
    return Litestar([handler], openapi_config=None, logging_config=None)


async def test_a_redirect_is_not_followed_and_carries_the_bearer_nowhere(engine: Engine):
    reached: list[str] = []
    port, other_port = free_port(), free_port()

    async def redirect(request: AnyRequest) -> Response[Any]:
        return Response(b"", status_code=307, headers={"location": f"http://127.0.0.1:{other_port}/v1/x"})

    async def reach(request: AnyRequest) -> Response[Any]:
        reached.append(request.headers.get("x-vault-token", ""))
        return Response({"data": {"ciphertext": "vault:v1:AAAA"}}, status_code=200)

    async with served(elsewhere(redirect), port), served(elsewhere(reach), other_port):
        keys = TransitKeyService(replace(engine.server, url=f"http://127.0.0.1:{port}"), 20)
        with pytest.raises(KeyServiceUnreachable):
            await keys.wrap(new_key(), CONTEXT)
        await keys.close()

    assert reached == []


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"{}", b'{"data": null}', b'{"data": {"ciphertext": "hello", "plaintext": "?"}}', b"[1]"],
)
async def test_an_answer_that_is_none_is_not_taken_for_one(engine: Engine, content: bytes):
    port = free_port()

    async def answer(request: AnyRequest) -> Response[Any]:
        return Response(content, status_code=200, media_type="application/json")

    async with served(elsewhere(answer), port):
        keys = TransitKeyService(replace(engine.server, url=f"http://127.0.0.1:{port}"), 20)
        with pytest.raises(KeyServiceUnreachable):
            await keys.wrap(new_key(), CONTEXT)
        with pytest.raises((KeyServiceUnreachable, KeyUnusable)):
            await keys.unwrap(b"\x02\x03\x00\x00\x00\x01" + bytes(92), CONTEXT)
        await keys.close()
