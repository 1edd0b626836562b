"""Which rules a policy hash names: our own of every release that decided here, alone or under a tenant's versions."""

from collections.abc import Iterable, Mapping

from gateway.cedar import GROUPS, Cedar, PoliciesUnusable, Texts
from gateway.replay import Entry, PoliciesUnknown


class KnownRules:
    """Of one tenant. Texts are named by what is in them, so a text that was changed is a text that is not kept."""

    def __init__(self, bases: Iterable[tuple[str, Texts]], overlays: Iterable[Mapping[str, str]]) -> None:
        laid = list(overlays)
        self._texts: dict[tuple[str, str], Texts] = {}
        for group, ours in bases:
            over = [Texts(ours.schema, ours.policies, overlay[group]) for overlay in laid if group in overlay]
            self._texts |= {(group, texts.sha256): texts for texts in (ours, *over)}
        self._made: dict[tuple[str, str], Cedar] = {}

    def of(self, entry: Entry) -> Cedar:
        """The rules that this entry says it was decided by. Raises PoliciesUnknown."""
        group = GROUPS.get(str(entry.body.get("action")), "")
        name = (group, str(entry.body.get("policy_sha256")))
        if name not in self._made:
            self._made[name] = self._make(*name)
        return self._made[name]

    def _make(self, group: str, sha256: str) -> Cedar:
        texts = self._texts.get((group, sha256))
        if texts is None:
            raise PoliciesUnknown(sha256)
        try:
            ours = Cedar.of_texts({group: Texts(texts.schema, texts.policies)})
        except PoliciesUnusable as error:
            raise PoliciesUnknown(str(error)) from None
        if texts.overlay is None:
            return ours
        try:
            return ours.with_overlay({group: texts.overlay})
        except PoliciesUnusable:
            return ours.refusing({group: texts.overlay})
