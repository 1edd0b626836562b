"""The longest files first, so that no worker is left with one when the others have nothing more to do.

xdist's own order, which goes by the number of tests, put a file with three tests and six minutes last. What stands here
is only about time: every file also passes alone and in any order.
"""

from typing import Final

import pytest

LONGEST: Final = (
    "attacks/test_leaks.py",
    "vault/test_vault_crash_points.py",
    "vault/test_vault_process.py",
    "attacks/test_leaks_when_it_breaks.py",
    "gateway/test_reference_broken.py",
    "journeys/test_purchases_survive_crashes.py",
    "journeys/test_the_demo.py",
    "gateway/test_money_over_processes.py",
    "runner/test_commands.py",
    "gateway/test_workers.py",
    "vault/test_vault_walls.py",
    "gateway/test_openapi.py",
    "vault/test_vault_key_services.py",
    "vault/test_custody_token.py",
    "gateway/test_reference.py",
    "vault/test_vault_segmentation.py",
    "vault/test_vault_ledger.py",
    "vault/test_outbox_commands.py",
    "vault/test_vault_states.py",
    "gateway/test_gateway_deaths.py",
    "gateway/test_overlays.py",
    "attacks/test_database_away.py",
    "memory/test_prepared_recall.py",
    "vault/test_authentication_deaths.py",
    "runner/test_sealed_house.py",
    "vault/test_vault_random_kills.py",
    "gateway/test_forward.py",
    "vault/test_outbox_kills.py",
    "vault/test_custody_sealed_vault.py",
    "gateway/test_money_in_any_order.py",
    "vault/test_forward_network.py",
    "vault/test_phone_order_deaths.py",
    "journeys/test_keys_rotate.py",
    "runner/test_bootstrap.py",
    "vault/test_vault_door.py",
    "runner/test_enclosure.py",
    "vault/test_failover_deaths.py",
    "vault/test_fingerprint_versions.py",
    "vault/test_shredding.py",
    "repo/test_import_contracts.py",
    "vault/test_vault_charges.py",
)
"""Those that took more than twelve seconds when all were run."""


def longest_first(items: list[pytest.Item]) -> None:
    """In place; the tests of one file stay together, and files that are not long stay as they were."""
    places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
