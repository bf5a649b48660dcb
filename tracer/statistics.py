"""Counts of how connections ended, by client, server, path and verdict; bounded, however much is seen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from hangup.tracer.names import error_name
from hangup.tracer.record.layout import RecordType
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.verdicts import Kind

# Beyond so many different clients, servers and paths everything is counted as OTHER. Verdicts are not limited: what has
# always gone well must not vanish among the others when it breaks.
MAX_NAMES = 1000
OTHER = "(other)"

GAP_BOUNDS = (*(step * 10**power for power in range(3, 10) for step in (1, 2, 5)), 10**10)
"""The upper bounds of the gaps' histograms, in ns: 1 µs to 10 s, three a decade."""

# A gap is kept as the power of this that it lies under: its percentiles are at most a tenth too high.
_STEP = 1.1


_COUNTERS = {
    Symptom.BROKEN_WRITE: "broken_writes",
    Symptom.RESET_READ: "reset_reads",
    Symptom.CUT_READ: "cut_reads",
    Symptom.SHORT_WRITE: "short_writes",
    Symptom.TOLD: "errors_told",
}
"""Under which name a row counts each symptom."""


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


class Histogram(NamedTuple):
    """How many gaps there were within fixed bounds, which other hosts' histograms share."""

    counts: tuple[int, ...]
    """How many lie under each of GAP_BOUNDS and above the one before; the last: above all of them."""
    total: int
    """All of them together, in ns."""


class Key(NamedTuple):
    """What rows are told apart by."""

    client: str
    server: str
    path: str
    kind: Kind


class RowCounts(NamedTuple):
    """The counts of one row at an instant."""

    connections: int
    operations: int
    broken_writes: int
    reset_reads: int
    cut_reads: int
    short_writes: int
    errors_told: int
    latent: int
    harmless: int


def hurt_on(kind: Kind, connections: int, harmless: int) -> int:
    """Return on how many of a row's connections somebody was hurt; harmless: how many failures nobody missed."""
    # One connection may fail harmlessly more than once.
    return max(connections - harmless, 0) if kind.is_alert else 0


@dataclass
class Row:
    """The counts of one row."""

    connections: int = 0
    broken_writes: int = 0
    reset_reads: int = 0
    cut_reads: int = 0
    short_writes: int = 0
    errors_told: int = 0
    """By getsockopt(SO_ERROR) or recvmmsg(2)."""
    latent: int = 0
    harmless: int = 0
    """Failures that nobody misses anything by."""
    operations: int = 0
    """Of the connections above, at both ends."""
    gaps: Gaps = field(default_factory=Gaps)
    errors: Tally[str] = field(default_factory=Tally)
    """Of failed connects: how many by the error's name."""

    @property
    def counts(self) -> RowCounts:
        """The counts as they are now, without the gaps."""
        return RowCounts(*(getattr(self, name) for name in RowCounts._fields))


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that was counted till one instant; it changes no more."""

    rows: Mapping[Key, RowCounts]
    """In the order in which they came to be, which never changes."""
    records: Mapping[RecordType, int]
    """Records read, by those of tracer.record.layout.RING_TYPES."""
    gaps: Mapping[Kind, Histogram]
    """Verdicts without gaps are not in it."""
    connect_errors: Mapping[str, int]
    """Failed connects, by the error's name."""
    left_out: int
    """Connections in no row; see `Statistics.left_out`."""


