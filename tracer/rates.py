"""Rates of what was counted, and how sure they are: what so few failures can tell, and what may be chance.

The intervals take it that connections fail independently of each other. Where one cause makes many fail at once (a
restart, a full backlog) they are too narrow.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Rate(NamedTuple):
    """So many of so many."""

    part: int
    of: int

    @property
    def value(self) -> float:
        """The rate; 0 of nothing."""
        return self.part / self.of if self.of else 0.0


class Interval(NamedTuple):
    """Where a rate, or a difference of two, lies with the confidence asked for."""

    low: float
    high: float

    @property
    def has_zero(self) -> bool:
        """Whether it may be 0."""
        return self.low <= 0 <= self.high


def deviations(confidence: float) -> float:
    """Return within how many standard deviations a normally distributed value lies with this confidence, below 1."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(rate: Rate, confidence: float) -> Interval:
    """Return the interval of a rate: Wilson's score interval.

    E. B. Wilson: Probable inference, the law of succession, and statistical inference. JASA 22 (1927), 209-212.
    """
    if not rate.of:
        return Interval(0.0, 1.0)
    z, n, p = deviations(confidence), rate.of, rate.value
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the bound is the rate itself, but for rounding.
    return Interval(0.0 if rate.part == 0 else middle - half, 1.0 if rate.part == n else middle + half)


def difference(before: Rate, after: Rate, confidence: float) -> Interval:
    """Return the interval of `after` less `before`: Newcombe's hybrid score interval.

    R. G. Newcombe: Interval estimation for the difference between independent proportions. Statistics in Medicine 17
    (1998), 873-890, method 10. It holds what it promises also for few failures and for none.
    """
    one, other = wilson(before, confidence), wilson(after, confidence)
    change = after.value - before.value
    return Interval(
        change - math.hypot(after.value - other.low, one.high - before.value),
        change + math.hypot(other.high - after.value, before.value - one.low),
    )
