"""Fixtures: a sandbox process all tests share, or one of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.running import Sandbox, make_sandbox


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = make_sandbox(tmp_path_factory.mktemp("sandbox"))
    sandbox.start()
    yield sandbox
    status = sandbox.stop()
    sandbox.close()
    assert status == 0


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    """The shared process, with every fault switched off again afterwards."""
    yield shared
    shared.plain.delete(f"{shared.url}/_sandbox/faults")
    shared.plain.delete(f"{shared.url}/_sandbox/down")
    shared.plain.post(f"{shared.url}/_sandbox/release")


@pytest.fixture
def own_sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A process of the test's own, to be killed and started again."""
    sandbox = make_sandbox(tmp_path)
    sandbox.start()
    yield sandbox
    sandbox.end()


@pytest.fixture
def client(sandbox: Sandbox) -> stripe.StripeClient:
    return sandbox.client()
