"""Many alerts for one pair of eyes: the first of a kind in full, the next ones a line each, then how many more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hangup.cli.reporters.alert import alert_row
from hangup.tracer.clocks import Clocks
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.statistics import OTHER
from hangup.tracer.tracer import Alert
from hangup.tracer.units import counted

IN_FULL = 3
"""So many alerts of a kind are shown with their stories."""

AS_ROWS = 10
"""After these so many are shown as one line each."""

COUNT_SECONDS = 5.0
"""The rest is counted, and the counts are shown this often."""


MAX_KINDS = 1000
"""So many kinds are told apart; whatever more come (a process renames itself) are one for each verdict."""


class Alike(NamedTuple):
    """What alerts are of one kind by."""

    verdict: str
    client: str
    server: str
    path: str


class Alerts:
    """Decides how an alert is shown."""

    def __init__(self, block: Callable[[Alert, Clocks], str], *, show_all: bool) -> None:
        """Begin with nothing shown; block: shows an alert in full, given what makes wall-clock times of its times."""
        self._block = block
        self._show_all = show_all
        self._seen: Counter[Alike] = Counter()
        self._counted: Counter[Alike] = Counter()
        self._told_at: float | None = None

    def shown(self, alert: Alert, clocks: Clocks, now: float) -> Iterator[str]:
        """Yield what is to be printed for an alert; now: in seconds, of a clock that never jumps."""
        kind = alike(alert)
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            kind = Alike(kind.verdict, OTHER, OTHER, OTHER)
        self._seen[kind] += 1
        if self._show_all or self._seen[kind] <= IN_FULL:
            yield self._block(alert, clocks)
        elif self._seen[kind] <= IN_FULL + AS_ROWS:
            yield alert_row(alert, clocks)
        else:
            self._counted[kind] += 1
            if self._told_at is None:
                self._told_at = now

    def counts(self, now: float, *, ending: bool = False) -> Iterator[str]:
        """Yield a line for each kind that was counted, if it is time for that."""
        if self._told_at is None or (now - self._told_at < COUNT_SECONDS and not ending):
            return
        for kind, count in self._counted.items():
            yield (
                f"{counted(count, 'more alert')}: {kind.verdict}, {kind.client} to {kind.server}, {kind.path} "
                "(--all shows each)"
            )
        self._counted.clear()
        self._told_at = None


def alike(alert: Alert) -> Alike:
    """Return what kind an alert is of; paths that were made up for one run are alike."""
    key = alert.key
    return Alike(key.kind.label, key.client, key.server, path_pattern(key.path))
