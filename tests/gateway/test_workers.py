"""Several workers on one port: watched, replaced, ended together, counted together."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from infra.chassis.http import require_free
from infra.chassis.settings import Bind
from infra.chassis.workers import DEATHS_MAX, UNUSABLE, Supervisor
from infra.dev.house import House, Options
from infra.dev.ports import Ports
from tests.gateway.test_service import run_gateway
from tests.support.waiting import BUSY_SECONDS_MAX, wait_until

UP_SECONDS = 90.0
"""A deadline for a busy machine; a worker starts in two seconds on an idle one."""


@pytest.fixture(scope="module")
def crew(throwaway_folder: Path) -> Iterator[House]:
    """A gateway of two workers, and nothing else."""
    options = Options(services=("gateway",), durable=False, gateway_workers=2)
    with House(throwaway_folder / "crew", Ports.free(), options) as running:
        yield running


def workers(house: House) -> set[int]:
    children = psutil.Process(house.pids["gateway"]).children()
    return {child.pid for child in children if alive(child.pid)}


def listeners(house: House) -> set[int]:
    """Workers whose port is open."""
    return {pid for pid in workers(house) if _listens(pid, house.ports.named()["gateway"])}


def _listens(pid: int, port: int) -> bool:
    try:
        opened = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in opened)


async def asked(house: House, path: str = "/health") -> httpx2.Response:
    """On a connection of its own: the kernel gives it to one of the workers."""
    async with httpx2.AsyncClient(base_url=house.urls["gateway"]) as client:
        return await client.get(path)


async def test_two_processes_listen_on_one_port_and_their_counts_are_one_sum(crew: House):
    await wait_until(lambda: len(listeners(crew)) == 2, seconds=UP_SECONDS)
    before = await counted(crew)

    answers = [await asked(crew) for _ in range(20)]
    sums = {await counted(crew) for _ in range(10)}

    assert {answer.status_code for answer in answers} == {200}
    assert sums == {before + 20}


async def counted(house: House) -> int:
    text = (await asked(house, "/metrics")).text
    found = re.findall(r'http_requests_total\{method="GET",route="/health",status="200"\} ([\d.]+)', text)
    return sum(int(float(number)) for number in found)


async def test_a_killed_worker_is_replaced_and_the_other_goes_on_answering(crew: House):
    await wait_until(lambda: len(listeners(crew)) == 2, seconds=UP_SECONDS)
    killed, other = sorted(workers(crew))

    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: killed not in listeners(crew), seconds=UP_SECONDS)
    answers = [await asked(crew) for _ in range(5)]
    await wait_until(lambda: len(listeners(crew)) == 2, seconds=UP_SECONDS)

    assert {answer.status_code for answer in answers} == {200}
    assert other in workers(crew)
    assert "worker_ended" in crew.log_tail("gateway")


async def test_a_port_that_somebody_has_is_not_shared_with_a_stranger(crew: House, tmp_path: Path):
    """Another supervisor on the same address does not start: the workers' way of sharing is theirs alone."""
    await wait_until(lambda: len(listeners(crew)) == 2, seconds=UP_SECONDS)
    before = workers(crew)

    environment = psutil.Process(crew.pids["gateway"]).environ()
    ended = await asyncio.to_thread(
        run_gateway, **{k: v for k, v in environment.items() if k.startswith("UNDERCROFT_")}
    )

    assert ended.returncode != 0
    assert '"refused": "EADDRINUSE"' in ended.stdout
    assert workers(crew) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
async def test_when_the_supervisor_ends_all_end_and_the_port_is_free(crew: House, how: signal.Signals):
    await wait_until(lambda: len(listeners(crew)) == 2, seconds=UP_SECONDS)
    crewed = workers(crew)

    os.kill(crew.pids["gateway"], how)
    await wait_until(lambda: "gateway" in crew.ended() and not any(alive(pid) for pid in crewed), seconds=UP_SECONDS)
    await wait_until(lambda: is_free(crew.ports.named()["gateway"]), seconds=UP_SECONDS)
    code = crew.ended()["gateway"]
    await asyncio.to_thread(crew.restart, "gateway")

    assert code == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    assert not crewed & workers(crew)


def is_free(port: int) -> bool:
    """A process that shows as ended may keep its port until its last thread is gone."""
    try:
        require_free(Bind("127.0.0.1", port))
    except OSError:
        return False
    return True


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("workers_said", ["0", "-1", "33", "two"])
def test_an_odd_number_of_workers_is_refused_at_start(tmp_path: Path, workers_said: str):
    secret = tmp_path / "secret"
    secret.write_text("postgresql+asyncpg://nobody@localhost/nothing")
    named = dict.fromkeys(("PUBLIC_URL", "VAULT_URL", "VAULT_PAGE_URL", "MEMORY_URL", "INBOX_URL"), "http://x")
    named |= {"BIND": "127.0.0.1:0", "TEXTING_URL": "http://x", "TEXTING_FROM": "+15550100", "SANDBOX": "true"}
    named |= {"KEYS_FOLDER": str(tmp_path), "CARRIERS_FOLDER": str(tmp_path), "WORKERS": workers_said}
    named |= {"DATABASE_URL_FILE": str(secret), "TEXTING_ACCOUNT_FILE": str(secret)}

    ended = run_gateway(**{f"UNDERCROFT_GATEWAY_{name}": value for name, value in named.items()})

    assert ended.returncode == 2
    assert "UNDERCROFT_GATEWAY_WORKERS" in ended.stderr


@pytest.mark.parametrize(("code", "ends_with", "starts"), [(UNUSABLE, UNUSABLE, 2), (3, 3, 1 + DEATHS_MAX)])
async def test_workers_that_cannot_live_end_the_service_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, ends_with: int, starts: int
):
    started = tmp_path / "started"
    program = f"import sys; open({str(started)!r}, 'a').write('x'); sys.exit({code})"
    count = 2 if code == UNUSABLE else 1

    ended = await Supervisor([sys.executable, "-c", program], count, dict(os.environ)).run()

    assert ended == ends_with
    assert len(started.read_text()) <= starts
    assert "workers_cannot_be_kept" in capsys.readouterr().out


async def test_a_worker_that_hangs_is_killed_in_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("infra.chassis.workers.STOP_SECONDS", 0.2)
    ready = tmp_path / "ready"
    program = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f" pathlib.Path({str(ready)!r}).touch(); time.sleep(3600)"
    )
    supervisor = Supervisor([sys.executable, "-c", program], 1, dict(os.environ))
    running = asyncio.ensure_future(supervisor.run())
    await wait_until(there(ready))

    os.kill(os.getpid(), signal.SIGTERM)

    assert await asyncio.wait_for(running, BUSY_SECONDS_MAX) == 0


def there(path: Path) -> Callable[[], bool]:
    return path.exists
