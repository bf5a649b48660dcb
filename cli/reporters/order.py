"""The order in which counts are shown: alerts before the rest, the most frequent first."""

from __future__ import annotations

from hangup.tracer.statistics import Key, Row, Statistics


def ordered(statistics: Statistics) -> list[tuple[Key, Row]]:
    """Return the rows: alerts, then latent hang-ups, then what ended well; each by how many connections they count."""

    def place(item: tuple[Key, Row]) -> tuple[bool, bool, int, Key]:
        key, row = item
        # An enum has no order; its label makes the rest of the key sortable.
        names = key._replace(kind=key.kind.label)  # type: ignore[arg-type]
        return not key.kind.is_alert, not row.latent, -row.connections, names

    return sorted(statistics.rows.items(), key=place)
