"""What only a token can do wrong. SoftHSM2 is a real one, in software."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from infra.chassis.keys import KeyServiceUnfit, KeyServiceUnreachable, KeyUnusable, new_key
from infra.chassis.keys.pkcs11 import NEVER_EXPORTED, Library, Pkcs11KeyService, Token, library_of
from tests.support import softhsm

CONTEXT = b"tenant a"
LOST = "ignore::pytest.PytestUnraisableExceptionWarning"
"""python-pkcs11 prints when an open search cannot be ended, because the session it belonged to is gone."""


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return softhsm.new_token(tmp_path)


@contextmanager
def beside(token: Token) -> Iterator[pkcs11.Session]:
    """What an administrator with the PIN can do."""
    library_of(token.module).start_anew()
    opened = library_of(token.module).token(token.label)
    with opened.open(rw=True, user_pin=token.pin_file.read_text()) as session:
        yield session


@pytest.mark.control("UC-3.6.1")
async def test_the_root_cannot_be_taken_out_of_the_token_not_even_with_the_pin(token: Token):
    keys = softhsm.service(token)
    await keys.rotate()
    await keys.close()

    with beside(token) as session:
        (root,) = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
        flags = [root[name] for name in (Attribute.EXTRACTABLE, Attribute.SENSITIVE, Attribute.NEVER_EXTRACTABLE)]
        with pytest.raises(pkcs11.AttributeSensitive):
            root[Attribute.VALUE]

    assert flags == [False, True, True]


@pytest.mark.control("UC-3.6.1")
async def test_a_root_that_could_be_taken_out_stops_the_start(token: Token):
    with beside(token) as session:
        template = {**NEVER_EXPORTED, Attribute.EXTRACTABLE: True}
        session.generate_key(KeyType.AES, 256, label=f"{token.key_label}.v1", template=template)
    keys = softhsm.service(token)

    with pytest.raises(KeyServiceUnfit, match="taken out"):
        await keys.prove()
    await keys.close()


async def test_a_token_without_a_root_wraps_nothing_and_says_which_key_is_missing(token: Token):
    keys = softhsm.service(token)

    with pytest.raises(KeyServiceUnreachable, match=r"undercroft-root\.v1"):
        await keys.prove()
    await keys.close()


@pytest.mark.filterwarnings(LOST)
async def test_it_logs_in_again_when_the_token_was_lost(token: Token):
    keys = softhsm.service(token)
    await keys.rotate()
    key = new_key()
    wrapped = await keys.wrap(key, CONTEXT)

    softhsm.pull(keys)
    after_it_was_pulled = await keys.unwrap(wrapped, CONTEXT)
    pkcs11.lib(str(token.module)).finalize()
    after_the_library_ended = await keys.unwrap(wrapped, CONTEXT)
    await keys.close()

    assert after_it_was_pulled.reveal() == after_the_library_ended.reveal() == key.reveal()


async def test_a_refused_pin_is_not_tried_again_until_its_file_changes(token: Token, monkeypatch: pytest.MonkeyPatch):
    keys = softhsm.service(token)
    await keys.rotate()
    await keys.close()
    right = token.pin_file.read_text()
    logins: list[str] = []
    find = Library.token

    def counted(self: Library, label: str) -> pkcs11.Token:
        logins.append(label)
        return find(self, label)

    monkeypatch.setattr(Library, "token", counted)
    keys = softhsm.service(token)
    token.pin_file.write_text("not the PIN of it")

    for _ in range(10):
        with pytest.raises(KeyServiceUnreachable, match="PIN") as refused:
            await keys.rotate()
        assert "not the PIN of it" not in str(refused.value)
    assert logins == [token.label]
    token.pin_file.write_text(right)

    assert await keys.rotate() == 2
    await keys.close()


async def test_a_token_that_does_not_answer_is_not_waited_for(token: Token):
    keys, hasty = softhsm.service(token), softhsm.service(token, timeout_seconds=0.2)
    await keys.rotate()
    held = library_of(token.module).lock
    held.acquire()

    with pytest.raises(KeyServiceUnreachable, match="in time"):
        await hasty.wrap(new_key(), CONTEXT)

    held.release()
    assert await keys.wrap(new_key(), CONTEXT)
    for each in (keys, hasty):
        await each.close()


async def test_the_event_loop_goes_on_while_the_token_works(token: Token):
    keys = softhsm.service(token)
    await keys.rotate()
    held = library_of(token.module).lock
    held.acquire()
    wrapping = asyncio.ensure_future(keys.wrap(new_key(), CONTEXT))
    turns = 0
    for _ in range(100):
        await asyncio.sleep(0)
        turns += 1

    assert not wrapping.done()
    held.release()
    assert await wrapping
    assert turns == 100
    await keys.close()


async def test_two_keys_of_one_version_both_open_what_they_wrapped(token: Token):
    """As when two processes rotate at the same moment: labels are not unique in a token."""
    keys = softhsm.service(token)
    await keys.rotate()
    first = await keys.wrap(new_key(), CONTEXT)
    await keys.close()
    with beside(token) as session:
        session.generate_key(KeyType.AES, 256, label=f"{token.key_label}.v1", template=NEVER_EXPORTED)
    again = softhsm.service(token)
    later = [await again.wrap(new_key(), CONTEXT) for _ in range(4)]

    assert all([await again.unwrap(one, CONTEXT) for one in (first, *later)])
    await again.rotate()
    await again.destroy_before(2)
    for one in (first, *later):
        with pytest.raises(KeyUnusable):
            await again.unwrap(one, CONTEXT)
    await again.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the point of the test
async def test_a_forked_child_opens_the_token_anew_and_the_parent_goes_on(token: Token):
    keys = softhsm.service(token)
    await keys.rotate()
    wrapped = await keys.wrap(new_key(), CONTEXT)

    child = os.fork()
    if child == 0:
        ended = [1]
        inside = threading.Thread(target=lambda: ended.__setitem__(0, _unwraps(keys, wrapped)))
        inside.start()
        inside.join(20)
        os._exit(ended[0])
    _, status = await asyncio.to_thread(os.waitpid, child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert (await keys.unwrap(wrapped, CONTEXT)).reveal()
    await keys.close()


def _unwraps(keys: Pkcs11KeyService, wrapped: bytes) -> int:
    """0 if the child of a fork, with an event loop of its own, opens what its parent wrapped."""
    with asyncio.Runner() as runner:
        return 0 if runner.run(keys.unwrap(wrapped, CONTEXT)).reveal() else 1
