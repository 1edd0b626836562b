"""A process that keeps verification codes and searches its own memory for them; prints what it saw, as JSON.

The codes are seven bytes no other memory holds, and never were a Python object that could not be overwritten.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from infra.chassis.clock import FixedClock
from tests.support.memory import Needle, are_in_memory, flags_at
from vault.codes import HELD_AT_MOST, Codes

NOBODY = 65534
TENANT, TOKEN = "tnt_a", "tok_a"


def fresh_code() -> bytearray:
    code = bytearray(7)
    with Path("/dev/urandom").open("rb", buffering=0) as random:
        random.readinto(code)
    return code


def sealed_place(codes: Codes) -> memoryview:
    """Of the one code that is held: behind the key, 36 bytes a place."""
    view = codes.pages.view
    (place,) = (view[at : at + 36] for at in range(32, len(view), 36) if any(view[at : at + 36]))
    return place


def gone(codes: Codes, end: Callable[[Codes], None]) -> list[tuple[bool, ...]]:
    """Whether a code and its sealed form are in memory while it is held, and after it ended in some way."""
    code = fresh_code()
    plain = Needle.of(code)
    codes.keep(TENANT, TOKEN, memoryview(code))
    sealed = Needle.of(sealed_place(codes))
    brought = are_in_memory(plain, sealed)
    code[:] = bytes(len(code))
    held = are_in_memory(plain, sealed)
    end(codes)
    gc.collect()
    return [brought, held, are_in_memory(plain, sealed)]


def taken(codes: Codes) -> None:
    code = codes.take(TENANT, TOKEN)
    assert code is not None
    assert any(code)
    code[:] = bytes(len(code))


def replaced(codes: Codes) -> None:
    other = fresh_code()
    codes.keep(TENANT, TOKEN, memoryview(other))
    codes.forget(TENANT, TOKEN)


def search() -> dict[str, object]:
    clock = FixedClock(datetime(2026, 11, 21, tzinfo=UTC))
    codes = Codes(clock)

    def expired(codes: Codes) -> None:
        clock.advance(HELD_AT_MOST)
        codes.forget_expired()

    ends: list[Callable[[Codes], None]] = [taken, replaced, expired, lambda codes: codes.forget(TENANT, TOKEN)]
    seen = [gone(codes, end) for end in ends]
    return {
        "seen": [*seen, gone(codes, Codes.forget_all)],
        "flags": flags_at(codes.pages.address),
        "locked": codes.pages.locked,
        "key_left": any(codes.pages.view[:32]),
    }


def without_room() -> dict[str, object]:
    """As somebody who may lock nothing."""
    if os.getuid() == 0:
        with contextlib.suppress(
            OSError
        ):  # a root of its own namespace, who may not, may not lock beyond the limit either
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    codes = Codes(FixedClock(datetime(2026, 11, 21, tzinfo=UTC)))
    codes.keep(TENANT, TOKEN, memoryview(b"123"))
    return {"locked": codes.pages.locked, "code": bytes(codes.take(TENANT, TOKEN) or b"").decode()}


def in_a_child() -> dict[str, object]:
    """Whether a fork finds the pages where they were."""
    codes = Codes(FixedClock(datetime(2026, 11, 21, tzinfo=UTC)))
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no core file for what comes
        os._exit(codes.pages.view[0] and 0)
    _, status = os.waitpid(child, 0)
    return {"ended": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    answer = {"search": search, "without_room": without_room, "in_a_child": in_a_child}[sys.argv[1]]()
    sys.stdout.write(json.dumps(answer))
