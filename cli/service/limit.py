"""How many alerts of one kind are sent: the rest is counted, and the count is told, never silent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hangup.tracer.statistics import OTHER
from hangup.tracer.verdicts import Kind

# So many kinds are told apart at a time; more are held to one limit together.
MAX_KINDS = 1000


class AlertKind(NamedTuple):
    """What alerts are held together by: the verdict and the pair of programs."""

    verdict: Kind
    client: str
    server: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Alerts that were counted instead of sent."""

    kind: AlertKind
    count: int
    sent: int
    """How many of the same interval were sent."""
    seconds: float
    """How long the interval was."""


@dataclass(slots=True)
class _Interval:
    began: float
    seen: int = 0
    sent: int = 0
    held: int = 0


class Limit:
    """Decides of each alert whether it is sent. An interval begins with the first alert of a kind."""

    def __init__(self, *, failures: int, burst: int, interval: float) -> None:
        """Say how much is sent: from the `failures`-th on, at most `burst` in an interval of so many seconds."""
        self.failures = failures
        self.burst = burst
        self.interval = interval
        self._intervals: OrderedDict[AlertKind, _Interval] = OrderedDict()

    def takes(self, kind: AlertKind, now: float) -> bool:
        """Whether this alert is sent; if not, it is counted. now: in seconds, of a clock that never jumps."""
        current = self._intervals.get(kind)
        if current is None:
            if len(self._intervals) >= MAX_KINDS:
                kind = AlertKind(kind.verdict, OTHER, OTHER)
            current = self._intervals.setdefault(kind, _Interval(now))
        current.seen += 1
        if current.seen >= self.failures and current.sent < self.burst:
            current.sent += 1
            return True
        current.held += 1
        return False

    def ended(self, now: float, *, all_of_them: bool = False) -> Iterator[HeldBack]:
        """Yield what was held back in intervals that have ended, and forget these; at the end, in all of them."""
        for kind, current in list(self._intervals.items()):
            seconds = now - current.began
            if seconds < self.interval and not all_of_them:
                continue
            del self._intervals[kind]
            # Below the threshold is not worth a word: that is what the threshold is for. It is in the metrics.
            if current.held and current.seen >= self.failures:
                yield HeldBack(kind, current.held, current.sent, seconds)
