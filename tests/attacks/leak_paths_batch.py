"""Ways of a card that comes by the file: the real commands beside a loud house, whose words are kept among its logs."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from infra.dev.settings import ROOT
from tests.attacks.leak_world import LeakPath, World
from tests.support.encodings import spaced
from tests.vault.batches import card, sealed, written
from tests.vault.bench import Person
from vault.cleartext.batch.sealed_file import recipient_of


async def by_the_file(world: World, number: str) -> None:
    """One good line, and the number wherever it does not belong in others; taken twice."""
    person = Person()
    good = card(number, subject_id=person.subject_id, reference="good")
    bad = [{**good, name: value} for name in (*good, "cvc", number) for value in (number, spaced(number))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = await _tokens(world, folder, "import-key", person.tenant_id)
        file = sealed(
            folder / "sealed", recipient_of(made), [*written(good, *bad), number.encode(), b'{"%s' % number.encode()]
        )
        result = folder / "result"
        where = ("--tenant", person.tenant_id, "--brand", person.brand_id, "--result", str(result))
        for _ in range(2):
            await _tokens(world, folder, "import", str(file), *where)
        told = result.read_bytes()
    world.answers.append(told)
    (first, *others) = [json.loads(line) for line in told.splitlines()]
    assert [one["line"] for one in others if "refused" not in one] == [2 + 2 * list(good).index("number")]
    assert first["last4"] == number[-4:]


async def _tokens(world: World, folder: Path, *arguments: str) -> bytes:
    """What it printed; that, and what it complained of, is also put where the house's logs are."""
    url = folder / "url"
    url.write_text(world.databases.app_dsn)
    url.chmod(0o600)
    keys = world.house.keyring
    settings = {
        "DATABASE_URL_FILE": str(url),
        "ROOT_KEY_FILE": str(keys.path("vault/root.key")),
        "FINGERPRINT_KEY_FILE": str(keys.path("vault/fingerprint.key")),
        "SANDBOX": "true",
    }
    environment = {"PATH": os.defpath, **{f"UNDERCROFT_VAULT_{name}": value for name, value in settings.items()}}
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "vault", "tokens", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    with (world.house.logs / "vault.tokens.log").open("ab") as log:
        log.write(ran.stdout + ran.stderr)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


BATCH: Final = (LeakPath("by the file", "38520000023237", by_the_file),)
