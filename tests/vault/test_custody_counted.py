"""What counts at the door of a sealed vault: a share that is recorded, a key with which the key service is proved."""

import asyncio
from typing import Any

import httpx2
import pytest

from infra.chassis.keys import SoftwareKeyService
from tests.vault.test_custody_door import Sealed, standing
from tests.vault.test_custody_door import sealed as sealed  # noqa: PLC0414 - a fixture
from vault.custodians.gate import Gate
from vault.custodians.record import Entry, Record, RecordBroken


async def served(sealed: Sealed) -> int:
    """What a caller gets who asks for anything."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gate: Any = Gate(app, sealed.custody, operations=True)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=gate), base_url="http://vault") as caller:
        return (await caller.post("/v1/charges")).status_code


@pytest.mark.control("UC-3.6.1.2")
async def test_nothing_is_served_before_the_key_service_is_proved_with_what_custodians_opened(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
):
    proving, proved = asyncio.Event(), asyncio.Event()

    async def prove(_keys: SoftwareKeyService) -> None:
        proving.set()
        await proved.wait()

    monkeypatch.setattr(SoftwareKeyService, "prove", prove)
    async with standing(sealed):
        await sealed.enter("ada")
        last = asyncio.ensure_future(sealed.enter("ben"))
        await proving.wait()
        meanwhile = (await served(sealed), sealed.custody.closed, await sealed.custody.answers())
        proved.set()
        answer = await last
        afterwards = await served(sealed)

    assert meanwhile == (503, True, False)
    assert (answer.done, answer.sealed, afterwards) == (True, False, 200)


@pytest.mark.parametrize("failure", [RecordBroken("line 5 is no entry"), OSError("no space left")])
@pytest.mark.control("UC-3.6.1.2")
async def test_a_share_that_could_not_be_recorded_does_not_count(
    sealed: Sealed, failure: Exception, monkeypatch: pytest.MonkeyPatch
):
    """The record breaks after it was read for the ceremony, and is mended before the next custodian comes."""

    def broken(_record: Record, _entry: Entry, *, unless_there: bool = False) -> None:
        if not unless_there:  # the ceremony's own, which stands there
            raise failure

    async with standing(sealed):
        monkeypatch.setattr(Record, "add", broken)
        refused = await sealed.enter("ada")
        monkeypatch.undo()
        second = await sealed.enter("ben")
        given, closed = sealed.greetings[-1].given, sealed.custody.closed
        again = await sealed.enter("ada")

    assert not refused.done
    assert (given, second.done, second.missing, closed) == ([], True, 1, True)
    assert (again.done, again.sealed) == (True, False)
    assert sealed.acts()[-3:] == ["entered", "entered", "opened"]
