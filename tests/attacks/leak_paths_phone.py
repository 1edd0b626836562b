"""Ways of a card that is keyed in on the telephone: sealed as the media guard does it, and as nobody should."""

from typing import Final

import msgspec

from tests.attacks.leak_world import LeakPath, World
from tests.support.encodings import spaced
from tests.vault.bench import Person
from tests.vault.phone import Guard
from vault.cleartext.hpke import SealSuite


async def keyed_in(world: World, number: str) -> None:
    """Twice wrongly, then rightly; the first envelope once more; charged, and charged again as a card on file."""
    guard, person = Guard(world.doors), Person()
    order = await guard.ordered(person)
    wrong = await guard.sealed(order, number, code="12")
    assert (await guard.hand_in(order, wrong)).json()["flaws"] == ["code_length"]
    assert (await guard.key_in(order, spaced(number)))["flaws"] == ["sealed_unreadable"]
    token = (await guard.key_in(order, number, SealSuite.X25519))["token_id"]
    assert (await guard.hand_in(order, wrong)).json()["state"] == "completed"
    first = person.charge(token)
    assert (await world.doors.charge(first)).json()["state"] == "approved"
    assert (await world.doors.charge(person.charge(token))).json()["state"] in {"declined", "needs_action"}


async def handed_in_unsealed(world: World, number: str) -> None:
    """By a guard that is not ours: where the sealed parts belong, beside them, and instead of everything."""
    guard = Guard(world.doors)
    order = await guard.ordered(Person())
    plain = {"number": number, "expiry": "1240", "code": "123"}
    sealed = msgspec.to_builtins(await guard.sealed(order, "4242424242424241"))
    for body in (*({**sealed, part: number} for part in sealed), {**sealed, **plain}, plain):
        answer = await guard.hand_in(order, body)
        assert answer.status_code == 422, answer.status_code


PHONE: Final = (
    LeakPath("keyed in on the telephone", "4000002760003184", keyed_in),
    LeakPath("handed in unsealed", "4000000000009979", handed_in_unsealed, frozenset({"vault"})),
)
