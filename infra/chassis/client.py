"""Calls to a peer service: aiohttp, one pooled session, deadlines, trace context, problems told apart from silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import msgspec

from infra.chassis import trace
from infra.chassis.problems import PeerUnreachable

TIMEOUT_SECONDS = 10
ANSWER_BYTES_MAX = 4 * 1024 * 1024
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class PeerRefused(Exception):
    """The peer answered with a problem. `code` is its code; the body is not kept."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code
        super().__init__(code)


class PeerClient:
    """Talks to one peer. `name` goes into the problem's code when it does not answer: `<name>_unreachable`.

    `sent_nothing` of the raised problem's `extra` is not given to callers: a connection refused is told apart from a
    lost answer by `NotConnected`, a subclass, because only then is it certain that nothing happened.
    """

    def __init__(self, name: str, base_url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=3)
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        path: str,
        answer: type[V],
        *,
        body: msgspec.Struct | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> V:
        """The peer's answer as `answer`; raises PeerRefused, NotConnected or AnswerLost."""
        content = msgspec.json.encode(body) if body is not None else None
        got = await self.request(method, path, content=content, headers=headers)
        if got.status >= 400:  # noqa: PLR2004 - the first status that is a refusal
            raise PeerRefused(got.status, _code_of(got.body))
        try:
            return msgspec.json.decode(got.body, type=answer)
        except msgspec.DecodeError:
            raise AnswerLost(self._name) from None

    async def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any answer, whatever its status; raises NotConnected or AnswerLost."""
        here = trace.current.get()
        sent: dict[str, str] = {"Content-Type": content_type} if content is not None else {}
        sent |= {"traceparent": here.traceparent} if here else {}
        sent |= dict(headers or {})
        try:
            async with self._open().request(
                method, self._base_url + path, data=content, headers=sent, allow_redirects=False
            ) as response:
                return Answer(response.status, await _whole(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise NotConnected(self._name) from None
        except (aiohttp.ClientError, TimeoutError):
            raise AnswerLost(self._name) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
        return self._session


class NotConnected(PeerUnreachable):
    """Nothing reached the peer, so nothing happened there."""

    def __init__(self, peer: str) -> None:
        super().__init__(code=f"{peer}_unreachable", headers={"Retry-After": "2"})


class AnswerLost(PeerUnreachable):
    """The peer may or may not have acted."""

    def __init__(self, peer: str) -> None:
        super().__init__(code=f"{peer}_unreachable", headers={"Retry-After": "2"})


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """All of it: aiohttp's `read(n)` answers with what has arrived so far."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return bytes(body)


def _code_of(body: bytes) -> str:
    try:
        document: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "not_a_problem"
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, str) else "not_a_problem"
