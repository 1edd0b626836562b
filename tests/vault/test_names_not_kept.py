"""msgspec keeps the short names of a dictionary it decoded, for as long as a process lives: nothing of others is one.

A number that somebody wrote as a member's name would stay in the vault's memory. `leak_paths` drives some there.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest

from infra.chassis.ids import new_id
from tests.sandbox.running import APPROVES, Sandbox
from tests.vault.processor_rigs import NAMES, open_rig
from vault.cleartext import processors, updaters

REMEMBERED = (msgspec.inspect.DictType, msgspec.inspect.AnyType)
"""What is decoded as anything is decoded as dictionaries."""


def modules() -> list[ModuleType]:
    """Of those who read what other companies send."""
    return [
        importlib.import_module(f"{package.__name__}.{one.name}")
        for package in (processors, updaters)
        for one in pkgutil.iter_modules(package.__path__)
    ]


def shapes(module: ModuleType) -> list[type[msgspec.Struct]]:
    found = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return [one for one in found if one.__module__ == module.__name__]


def kinds_in(value: Any) -> Iterator[msgspec.inspect.Type]:
    """Every type within, however deep. None of ours contains itself."""
    if isinstance(value, msgspec.inspect.Type):
        yield value
    if isinstance(value, msgspec.inspect.Type | msgspec.inspect.Field):
        for part in msgspec.structs.astuple(value):
            yield from kinds_in(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from kinds_in(part)


def remembers(shape: type[msgspec.Struct]) -> bool:
    return any(isinstance(kind, REMEMBERED) for kind in kinds_in(msgspec.inspect.type_info(shape)))


class _Inner(msgspec.Struct):
    names: dict[str, int] | None = None


class _Outer(msgspec.Struct):
    found: list[_Inner]


class _Anything(msgspec.Struct):
    data: Any = None


def test_nothing_that_is_decoded_of_another_companys_answer_keeps_the_names_in_it():
    found = {f"{module.__name__}.{shape.__name__}": shape for module in modules() for shape in shapes(module)}

    assert [name for name, shape in found.items() if remembers(shape)] == []
    assert {"stripe._Event", "airwallex_shapes.Intent", "checkout._Answer"} <= {
        ".".join(name.split(".")[-2:]) for name in found
    }
    assert [remembers(shape) for shape in (_Inner, _Outer, _Anything)] == [True, True, True]


@pytest.mark.parametrize("name", NAMES)
async def test_an_event_with_a_number_for_a_name_still_says_whose_it_is(processor: Sandbox, name: str):
    ref, tenant_id = f"{'pi' if name == 'stripe' else 'int'}_{new_id('abc')[4:]}", new_id("tnt")
    async with open_rig(name, processor) as rig:
        said = json.loads(rig.event(ref, tenant_id))
        said["data"]["object"]["metadata"] |= {APPROVES: APPROVES, "counted": 7}
        body = json.dumps({**said, APPROVES: {APPROVES: 1}}).encode()

        event = rig.processor.read_event(body, rig.signed(body))

    assert (event.tenant_id, event.payment_ref) == (tenant_id, ref)
