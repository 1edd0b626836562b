"""Drives a real headless Chromium over the Chrome DevTools Protocol: what a person does with keyboard and mouse.

Used by the demo and by the tests of every page. It needs nothing but a `chromium` on PATH. Keys and clicks are input
events, not values written into fields, so a page is used as a browser's person uses it. Each page has its own cookies.
"""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from infra.dev.processes import LEASH

CHROMIUM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)
"""Quiet and alone: it speaks to the pages it is sent to and to nobody else. No sandbox, because root has none."""
LOG_NAME: Final = "chromium.log"
START_SECONDS_MAX: Final = 90.0
ANSWER_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.05
_KEYS: Final = {
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Backspace": {"key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8},
    "End": {"key": "End", "code": "End", "windowsVirtualKeyCode": 35},
    "Home": {"key": "Home", "code": "Home", "windowsVirtualKeyCode": 36},
}


_MIDDLE = """selector => {
    const element = document.querySelector(selector);
    if (!element) return null;
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const box = element.getBoundingClientRect();
    const x = box.x + box.width / 2, y = box.y + box.height / 2;
    const top = document.elementFromPoint(x, y);
    return { x, y, hit: element.contains(top) || Boolean(element.labels && [...element.labels].includes(top)) };
}"""


class BrowserFailed(RuntimeError):
    """Chromium did not start, is gone, refused a command, or what was waited for did not happen in time."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is shown: its size in CSS pixels, its colour scheme, and whether scripts run."""

    width: int = 1280
    height: int = 900
    scale: int = 1
    dark: bool = False
    mobile: bool = False
    javascript: bool = True


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request as it left the browser. `body` is what TLS would carry; None for a request without one."""

    method: str
    url: str
    body: str | None


def find_chromium() -> Path | None:
    """The Chromium or Chrome on PATH, if there is one."""
    found = (shutil.which(name) for name in CHROMIUM_NAMES)
    return next((Path(path) for path in found if path is not None), None)


@asynccontextmanager
async def launch(chromium: Path, *, profile: Path) -> AsyncIterator["Browser"]:
    """Run a browser on an empty profile folder until the block ends; every process of it ends with the block."""
    process = await _start(chromium, profile)
    try:
        address = await _debugging_address(process, profile)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(address, max_msg_size=0) as socket,
        ):
            connection = _Connection(socket)
            reader = asyncio.create_task(connection.read())
            try:
                yield Browser(connection)
            finally:
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reader
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _start(chromium: Path, profile: Path) -> asyncio.subprocess.Process:
    """On a leash, so that it ends with us even when we are killed; as a process group, so that it ends whole."""
    with (profile / LOG_NAME).open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", LEASH, str(int(signal.SIGKILL)), str(os.getpid()), "-"),
            chromium,
            *CHROMIUM_ARGUMENTS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def _debugging_address(process: asyncio.subprocess.Process, profile: Path) -> str:
    """Chromium writes the port it chose, then the path of its endpoint, into its profile."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline and process.returncode is None:
        lines = _read(profile / "DevToolsActivePort").splitlines()
        if len(lines) == 2:  # noqa: PLR2004 - the port and the path, both written
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(POLL_SECONDS)
    raise BrowserFailed(f"Chromium did not start; its last words: {_read(profile / LOG_NAME)[-600:]}")


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


