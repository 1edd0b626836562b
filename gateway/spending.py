"""What was taken of a person's money, as SQL: parts of the statements that look facts up (`store.py`, `mandates.py`).

Counted is what is held or posted at a mandate's payees in its currency, whoever of the person's assistants and agents
spent it and under whichever mandate: consenting again, to the same assistant or to one that calls itself anew, makes
limits larger or smaller, and forgets nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gateway.windows import TAKINGS_MAX, Relief, Taken, Taking, Window, relief

_OF_THE_PERSON: Final = (
    "r.tenant_id = m.tenant_id AND r.subject_id = m.subject_id AND r.currency = m.currency"
    " AND r.brand_id = ANY(m.payees) AND r.state <> 'voided'"
    " AND r.reserved_at >= least(CAST(:now AS timestamptz) - make_interval(secs => m.window_seconds),"
    " CAST(:day AS date)::timestamp AT TIME ZONE 'UTC')"
)
_IN_WINDOW: Final = "FILTER (WHERE r.reserved_at > CAST(:now AS timestamptz) - make_interval(secs => m.window_seconds))"
TAKEN: Final = (
    "SELECT coalesce(sum(r.amount_minor) FILTER (WHERE r.day = CAST(:day AS date)), 0)::bigint AS today_minor,"  # noqa: S608 - constants only
    f" coalesce(sum(r.amount_minor) {_IN_WINDOW}, 0)::bigint AS in_window_minor,"
    f" count(*) {_IN_WINDOW} AS bought_in_window FROM reservations r WHERE {_OF_THE_PERSON}"
)
"""Of a mandate `m`, at `:now` on `:day`."""
BUT_FOR_THIS: Final = " AND r.purchase_id IS DISTINCT FROM s.purchase_id"
TAKINGS_IF_FULL: Final = (
    "SELECT json_agg(json_build_array(x.reserved_at, x.amount_minor)) AS list FROM ("  # noqa: S608 - constants only
    f"SELECT r.reserved_at, r.amount_minor FROM reservations r WHERE {_OF_THE_PERSON}{BUT_FOR_THIS}"
    " AND (t.today_minor + q.amount_minor > m.day_cap_minor OR t.in_window_minor + q.amount_minor > m.window_cap_minor"
    f" OR t.bought_in_window >= m.window_count_max) ORDER BY r.reserved_at LIMIT {TAKINGS_MAX + 1}) x"
)
"""One by one, only when there is no room: to find out when there is."""


def taken_of(row: Mapping[str, Any]) -> Taken:
    return Taken(**row)


def relief_of(
    takings: list[tuple[str, int]] | None, amount_minor: int, mandate: Mapping[str, Any], now: datetime
) -> Relief | None:
    if takings is None:
        return None
    return relief(
        [Taking(datetime.fromisoformat(at), taken) for at, taken in takings],
        amount_minor,
        day_cap_minor=mandate["day_cap_minor"],
        window=window_of(mandate),
        now=now,
    )


def window_of(mandate: Mapping[str, Any]) -> Window:
    return Window(
        seconds=mandate["window_seconds"], cap_minor=mandate["window_cap_minor"], count_max=mandate["window_count_max"]
    )