class Statistics:
    """Rows by client, server, path and verdict. Each connection is counted once, under its verdict.

    Any thread may count and ask: who asks takes over what the kernel has counted.
    """

    def __init__(self, *, pattern: Callable[[str], str] | None = None) -> None:
        """Count nothing yet. pattern: makes one path of many before they are counted (tracer.path_pattern)."""
        self._rows: dict[Key, Row] = {}
        self.before: Callable[[], None] = lambda: None
        """Called before anything is told: it may count what is counted elsewhere till then."""
        self.alerts = 0
        self.left_out = 0
        """Connections in no row: they ended well, and of what only the kernel has counted it does not tell whether they
        are asked for."""
        self._pattern = pattern
        self._names: set[tuple[str, str, str]] = set()
        self._records: Tally[RecordType] = Tally()
        self._gaps: dict[Kind, list[int]] = {}
        self._connect_errors: Tally[str] = Tally()
        # For some dozen nanoseconds a connection, whoever asks from another thread gets figures of one instant.
        self._lock = Lock()

    def read(self, records: Mapping[RecordType, int]) -> None:
        """Count records as they are read, by type, whatever connections they belong to."""
        with self._lock:
            self._records.update(records)

    @property
    def rows(self) -> Mapping[Key, Row]:
        """The rows there are now, in the order in which they came to be."""
        self.before()
        with self._lock:
            # Another thread that asks for counts() may bring new ones while these are looked at.
            return dict(self._rows)

    def count_ended(self, key: Key, connections: int, operations: int) -> None:
        """Count connections on which nobody failed."""
        with self._lock:
            row = self._row(key)
            row.connections += connections
            row.operations += operations
            if key.kind is Kind.LATENT:
                row.latent += connections

    def leave_out(self, connections: int) -> None:
        """Count connections that ended well and of which nobody knows whether they are asked for."""
        with self._lock:
            self.left_out += connections

    def count(
        self,
        key: Key,
        *,
        symptom: Symptom = Symptom.NONE,
        gap: int | None = None,
        is_alert: bool = False,
        is_harmless: bool = False,
        operations: int = 0,
        again: bool = False,
        error: int = 0,
    ) -> None:
        """Count a connection, or with `again` one more failure of a connection that was counted before.

        symptom: how an end was hurt; gap: from the hang-up to that, in ns. operations: how many there were on the
        connection till now; later ones are for add(). error: of a failed connect, its errno.
        """
        with self._lock:
            row = self._row(key)
            row.connections += not again
            row.operations += operations
            counter = _COUNTERS.get(symptom)
            if counter:
                setattr(row, counter, getattr(row, counter) + 1)
            row.latent += key.kind is Kind.LATENT
            row.harmless += is_harmless
            if gap is not None:
                row.gaps.add(gap)
                self._add_gap(key.kind, max(gap, 0))
            if error:
                row.errors[error_name(error)] += 1
                self._connect_errors[error_name(error)] += 1
            self.alerts += is_alert

    def add(self, key: Key, operations: int) -> None:
        """Count operations of a connection that was counted under this key before."""
        with self._lock:
            self._row(key).operations += operations

    def counts(self) -> Counts:
        """Return everything counted till now. Any thread may ask."""
        self.before()
        with self._lock:
            return Counts(
                {key: row.counts for key, row in self._rows.items()},
                dict(self._records),
                {kind: Histogram(tuple(counts[:-1]), counts[-1]) for kind, counts in self._gaps.items()},
                dict(self._connect_errors),
                self.left_out,
            )

    def _row(self, key: Key) -> Row:
        if self._pattern:
            key = key._replace(path=self._pattern(key.path))
        return self._rows.get(key) or self._new(key)

    def _new(self, key: Key) -> Row:
        names = key[:3]
        if names not in self._names:
            if len(self._names) >= MAX_NAMES:
                key = Key(OTHER, OTHER, OTHER, key.kind)
            else:
                self._names.add(names)
        return self._rows.setdefault(key, Row())

    def _add_gap(self, kind: Kind, gap: int) -> None:
        counts = self._gaps.get(kind)
        if counts is None:
            # One for what lies above all bounds, and one for the sum.
            counts = self._gaps.setdefault(kind, [0] * (len(GAP_BOUNDS) + 2))
        counts[bisect_left(GAP_BOUNDS, gap)] += 1
        counts[-1] += gap

    @property
    def total(self) -> Row:
        """All rows together, without their gaps."""
        rows = self.rows.values()
        return Row(**{name: sum(getattr(row, name) for row in rows) for name in RowCounts._fields})
