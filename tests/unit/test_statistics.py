"""Counts stay bounded, and percentiles stay near the truth."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.stories import MICROSECOND
from tracer import statistics
from tracer.record import Operation
from tracer.statistics import MAX_ROWS, OTHER, Gaps, Key, Statistics
from tracer.verdicts import Kind

LONGEST = 10**15  # ten days


@given(st.lists(st.integers(0, LONGEST), min_size=1), st.sampled_from([0, 50, 90, 99, 100]))
def test_a_percentile_is_not_too_low_and_at_most_a_tenth_too_high(gaps: list[int], percent: float) -> None:
    counted = Gaps()
    for gap in gaps:
        counted.add(gap)
    exact = sorted(gaps)[max(math.ceil(len(gaps) * percent / 100) - 1, 0)]
    # Half a nanosecond more is the rounding.
    assert exact <= counted.percentile(percent) <= max(exact, 1) * 1.1 + 0.5
    assert counted.percentile(100) == counted.maximum == max(gaps)
    assert counted.count == len(gaps)


@given(st.integers(1, LONGEST))
def test_one_gap_is_told_exactly(gap: int) -> None:
    counted = Gaps()
    counted.add(gap)
    assert {counted.percentile(percent) for percent in (50, 90, 99, 100)} == {gap}


def test_without_gaps_there_is_no_percentile() -> None:
    assert Gaps().percentile(50) == 0


def test_a_gap_below_zero_counts_as_zero() -> None:
    counted = Gaps()
    counted.add(-5)
    assert (counted.count, counted.maximum, counted.percentile(99)) == (1, 0, 0)


def test_a_histogram_does_not_grow_with_its_counts() -> None:
    counted = Gaps()
    for gap in range(0, 100_000_000, 997):
        counted.add(gap)
    assert len(counted._buckets) < 250


def key(number: int, kind: Kind = Kind.CLEAN) -> Key:
    return Key(f"client{number}", "server", "/run/app.s", kind)


def test_rows_beyond_the_limit_are_counted_in_one_for_each_verdict() -> None:
    statistics = Statistics()
    for number in range(MAX_ROWS + 100):
        statistics.count(key(number), operation=None, gap=None, is_alert=False)
    for number in range(MAX_ROWS, MAX_ROWS + 50):
        statistics.count(key(number, Kind.UNREAD), operation=Operation.WRITE, gap=MICROSECOND, is_alert=True)
    statistics.count(key(0), operation=None, gap=None, is_alert=False)
    assert len(statistics.rows) == MAX_ROWS + 2
    assert statistics.rows[Key(OTHER, OTHER, OTHER, Kind.CLEAN)].connections == 100
    other = statistics.rows[Key(OTHER, OTHER, OTHER, Kind.UNREAD)]
    assert (other.connections, other.broken_writes, other.gaps.count) == (50, 50, 50)
    assert statistics.rows[key(0)].connections == 2
    assert statistics.total.connections == MAX_ROWS + 100 + 50 + 1
    assert statistics.alerts == 50


def test_a_connection_is_counted_by_what_failed_on_it() -> None:
    statistics = Statistics()
    unread = key(1, Kind.UNREAD)
    statistics.count(unread, operation=Operation.WRITE, gap=5, is_alert=True)
    statistics.count(unread, operation=Operation.READ, gap=None, is_alert=True)
    statistics.count(key(1, Kind.LATENT), operation=None, gap=None, is_alert=False)
    statistics.count(key(1, Kind.REFUSED), operation=Operation.CONNECT, gap=None, is_alert=True)
    row, total = statistics.rows[unread], statistics.total
    assert (row.connections, row.broken_writes, row.reset_reads, row.latent, row.gaps.count) == (2, 1, 1, 0, 1)
    assert (total.connections, total.broken_writes, total.reset_reads, total.latent) == (4, 1, 1, 1)
    assert statistics.alerts == 3


def test_the_step_of_the_histogram_is_what_the_documents_say() -> None:
    assert statistics._STEP == 1.1
