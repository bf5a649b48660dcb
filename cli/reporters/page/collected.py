"""What a page keeps of the alerts of a capture while it is read: bounded, however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hangup.cli.reporters.alerts import AS_ROWS, IN_FULL, MAX_KINDS, Alike, alike
from hangup.cli.reporters.page.charts import OverTime
from hangup.tracer.clocks import Clocks
from hangup.tracer.statistics import OTHER
from hangup.tracer.tracer import Alert

MOST_DRAWN = 300
"""So many alerts are drawn in all, whatever kinds they are of; a picture takes some 8 kB."""

MOST_ROWS = 2000
"""So many more are told as one line each."""


class Dated(NamedTuple):
    """An alert, and when it was by the wall clock of its host then: several captures may be of several hosts."""

    alert: Alert
    wall: int
    """In ns since 1970."""


@dataclass(slots=True)
class AlikeAlerts:
    """The alerts of one kind."""

    count: int = 0
    drawn: list[Dated] = field(default_factory=list)
    """The first ones."""
    rows: list[Dated] = field(default_factory=list)
    """The ones after these."""


class Collected:
    """Takes alerts one by one; decides which are drawn, which get a line, and which are only counted."""

    def __init__(self, *, draw_all: bool = False) -> None:
        """Begin with none. draw_all: draw each, however many are alike; then nothing is bounded but by the capture."""
        self._draw_all = draw_all
        self._kinds: dict[Alike, AlikeAlerts] = {}
        self._drawn = 0
        self._rows = 0
        self.over_time = OverTime()

    def add(self, alert: Alert, clocks: Clocks) -> None:
        """Take an alert; clocks: what makes wall-clock times of the records'."""
        dated = Dated(alert, clocks.wall(alert.when))
        self.over_time.add(alert.verdict.kind, dated.wall)
        kind = alike(alert)
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = Alike(kind.verdict, OTHER, OTHER, OTHER)
        of_kind = self._kinds.setdefault(kind, AlikeAlerts())
        of_kind.count += 1
        if self._draw_all or (len(of_kind.drawn) < IN_FULL and self._drawn < MOST_DRAWN):
            of_kind.drawn.append(dated)
            self._drawn += 1
        elif len(of_kind.rows) < AS_ROWS and self._rows < MOST_ROWS:
            of_kind.rows.append(dated)
            self._rows += 1

    @property
    def kinds(self) -> Mapping[Alike, AlikeAlerts]:
        """The alerts by kind, the most frequent kind first."""
        return dict(sorted(self._kinds.items(), key=lambda item: (-item[1].count, item[0])))

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(of_kind.count for of_kind in self._kinds.values())
