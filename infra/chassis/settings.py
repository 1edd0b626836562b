"""Settings are one frozen object, read once from the environment; incomplete means the process does not start."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from infra.chassis.secret import Secret

S = TypeVar("S")


class SettingsIncomplete(Exception):
    """Lists every variable that is missing or malformed, by name; never a value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bind:
    """Where a listener listens, written `host:port`."""

    host: str
    port: int


@typing.runtime_checkable
class Group(typing.Protocol):
    """Settings that belong together, as a field of a service's settings."""

    def faults(self) -> list[str]:
        """What is missing or cannot be used, each beginning with the variable's name after the prefix."""
        ...


def load(cls: type[S], prefix: str, environ: Mapping[str, str]) -> S:
    """An instance of the frozen dataclass `cls` from `UNDERCROFT_<PREFIX>_<FIELD>`.

    A field of type `Secret[str]` or `Secret[bytes]` is read from the file named by `UNDERCROFT_<PREFIX>_<FIELD>_FILE`
    (text is stripped of surrounding white space). A field with a default may be absent. Types: str, int, bool
    (`true`/`false`), Path, Bind, Secret[str], Secret[bytes]; and a group, which is another such dataclass with the same
    prefix, whose `faults()` says what is wrong with its fields together.
    """
    wrong: list[str] = []
    loaded = _load(cls, f"UNDERCROFT_{prefix}_".upper(), environ, wrong)
    if wrong or loaded is None:
        raise SettingsIncomplete("; ".join(wrong))
    return loaded


def _load(cls: type[S], prefix: str, environ: Mapping[str, str], wrong: list[str]) -> S | None:
    """None when it cannot be made; `wrong` then says why."""
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    wrong_before = len(wrong)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # cls is a dataclass by contract
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, Group):
            values[field.name] = _load(hint, prefix, environ, wrong)
            continue
        name = prefix + field.name.upper() + ("_FILE" if typing.get_origin(hint) is Secret else "")
        text = environ.get(name, "")
        if not text:
            if field.default is dataclasses.MISSING:
                wrong.append(f"{name} is missing")
            continue
        try:
            values[field.name] = _parse(hint, text)
        except (ValueError, OSError) as error:
            wrong.append(f"{name} cannot be used ({type(error).__name__})")
    if len(wrong) > wrong_before:
        return None
    made = cls(**values)
    if isinstance(made, Group):
        wrong.extend(prefix + fault for fault in made.faults())
    return made


def _parse(hint: Any, text: str) -> Any:
    if isinstance(hint, types.UnionType):  # `Bind | None`: absent is None, and what is there is the other one
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) is Secret:
        (kind,) = typing.get_args(hint)
        content = Path(text).read_bytes()
        if not content:
            raise ValueError
        return Secret(content) if kind is bytes else Secret(content.decode().strip())
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower()) or _refuse_unless_false(text)
    if hint is Bind:
        host, _, port = text.rpartition(":")
        if not host:
            raise ValueError
        return Bind(host, int(port))
    if hint in {int, str, Path}:
        return hint(text)
    raise ValueError


def _refuse_unless_false(text: str) -> bool:
    if text.lower() != "false":
        raise ValueError
    return False