class _Connection:
    """Commands out, answers and events in, over one websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next_id = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    def listen(self, session_id: str, listener: Callable[[str, dict[str, Any]], None]) -> None:
        self._listeners[session_id] = listener

    async def send(self, method: str, parameters: dict[str, Any], session_id: str | None = None) -> dict[str, Any]:
        self._next_id += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._next_id] = answer
        command: dict[str, Any] = {"id": self._next_id, "method": method, "params": parameters}
        if session_id is not None:
            command["sessionId"] = session_id
        await self._socket.send_str(json.dumps(command))
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                message = await answer
        except TimeoutError:
            raise BrowserFailed(f"Chromium did not answer {method}") from None
        if "error" in message:
            raise BrowserFailed(f"{method}: {message['error'].get('message')}")
        result: dict[str, Any] = message["result"]
        return result

    async def read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if not answer.done():
                    answer.set_result(message)
            elif message.get("sessionId") in self._listeners:
                self._listeners[message["sessionId"]](message["method"], message["params"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(BrowserFailed("Chromium is gone"))


class Browser:
    """A running Chromium; made by `launch`."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def open_page(self, look: Look | None = None) -> "Page":
        """Open an empty page with cookies of its own."""
        context = await self._connection.send("Target.createBrowserContext", {})
        target = await self._connection.send(
            "Target.createTarget", {"url": "about:blank", "browserContextId": context["browserContextId"]}
        )
        attached = await self._connection.send(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        page = Page(self._connection, attached["sessionId"])
        await page.prepare(look or Look())
        return page


@dataclass(slots=True, eq=False)
class Page:
    """One tab. `requests` and `complaints` (console errors, exceptions, policy violations) grow as it is used."""

    connection: _Connection
    session_id: str
    requests: list[SentRequest] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    status: int | None = None
    _loads: int = 0
    _authenticator: str = ""

    async def prepare(self, look: Look) -> None:
        self.connection.listen(self.session_id, self._hear)
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            await self._send(f"{domain}.enable")
        await self._send(
            "Emulation.setDeviceMetricsOverride",
            width=look.width,
            height=look.height,
            deviceScaleFactor=look.scale,
            mobile=look.mobile,
        )
        scheme = "dark" if look.dark else "light"
        await self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self._send("Emulation.setScriptExecutionDisabled", value=not look.javascript)

    async def goto(self, url: str) -> None:
        """Load a page; raises if nothing answers. Which status it answered is in `status`."""
        loads = self._loads
        answer = await self._send("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserFailed(f"{url}: {answer['errorText']}")
        await self._until(f"{url} to load", lambda: self._loads > loads)

    async def evaluate(self, expression: str) -> Any:
        """Give the JSON value of a JavaScript expression in the page."""
        answer = await self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserFailed(f"{expression}: {answer['exceptionDetails'].get('text')}")
        return answer["result"].get("value")

    async def wait_for(self, selector: str) -> None:
        """Wait until an element is there and visible."""
        await self.wait_until(f"document.querySelector({json.dumps(selector)})?.checkVisibility() === true")

    async def wait_until(self, expression: str) -> None:
        """Wait until an expression is true, across navigations."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(BrowserFailed):  # the page is being replaced by the next one
                if await self.evaluate(expression) is True:
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise BrowserFailed(f"waited in vain until {expression}; the page says: {await self.text('body')}")

    async def text(self, selector: str) -> str:
        """Give the visible text of an element; raises when there is none."""
        found = await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")
        if not isinstance(found, str):
            raise BrowserFailed(f"no {selector} on the page")
        return found

    async def click(self, selector: str) -> None:
        """Scroll an element into view and click its middle, once the page is loaded and the element is hit there.

        A style sheet that arrives late moves things: a click aimed before it lands beside the field, and what is typed
        afterwards goes nowhere.
        """
        await self.wait_for(selector)
        await self.wait_until("document.readyState === 'complete'")
        found = json.dumps(selector)
        await self.wait_until(f"({_MIDDLE})({found})?.hit === true")
        place = await self.evaluate(f"({_MIDDLE})({found})")
        for kind in ("mousePressed", "mouseReleased"):
            await self._send(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, x=place["x"], y=place["y"]
            )

    async def type(self, selector: str, text: str) -> None:
        """Click into a field and press one key after the other."""
        await self.click(selector)
        await self.keys(text)

    async def keys(self, text: str) -> None:
        """Press one key after the other, wherever the caret is."""
        # Sent in this order, which Chromium keeps; waiting for each answer about doubles the time.
        strokes = ((kind, character) for character in text for kind in ("keyDown", "keyUp"))
        await asyncio.gather(
            *(
                self._send("Input.dispatchKeyEvent", type=kind, key=key, **({"text": key} if kind == "keyDown" else {}))
                for kind, key in strokes
            )
        )

    async def press(self, key: str) -> None:
        """Press a key that types nothing: one of Enter, Tab, Backspace, End, Home."""
        await self._send("Input.dispatchKeyEvent", type="keyDown", **_KEYS[key])
        released = {name: value for name, value in _KEYS[key].items() if name != "text"}
        await self._send("Input.dispatchKeyEvent", type="keyUp", **released)

    async def plug_in_authenticator(self) -> None:
        """Give the page a device of its own that makes passkeys and says yes for its person (CDP, WebAuthn domain)."""
        await self._send("WebAuthn.enable")
        made = await self._send(
            "WebAuthn.addVirtualAuthenticator",
            options={
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            },
        )
        self._authenticator = made["authenticatorId"]

    async def verify_person(self, *, is_verified: bool) -> None:
        """Whether the device recognises its person from now on."""
        await self._send("WebAuthn.setUserVerified", authenticatorId=self._authenticator, isUserVerified=is_verified)

    async def screenshot(self) -> bytes:
        """Give the whole page, also what is below the fold, as PNG."""
        shot = await self._send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self.connection.send(method, parameters, self.session_id)

    async def _until(self, what: str, happened: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
        while not happened():
            if asyncio.get_running_loop().time() > deadline:
                raise BrowserFailed(f"waited in vain for {what}")
            await asyncio.sleep(POLL_SECONDS)

    def _hear(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                request = event["request"]
                self.requests.append(SentRequest(request["method"], request["url"], request.get("postData")))
            case "Network.responseReceived" if event["type"] == "Document":
                self.status = event["response"]["status"]
            case "Runtime.exceptionThrown":
                self.complaints.append(str(event["exceptionDetails"].get("exception", {}).get("description")))
            case "Log.entryAdded" if event["entry"]["level"] == "error":
                self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
            case "Audits.issueAdded" if event["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(json.dumps(event["issue"]["details"]))
            case _:
                pass
