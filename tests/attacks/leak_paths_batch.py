"""Ways of a card that comes by the file and leaves by one: the real commands at a terminal, beside a loud house.

What they said, and the results, are kept among the answers; the sealed files and the custodians' record lie among the
house's own files.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Final

from tests.attacks.leak_world import LeakPath, World
from tests.support.encodings import spaced
from tests.vault.batches import card, sealed, written
from tests.vault.bench import Person
from tests.vault.custody import PAIR, Place, approves
from vault.cleartext.batch.sealed_file import recipient_of


async def by_the_file(world: World, number: str) -> None:
    """One good line, and the number wherever it does not belong in others; taken twice. Then all leaves again."""
    person, place = Person(), await asyncio.to_thread(_office, world)
    good = card(number, subject_id=person.subject_id, reference="good")
    bad = [{**good, name: value} for name in (*good, "cvc", number) for value in (number, spaced(number))]
    recipient = recipient_of(await _key(world, place, person))
    lines = [*written(good, *bad), number.encode(), b'{"%s' % number.encode()]
    file = sealed(place.custody / "coming", recipient, lines)
    with tempfile.TemporaryDirectory() as elsewhere:
        result = Path(elsewhere) / "result"
        where = ("--tenant", person.tenant_id, "--brand", person.brand_id, "--result", str(result))
        for _ in range(2):
            await _tokens(world, place, "import", str(file), *where)
        told = result.read_bytes()
    world.answers.append(told)
    (first, *others) = [json.loads(line) for line in told.splitlines()]
    assert [one["line"] for one in others if "refused" not in one] == [2 + 2 * list(good).index("number")]
    assert first["last4"] == number[-4:]
    await _leave(world, place, person)


def _office(world: World) -> Place:
    """With custodians of its own: the house's come in another path, and put the root under custody."""
    keys, folder, url = world.house.keyring, world.house.folder / "office", world.house.folder / "office.url"
    url.write_text(world.databases.app_dsn, encoding="ascii")
    url.chmod(0o600)
    settings = {
        "DATABASE_URL_FILE": str(url),
        "FINGERPRINT_KEY_FILE": str(keys.path("vault/fingerprint.key")),
        "CUSTODY_FOLDER": str(folder),
    }
    place = Place(keys.path("vault"), {f"UNDERCROFT_VAULT_{name}": value for name, value in settings.items()}, folder)
    place.enrol(*PAIR)
    return place


async def _key(world: World, place: Place, person: Person) -> bytes:
    said = await _tokens(world, place, "import-key", person.tenant_id)
    (key,) = [line for line in said.splitlines() if line.startswith("{")]
    return key.encode()


async def _leave(world: World, place: Place, person: Person) -> None:
    key, out = place.custody / "next.key", place.custody / "leaving"
    key.write_bytes(await _key(world, place, Person()))
    asked = ("export", "--tenant", person.tenant_id, "--to", str(key), "--out", str(out))
    await _tokens(world, place, *asked, custodians=PAIR)
    assert out.exists()


async def _tokens(world: World, place: Place, *asked: str, custodians: tuple[str, ...] = ()) -> str:
    """What was to be seen while it ran, which is kept."""
    code, said = await asyncio.to_thread(_run, place, asked, custodians)
    world.answers.append(said.encode())
    assert code == 0, said
    return said


def _run(place: Place, asked: tuple[str, ...], custodians: tuple[str, ...]) -> tuple[int, str]:
    with place.sit("tokens", *asked) as typist:
        for name in custodians:
            approves(typist, name)
        if custodians:
            typist.sees("Type yes to go on: ")
            typist.types("yes")
        return typist.end(), typist.screen


BATCH: Final = (LeakPath("by the file", "38520000023237", by_the_file),)
