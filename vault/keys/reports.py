"""What is told about keys: lines for a person, JSON for a machine; no key, no wrap and no digit of a card."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import msgspec

from vault.keys import rows
from vault.keys.acts import HOUSE, acts
from vault.keys.keeping import Keeping
from vault.keys.rounds import rounds
from vault.keys.shredding import shreddings

ACTS_MAX: Final = 10_000
"""Of one tenant, the newest; more is for the database itself."""
LINE: Final = "{:31} {:>7}  {:9}  {:20}  {:20}  {:>11}  {:>9}"
HEADINGS: Final = LINE.format("tenant", "version", "state", "created", "retired", "seals", "cards")


async def listed(keeping: Keeping, tenants: Sequence[str]) -> list[str]:
    """A line a version, then what is shredded and not final."""
    lines, waiting = [HEADINGS], 0
    for tenant_id in tenants:
        async with keeping.store.transaction(tenant_id) as tx:
            keys = await rows.tenant_keys(tx)
            cards = await rows.count_cards_under(tx)
            waiting += len([one for one in await shreddings(tx) if one.final_at is None])
        for key in keys:
            created, retired = _at(key.created_at), _at(key.retired_at)
            count = cards.get(key.version, 0)
            lines.append(LINE.format(tenant_id, key.version, key.state, created, retired, key.seals, count))
    return [*lines, f"shreddings that wait for a round: {waiting}"]


async def exported(keeping: Keeping, tenants: Sequence[str]) -> str:
    """JSON: `root`, `rounds`, `acts` about the root, and for each tenant its `keys`, `moves`, `shreddings`, `acts`."""
    async with keeping.store.transaction(HOUSE) as tx:
        whole: dict[str, Any] = {
            "exported_at": keeping.clock.now(),
            "rounds": [asdict(one) for one in await rounds(tx)],
            "acts": [asdict(act) for act in await acts(tx, ACTS_MAX)],
        }
    whole["root"] = asdict(await keeping.keys.describe())
    whole["tenants"] = [await _tenant(keeping, tenant_id) for tenant_id in tenants]
    return msgspec.json.format(msgspec.json.encode(whole)).decode()


async def _tenant(keeping: Keeping, tenant_id: str) -> dict[str, Any]:
    async with keeping.store.transaction(tenant_id) as tx:
        keys = await rows.tenant_keys(tx)
        cards = await rows.count_cards_under(tx)
        shredded = await shreddings(tx)
        done = await acts(tx, ACTS_MAX)
        moves = await rows.moves(tx)
    return {
        "tenant_id": tenant_id,
        "keys": [_key(asdict(key), cards.get(key.version, 0)) for key in keys],
        "moves": moves,
        "shreddings": [asdict(one) for one in shredded],
        "acts": [asdict(act) for act in done],
    }


def _key(key: dict[str, Any], cards: int) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in {"wrapped_key", "tenant_id"}} | {"cards": cards}


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
