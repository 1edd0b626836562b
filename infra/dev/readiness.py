"""Asking a service over HTTP whether it is up yet."""

import http.client
import socket
import time
from collections.abc import Callable

from infra.dev.ports import HOST

ANSWER_SECONDS_MAX = 3.0
PAUSE_SECONDS = 0.05
ANSWER_BYTES_READ = 256


def answers_ok(port: int, path: str) -> bool:
    return _asked(port, path)[0] == http.client.OK


def is_sealed(port: int) -> bool:
    """Whether it runs, and waits for its custodians before it serves."""
    return _asked(port, "/health") == (http.client.OK, b'{"status":"sealed"}')


def _asked(port: int, path: str) -> tuple[int, bytes]:
    """Status and the beginning of the body; (0, b"") for no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_READ)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS_MAX):
            return True
    except OSError:
        return False


def wait(condition: Callable[[], bool], *, alive: Callable[[], bool], seconds: float) -> bool:
    """Poll until `condition` holds; False as soon as the process is gone, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if not alive() or time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS)
    return True
