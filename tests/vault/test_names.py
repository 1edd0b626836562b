"""Names are looked up in threads of their own: a name server that does not answer holds up nothing else."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.chassis.ids import new_id
from tests.support.waiting import wait_until
from tests.vault.bench import Bench, Person
from tests.vault.destination import Forwarding
from tests.vault.receiver import Receiver, deliver, endpoint, happen
from vault.names import TENANT_THREADS_MAX, THREADS_MAX, Found, Names, NamesBusy, NamesResolver, asked_by

SILENT = "booking.example"


@dataclass(slots=True)
class Silence:
    """A name server that says nothing about `example` until it is told to."""

    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    silent, genuine = Silence(), socket.getaddrinfo

    def ask(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if not str(host).endswith(".example"):
            return genuine(host, port, *rest, **more)
        silent.asked.append(host)
        silent.over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    yield silent
    silent.over.set()


@pytest.fixture
async def one_thread() -> AsyncIterator[None]:
    """For everything else in this process. Afterwards as many as usual: the loop is that of all tests of a worker."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as narrow:
        loop.set_default_executor(narrow)
        yield
        loop.set_default_executor(ThreadPoolExecutor())


@pytest.mark.control("UC-F.1")
@pytest.mark.usefixtures("one_thread")
async def test_a_name_server_that_does_not_answer_holds_up_no_other_forward(
    bench: Bench, ready: Forwarding, silence: Silence, monkeypatch: pytest.MonkeyPatch
):
    """A lookup in the one thread that there is would keep an answer from being searched."""
    looked_up, look_up = list[tuple[str, str]](), Names.look_up

    async def noted(names: Names, host: str, port: int, tenant_id: str) -> Found:
        looked_up.append((host, tenant_id))
        return await look_up(names, host, port, tenant_id)

    monkeypatch.setattr(Names, "look_up", noted)
    slow = await ready.registered(url=f"https://{SILENT}/v1/guarantees")
    waiting = [asyncio.ensure_future(ready.sent(destination_id=slow)) for _ in range(3)]
    asked = [(SILENT, ready.person.tenant_id)] * 3
    await wait_until(lambda: (looked_up, silence.asked) == (asked, [SILENT]))

    other = await ready.sent()
    silence.over.set()

    assert (other["state"], other["withheld"]) == ("forwarded", None)
    assert {view["reason"] for view in await asyncio.gather(*waiting)} == {"destination_unreachable"}
    assert (silence.asked, len(ready.company.received)) == ([SILENT], 1)


async def filled(names: Names, silence: Silence, tenant_id: str) -> list[asyncio.Task[Found]]:
    """As many names of this tenant as it may have under way; none is answered."""
    hosts, asked = [f"{place}.{tenant_id}.example" for place in range(TENANT_THREADS_MAX)], len(silence.asked)
    waiting = [asyncio.create_task(names.look_up(host, 443, tenant_id)) for host in hosts]
    await wait_until(lambda: len(silence.asked) == asked + TENANT_THREADS_MAX)
    return waiting


@pytest.mark.control("UC-F.1")
async def test_a_tenant_whose_names_nobody_answers_is_refused_more_and_others_still_have_theirs_looked_up(
    silence: Silence,
):
    names = Names()
    waiting = await filled(names, silence, "tnt_a")

    with pytest.raises(NamesBusy):
        await names.look_up("one.more.example", 443, "tnt_a")
    with asked_by("tnt_a"), pytest.raises(NamesBusy):
        await NamesResolver(names).resolve("one.more.example", 443)
    with asked_by("tnt_b"):
        found = await NamesResolver(names).resolve("localhost", 443, socket.AF_UNSPEC)
    again = asyncio.ensure_future(names.look_up("0.tnt_a.example", 443, "tnt_a"))

    assert found
    silence.over.set()
    assert await asyncio.gather(*waiting, again) == [[]] * (TENANT_THREADS_MAX + 1)
    names.close()


async def test_when_every_thread_waits_no_further_name_is_asked_for_and_later_it_is_again(silence: Silence):
    names, waiting = Names(), list[asyncio.Task[Found]]()
    for number in range(THREADS_MAX // TENANT_THREADS_MAX):
        waiting += await filled(names, silence, f"tnt_{number}")

    for one in waiting[:3]:
        one.cancel()
    with pytest.raises(NamesBusy):
        await names.look_up("another.example", 443, "tnt_another")
    silence.over.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    await wait_until(lambda: names.under_way == 0)

    assert await names.look_up("another.example", 443, "tnt_0") == []
    names.close()


async def test_who_asks_for_the_courier_gets_addresses_to_be_judged_and_an_error_for_what_is_no_name():
    resolver = NamesResolver(Names())

    found = await resolver.resolve("localhost", 443, socket.AF_UNSPEC)

    assert {(one["hostname"], one["port"]) for one in found} == {("localhost", 443)}
    assert {one["host"] for one in found} <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match="no name"):
        await resolver.resolve("a" * 70 + ".example")
    await resolver.close()


async def test_what_the_courier_looks_up_counts_as_the_tenants_it_delivers_for(
    alone: Bench, ada: Person, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    asked, look_up = list[str](), Names.look_up

    async def noted(names: Names, host: str, port: int, tenant_id: str) -> Found:
        asked.append(tenant_id)
        return await look_up(names, host, port, tenant_id)

    monkeypatch.setattr(Names, "look_up", noted)
    await endpoint(alone, ada.tenant_id, receiver.url.replace("127.0.0.1", "localhost"))
    await happen(alone, ada, new_id("tok"))

    assert await deliver(alone) == 1
    assert set(asked) == {ada.tenant_id}
