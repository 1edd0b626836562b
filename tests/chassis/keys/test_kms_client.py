"""What only KMS can do wrong. Against moto where moto is truthful, else against an answer as AWS documents it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from infra.chassis.keys import CannotDestroy, KeyServiceUnfit, KeyServiceUnreachable, new_key
from infra.chassis.keys.kms import Account, KmsKeyService
from tests.support import kms
from tests.support.serving import free_port, served

WRAPPED = b"\x02\x04\x00\x00\x00\x01" + bytes(180)
AnyRequest = Request[Any, Any, Any]


@asynccontextmanager
async def answering(folder: Path, said: str, goes_on: asyncio.Event) -> AsyncIterator[Account]:
    """A KMS that refuses everything in the same words, once it goes on."""

    async def answer(request: AnyRequest) -> Response[Any]:
        await goes_on.wait()
        return Response(b'{"__type": "%s"}' % said.encode(), status_code=400, media_type="application/x-amz-json-1.1")

    port = free_port()
    app = Litestar([HTTPRouteHandler("/", http_method="POST", status_code=200)(answer)], openapi_config=None)
    async with served(app, port):
        yield kms.account(folder, f"http://127.0.0.1:{port}")
        goes_on.set()


@pytest.mark.parametrize("said", ["AccessDeniedException", "DisabledException", "KMSInvalidStateException"])
async def test_who_may_not_ask_or_whose_key_is_switched_off_learns_nothing_about_the_wrap(tmp_path: Path, said: str):
    goes_on = asyncio.Event()
    goes_on.set()
    async with answering(tmp_path, said, goes_on) as account:
        keys = kms.service(account, 20.0)
        with pytest.raises(KeyServiceUnreachable, match=said):
            await keys.unwrap(WRAPPED, b"tenant a")
        await keys.close()


async def test_a_slow_kms_is_not_waited_for(tmp_path: Path):
    async with answering(tmp_path, "AccessDeniedException", asyncio.Event()) as account:
        keys = kms.service(account, timeout_seconds=0.5)
        for _ in range(2):  # the first one loads boto3's model of KMS, which takes longer than half a second by itself
            with pytest.raises(KeyServiceUnreachable, match="in time"):
                await keys.unwrap(WRAPPED, b"tenant a")
        await keys.close()


@pytest.mark.control("UC-3.6.1")
async def test_a_root_whose_bytes_came_from_outside_stops_the_start(tmp_path: Path):
    with kms.kms_server() as server:
        account = kms.account(tmp_path, server.url)
        keys = kms.service(account, 20.0)
        made = await asyncio.to_thread(keys.client.create_key, Origin="EXTERNAL")
        name = f"alias/{account.key_name}-v1"
        await asyncio.to_thread(keys.client.create_alias, AliasName=name, TargetKeyId=made["KeyMetadata"]["KeyId"])

        with pytest.raises(KeyServiceUnfit, match="outside"):
            await keys.prove()
        await keys.close()


async def test_without_a_root_nothing_is_wrapped_and_the_missing_name_is_said(tmp_path: Path):
    with kms.kms_server() as server:
        account = kms.account(tmp_path, server.url)
        keys = KmsKeyService(replace(account, key_name="nobody-made-this"), 20.0)

        with pytest.raises(KeyServiceUnreachable, match="nobody-made-this-v1"):
            await keys.wrap(new_key(), b"tenant a")
        with pytest.raises(CannotDestroy):
            await keys.destroy_before(1)
        await keys.close()
