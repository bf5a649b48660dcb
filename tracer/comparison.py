"""Two runs side by side: for each client, server and path what became of how many connections, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.rates import Interval, Rate, difference
from hangup.tracer.statistics import hurt_on
from hangup.tracer.verdicts import Kind

CONFIDENCE = 0.95
"""With which all that is concluded of failures is right: each of the intervals that are compared has its share of the
doubt (Bonferroni)."""

Conclusion = Literal["worse", "better", "may be chance", "only before", "only after"]


class Names(NamedTuple):
    """What rows of two runs are matched by."""

    client: str
    server: str
    path: str
    """With * for what differs from run to run (tracer/path_pattern.py)."""


class Counted(NamedTuple):
    """A row of counts, whoever has counted: `Statistics`, or one that printed JSON."""

    client: str
    server: str
    path: str
    kind: Kind
    connections: int
    harmless: int
    gap_median: int | None
    """From the hang-up to the failure, in ns: half of them took no longer; None: not known."""
    gap_longest: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the connections that failed by one verdict."""

    hurt: int = 0
    """How many of them somebody was hurt on."""
    gap_median: int | None = None
    """See `Counted`; None also where it was counted in parts."""
    gap_longest: int | None = None


@dataclass(slots=True)
class Total:
    """What was counted of one client, server and path."""

    connections: int = 0
    hurt: int = 0
    latent: int = 0
    harmless: int = 0
    kinds: dict[Kind, Outcome] = field(default_factory=dict)

    def add(self, row: Counted) -> None:
        """Add a row."""
        hurt = hurt_on(row.kind, row.connections, row.harmless)
        self.connections += row.connections
        self.hurt += hurt
        self.harmless += row.harmless
        if row.kind is Kind.LATENT:
            self.latent += row.connections
        if not row.kind.is_alert:
            return
        known = self.kinds.get(row.kind)
        if known is None:
            self.kinds[row.kind] = Outcome(hurt, row.gap_median, row.gap_longest)
            return
        gaps = [gap for gap in (known.gap_longest, row.gap_longest) if gap is not None]
        # Of two medians nobody can make the one of both.
        self.kinds[row.kind] = Outcome(known.hurt + hurt, None, max(gaps, default=None))


@dataclass(frozen=True, slots=True)
class Run:
    """All that was counted in a run."""

    rows: Mapping[Names, Total]
    lost: int
    """How much is missing from it."""

    @property
    def total(self) -> Total:
        """All rows together, without verdicts and gaps."""
        every = self.rows.values()
        return Total(
            sum(each.connections for each in every),
            sum(each.hurt for each in every),
            sum(each.latent for each in every),
            sum(each.harmless for each in every),
        )


def run_of(rows: Iterable[Counted], *, lost: int) -> Run:
    """Return the run of which these rows were counted."""
    found: dict[Names, Total] = {}
    for row in rows:
        found.setdefault(Names(row.client, row.server, path_pattern(row.path)), Total()).add(row)
    return Run(found, lost)


@dataclass(frozen=True, slots=True)
class Change:
    """A rate before and after."""

    before: Rate
    after: Rate
    interval: Interval | None
    """Where the difference lies; None: there were no connections before, or none after."""

    @property
    def conclusion(self) -> Conclusion:
        """What can be said of it."""
        if self.interval is None:
            return "only before" if self.before.of else "only after"
        if self.interval.has_zero:
            return "may be chance"
        return "worse" if self.interval.low > 0 else "better"


@dataclass(frozen=True, slots=True)
class KindChange:
    """What became of one verdict."""

    kind: Kind
    before: Outcome
    after: Outcome
    change: Change


@dataclass(frozen=True, slots=True)
class RowChange:
    """What became of one client, server and path."""

    names: Names
    failed: Change
    latent: Change
    kinds: tuple[KindChange, ...]
    """In the order of `Kind`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side."""

    rows: tuple[RowChange, ...]
    """The worst first."""
    total: Change
    confidence: float
    """Of each interval: that of all of them together is CONFIDENCE."""
    lost_before: int
    lost_after: int

    @property
    def is_comparable(self) -> bool:
        """Whether there were connections before and after."""
        return self.total.interval is not None

    @property
    def is_worse(self) -> bool:
        """Whether more failed than chance explains: in all, or of a row that was there before and after."""
        return any(change.conclusion == "worse" for change in (self.total, *(row.failed for row in self.rows)))


def compare(before: Run, after: Run) -> Comparison:
    """Compare two runs."""
    every = sorted({*before.rows, *after.rows})
    # What failed in neither run says nothing, and takes no share.
    told = sum(
        1
        for names in every
        if names in before.rows and names in after.rows and (before.rows[names].hurt or after.rows[names].hurt)
    )
    confidence = 1 - (1 - CONFIDENCE) / (told + 1)
    rows = [_row(names, before.rows.get(names, Total()), after.rows.get(names, Total()), confidence) for names in every]
    first, last = before.total, after.total
    return Comparison(
        tuple(sorted(rows, key=_place)),
        _change(Rate(first.hurt, first.connections), Rate(last.hurt, last.connections), confidence),
        confidence,
        before.lost,
        after.lost,
    )


def _change(before: Rate, after: Rate, confidence: float) -> Change:
    known = before.of and after.of
    return Change(before, after, difference(before, after, confidence) if known else None)


def _row(names: Names, before: Total, after: Total, confidence: float) -> RowChange:
    def change(count: int, later: int) -> Change:
        return _change(Rate(count, before.connections), Rate(later, after.connections), confidence)

    def of_kind(kind: Kind) -> KindChange:
        first, last = before.kinds.get(kind, Outcome()), after.kinds.get(kind, Outcome())
        return KindChange(kind, first, last, change(first.hurt, last.hurt))

    kinds = (found for found in map(of_kind, Kind) if found.before.hurt or found.after.hurt)
    return RowChange(names, change(before.hurt, after.hurt), change(before.latent, after.latent), tuple(kinds))


_ORDER: tuple[Conclusion, ...] = ("worse", "only after", "better", "only before", "may be chance")


def _place(row: RowChange) -> tuple[bool, int, float, Names]:
    failed = row.failed
    is_quiet = not (failed.before.part or failed.after.part)
    return is_quiet, _ORDER.index(failed.conclusion), -abs(failed.after.value - failed.before.value), row.names
