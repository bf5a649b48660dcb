"""Counts of how connections ended, by client, server, path and verdict; bounded, however much is seen."""

from __future__ import annotations

import math
from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import NamedTuple

from tracer.record import Operation
from tracer.verdicts import Kind

# Beyond so many different rows everything is counted in one row, OTHER.
MAX_ROWS = 1000
OTHER = "(other)"

# A gap is kept as the power of this that it lies under: its percentiles are at most a tenth too high.
_STEP = 1.1


class Gaps:
    """How long after the hang-up writes and reads failed, as a histogram whose size does not grow with its counts."""

    def __init__(self) -> None:
        self._buckets: Tally[int] = Tally()
        self.count = 0
        self.maximum = 0
        """The longest, exactly, in ns."""

    def add(self, nanoseconds: int) -> None:
        """Count one gap; one below zero (the failure came in the middle of the release) as zero."""
        nanoseconds = max(nanoseconds, 0)
        self._buckets[math.ceil(math.log(nanoseconds, _STEP)) if nanoseconds > 1 else 0] += 1
        self.count += 1
        self.maximum = max(self.maximum, nanoseconds)

    def percentile(self, percent: float) -> int:
        """Return a gap that so many percent of all do not exceed, in ns; 0 if there are none."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(round(_STEP**bucket), self.maximum)
        return 0


class Key(NamedTuple):
    """What rows are told apart by."""

    client: str
    server: str
    path: str
    kind: Kind


@dataclass
class Row:
    """The counts of one row."""

    connections: int = 0
    broken_writes: int = 0
    reset_reads: int = 0
    latent: int = 0
    gaps: Gaps = field(default_factory=Gaps)


class Statistics:
    """Rows by client, server, path and verdict. Each connection is counted once, under its verdict."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.alerts = 0

    def count(self, key: Key, *, operation: int | None, gap: int | None, is_alert: bool) -> None:
        """Count a connection; operation: what failed on it (a write or a read), if anything did; gap in ns."""
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= MAX_ROWS:
                key = Key(OTHER, OTHER, OTHER, key.kind)
            row = self.rows.setdefault(key, Row())
        row.connections += 1
        row.broken_writes += operation == Operation.WRITE
        row.reset_reads += operation == Operation.READ
        row.latent += key.kind is Kind.LATENT
        if gap is not None:
            row.gaps.add(gap)
        self.alerts += is_alert

    @property
    def total(self) -> Row:
        """All rows together, without their gaps."""
        rows = self.rows.values()
        return Row(
            connections=sum(row.connections for row in rows),
            broken_writes=sum(row.broken_writes for row in rows),
            reset_reads=sum(row.reset_reads for row in rows),
            latent=sum(row.latent for row in rows),
        )
