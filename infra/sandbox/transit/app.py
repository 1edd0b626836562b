"""The engine over HTTP: `/v1/…` as the real server answers it, and `/_sandbox/transit` to make it misbehave."""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import Method

from infra.sandbox.loopback import refuse_strangers
from infra.sandbox.transit.doors import ROOT, Doors
from infra.sandbox.transit.engine import Document, Engine, Refused

BODY_BYTES_MAX = 1 << 20
VERSION = "1.15.6"
SEALED = "Vault is sealed"
EVERYTHING: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "DELETE")

AnyRequest = Request[Any, Any, Any]


KEY_ACTS: dict[str, Callable[[Engine, str, Document], None]] = {
    "": Engine.create,
    "rotate": lambda engine, name, _: engine.rotate(name),
    "config": Engine.configure,
    "trim": Engine.trim,
}


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """`refuses`: a status every request gets, or the next `times` if that is set. `seconds`: how long an answer takes.

    All are set at once.
    """

    ignores_associated_data: bool = False
    sealed: bool = False
    refuses: int | None = None
    times: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Transit:
    """A server with one token that may do anything."""

    root_token: str
    engine: Engine = field(default_factory=Engine)
    doors: Doors = field(default_factory=Doors)
    faults: Faults = field(default_factory=Faults)
    asked: int = 0
    mounts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.doors.tokens[self.root_token] = [ROOT]

    def misbehave(self, faults: Faults) -> None:
        self.faults = faults
        self.engine.ignores_associated_data = faults.ignores_associated_data

    def answer(self, method: str, path: str, token: str, asked: Document) -> tuple[int, Document | None]:
        """Status and body. Raises Refused."""
        if path == "sys/health":
            return self._health()
        self.asked += 1
        if self.faults.refuses is not None:
            self._refuse(self.faults.refuses)
        if self.faults.sealed:
            raise Refused(503, SEALED)
        policies = self.doors.check(token, method, path)
        match method, path.split("/"):
            case "GET", ["auth", "token", "lookup-self"]:
                return 200, _document(data=self.doors.look_up(token, policies))
            case "POST", ["auth", "token", "create"]:
                return 200, _document(auth=self.doors.create_token(asked))
            case "PUT", ["sys", "policy", name]:
                self.doors.write_policy(name, str(asked.get("policy", "")))
            case "POST", ["sys", "mounts", mount]:
                self.mounts.add(mount)
            case _, [mount, "keys", name, *act] if mount in self.mounts:
                return self._about_key(method, name, "".join(act), asked)
            case _, [mount, act, *rest] if mount in self.mounts and rest:
                return 200, _document(data=self._using_key(method, act, rest, asked))
            case _:
                raise Refused(404)
        return 204, None

    def _about_key(self, method: str, name: str, act: str, asked: Document) -> tuple[int, Document | None]:
        if (method, act) == ("GET", ""):
            return 200, _document(data=self.engine.read(name))
        if (method, act) == ("DELETE", ""):
            self.engine.delete(name)
        elif method not in {"POST", "PUT"} or act not in KEY_ACTS:
            raise Refused(404)
        else:
            KEY_ACTS[act](self.engine, name, asked)
        return 204, None

    def _using_key(self, method: str, act: str, rest: list[str], asked: Document) -> Document:
        match method, act, rest:
            case "GET", "export", [_, name]:
                return self.engine.export(name)
            case "POST" | "PUT", "datakey", ["plaintext" | "wrapped" as how, name]:
                return self.engine.data_key(name, shown=how == "plaintext")
            case "POST" | "PUT", "hmac", [name]:
                return self.engine.mac(name, asked)
            case "POST" | "PUT", "encrypt" | "decrypt" | "rewrap", [name]:
                return self._sealing(act, name, asked)
        raise Refused(404)

    def _sealing(self, act: str, name: str, asked: Document) -> Document:
        does = {"encrypt": self.engine.seal, "decrypt": self.engine.open, "rewrap": self.engine.reseal}[act]
        if asked.get("batch_input"):
            return {"batch_results": [does(name, one) for one in asked["batch_input"]]}
        return does(name, asked)

    def _refuse(self, status: int) -> None:
        """Raises Refused; after the last of `times` the next request is answered again."""
        self.faults.times -= 1
        if self.faults.times == 0:
            self.faults.refuses = None
        raise Refused(status, "told to refuse")

    def _health(self) -> tuple[int, Document]:
        sealed = self.faults.sealed
        return 503 if sealed else 200, {
            "initialized": True,
            "sealed": sealed,
            "standby": False,
            "performance_standby": False,
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "disabled",
            "server_time_utc": int(time.time()),
            "version": VERSION,
            "cluster_name": "vault-cluster-sandbox",
            "cluster_id": str(uuid.UUID(int=0)),
        }


def build_transit(server: Transit) -> Litestar:
    async def answer(request: AnyRequest) -> Response[bytes]:
        await asyncio.sleep(server.faults.seconds)
        body = await request.body()
        try:
            asked = msgspec.json.decode(body, type=dict) if body else {}
            path = str(request.path_params["path"]).strip("/")
            method = "GET" if request.method == "HEAD" else request.method
            status, document = server.answer(method, path, request.headers.get("x-vault-token", ""), asked)
        except msgspec.MsgspecError:
            status, document = 400, {"errors": ["error parsing JSON"]}
        except Refused as refusal:
            status, document = refusal.status, {"errors": refusal.errors}
        content = b"" if document is None or request.method == "HEAD" else msgspec.json.encode(document)
        return Response(content, status_code=status, media_type="application/json")

    async def misbehave(request: AnyRequest) -> Response[bytes]:
        try:
            server.misbehave(msgspec.json.decode(await request.body(), type=Faults))
        except msgspec.MsgspecError:
            return Response(b"", status_code=400)
        return Response(b"", status_code=204)

    return Litestar(
        [
            HTTPRouteHandler("/v1/{path:path}", http_method=EVERYTHING, status_code=200)(answer),
            HTTPRouteHandler("/_sandbox/transit", http_method="POST", status_code=200)(misbehave),
        ],
        before_request=refuse_strangers,
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


def _document(data: Document | None = None, auth: Document | None = None) -> Document:
    return {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": auth,
    }
