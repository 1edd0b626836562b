"""The rules that stand for a tenant at the moment it is decided: read in the decision's transaction, compiled once.

Every process reads which version stands with each decision, so any number of them agree without telling each other.
Texts are fetched and compiled when a version is met for the first time; what a version is called says what is in it,
so what was compiled never goes stale.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cedar import Cedar, PoliciesUnusable
from gateway.overlays import store
from infra.chassis import logs
from infra.chassis.canonical import parameters_sha256

KEPT_MAX: Final = 500
"""Compiled versions in one process: some 50 kB each, so 25 MB."""
log = logs.get_logger()


def version_sha256(overlay: Mapping[str, str]) -> str:
    """The name of a version: of its texts by group, in RFC 8785 form."""
    return parameters_sha256(dict(overlay))


@dataclass(frozen=True, slots=True)
class Shadow:
    version_sha256: str
    cedar: Cedar


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides, and what is only asked what it would have said."""

    active: Cedar
    shadow: Shadow | None


class ActiveRules:
    def __init__(self, cedar: Cedar) -> None:
        self.ours: Final = cedar
        self._bases_kept = False
        self._kept: OrderedDict[str, Cedar] = OrderedDict()

    async def of_tenant(self, tx: AsyncConnection, tenant_id: str) -> Rules:
        """As they stand for this transaction. What it decides can be replayed: our own policies are kept with it."""
        if not self._bases_kept:
            self._bases_kept = await store.keep_bases(tx, self.ours.texts)
        standing = await store.standing(tx, tenant_id)
        active = self.ours
        if standing.active_sha256 is not None:
            active = await self._compiled(tx, tenant_id, standing.active_sha256)
        if standing.shadow_sha256 is None:
            return Rules(active, None)
        cedar = await self._compiled(tx, tenant_id, standing.shadow_sha256)
        return Rules(active, Shadow(standing.shadow_sha256, cedar))

    def compiled(self, version: str, overlay: Mapping[str, str]) -> Cedar:
        """Also for an overlay that cannot be used: then it denies. One that is not what it is called, denies all."""
        if version_sha256(overlay) != version:
            log.error("overlay_is_not_its_name", version=version)
            return self.ours.refusing(dict.fromkeys(self.ours.texts, ""))
        try:
            return self.ours.with_overlay(overlay)
        except (PoliciesUnusable, KeyError) as error:
            log.error("overlay_unusable", version=version, error=type(error).__name__)  # noqa: TRY400 - the trace says nothing more
            return self.ours.refusing({name: text for name, text in overlay.items() if name in self.ours.texts})

    async def _compiled(self, tx: AsyncConnection, tenant_id: str, version: str) -> Cedar:
        kept = self._kept.get(version)
        if kept is None:
            overlay = await store.overlay_of(tx, tenant_id, version)
            kept = self.compiled(version, overlay if overlay is not None else {})
            self._kept[version] = kept
        self._kept.move_to_end(version)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return kept
