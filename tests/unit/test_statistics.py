"""Counts stay bounded, and percentiles stay near the truth."""

from __future__ import annotations

import errno
import math
import sys
from collections.abc import Callable
from itertools import accumulate
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer import statistics
from hangup.tracer.path_pattern import path_pattern
from hangup.tracer.record.layout import RecordType
from hangup.tracer.statistics import GAP_BOUNDS, MAX_NAMES, OTHER, Counts, Gaps, Key, Statistics
from hangup.tracer.story.symptom import Symptom
from hangup.tracer.verdicts import Kind
from tests.stories import MICROSECOND

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


def test_names_beyond_the_limit_are_counted_in_one_row_for_each_verdict() -> None:
    statistics = Statistics()
    for number in range(MAX_NAMES + 100):
        statistics.count(key(number))
    for number in range(MAX_NAMES, MAX_NAMES + 50):
        statistics.count(key(number, Kind.UNREAD), symptom=Symptom.BROKEN_WRITE, gap=MICROSECOND, is_alert=True)
    statistics.count(key(0))
    assert len(statistics.rows) == MAX_NAMES + 2
    assert statistics.rows[Key(OTHER, OTHER, OTHER, Kind.CLEAN)].connections == 100
    other = statistics.rows[Key(OTHER, OTHER, OTHER, Kind.UNREAD)]
    assert (other.connections, other.broken_writes, other.gaps.count) == (50, 50, 50)
    assert statistics.rows[key(0)].connections == 2
    assert statistics.total.connections == MAX_NAMES + 100 + 50 + 1
    assert statistics.alerts == 50


def test_what_has_always_gone_well_keeps_its_name_when_it_breaks() -> None:
    statistics = Statistics()
    for number in range(MAX_NAMES):
        statistics.count(key(number))
    statistics.count(key(0, Kind.UNREAD), symptom=Symptom.BROKEN_WRITE, is_alert=True)
    assert statistics.rows[key(0, Kind.UNREAD)].connections == 1


def test_paths_of_one_pattern_are_counted_in_one_row_if_asked_for() -> None:
    statistics = Statistics(pattern=path_pattern)
    for number in range(MAX_NAMES + 1):
        statistics.count(Key("client", "server", f"/run/{number}/s", Kind.CLEAN))
    assert {key.path: row.connections for key, row in statistics.rows.items()} == {"/run/*/s": MAX_NAMES + 1}


def test_operations_after_a_failure_are_counted_in_the_same_row() -> None:
    statistics = Statistics()
    statistics.count(key(1, Kind.UNREAD), symptom=Symptom.BROKEN_WRITE, gap=5, is_alert=True, operations=7)
    statistics.add(key(1, Kind.UNREAD), 2)
    assert statistics.rows[key(1, Kind.UNREAD)].operations == statistics.total.operations == 9


@given(st.lists(st.integers(-5, 2 * GAP_BOUNDS[-1]) | st.sampled_from(GAP_BOUNDS)))
def test_each_gap_lies_under_the_first_bound_that_it_does_not_exceed(gaps: list[int]) -> None:
    statistics = Statistics()
    for gap in gaps:
        statistics.count(key(1, Kind.UNREAD), symptom=Symptom.BROKEN_WRITE, gap=gap, is_alert=True)
    counted = statistics.counts().gaps.get(Kind.UNREAD)
    if counted is None:
        assert not gaps
        return
    below = [sum(gap <= bound for gap in gaps) for bound in GAP_BOUNDS]
    assert list(accumulate(counted.counts)) == [*below, len(gaps)]
    assert counted.total == sum(max(gap, 0) for gap in gaps)


def test_counts_that_were_asked_for_change_no_more() -> None:
    statistics = Statistics()
    failed = key(1, Kind.UNREAD)
    statistics.count(failed, symptom=Symptom.BROKEN_WRITE, gap=5, is_alert=True)
    counts = statistics.counts()
    statistics.count(failed, symptom=Symptom.BROKEN_WRITE, gap=5, is_alert=True)
    statistics.read({RecordType.OPERATION: 1})
    assert counts.rows[failed].connections == sum(counts.gaps[Kind.UNREAD].counts) == 1
    assert not counts.records


def test_counts_asked_for_by_other_threads_are_of_one_instant() -> None:
    statistics = Statistics()
    seen: list[Counts] = []
    done = Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(statistics.counts())

    threads = [Thread(target=ask) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        number = 0
        # Till there is something to compare.
        while len(seen) < 200:
            number += 1
            failed = key(number % (2 * MAX_NAMES), Kind.UNREAD)
            statistics.count(failed, symptom=Symptom.BROKEN_WRITE, gap=number, is_alert=True, operations=3)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    for counts in [*seen, statistics.counts()]:
        for row in counts.rows.values():
            assert (row.operations, row.broken_writes) == (3 * row.connections, row.connections)
        gaps = counts.gaps.get(Kind.UNREAD)
        assert sum(gaps.counts if gaps else ()) == sum(row.connections for row in counts.rows.values())
    assert sum(row.connections for row in statistics.counts().rows.values()) == number


def test_a_connection_is_counted_by_what_failed_on_it() -> None:
    statistics = Statistics()
    unread = key(1, Kind.UNREAD)
    statistics.count(unread, symptom=Symptom.BROKEN_WRITE, gap=5, is_alert=True)
    statistics.count(unread, symptom=Symptom.RESET_READ, is_alert=True)
    statistics.count(key(1, Kind.LATENT))
    statistics.count(key(1, Kind.REFUSED), symptom=Symptom.FAILED_CONNECT, is_alert=True)
    row, total = statistics.rows[unread], statistics.total
    assert (row.connections, row.broken_writes, row.reset_reads, row.latent, row.gaps.count) == (2, 1, 1, 0, 1)
    assert (total.connections, total.broken_writes, total.reset_reads, total.latent) == (4, 1, 1, 1)
    assert statistics.alerts == 3


@pytest.mark.parametrize(
    ("symptom", "column"),
    [
        (Symptom.BROKEN_WRITE, "broken_writes"),
        (Symptom.RESET_READ, "reset_reads"),
        (Symptom.CUT_READ, "cut_reads"),
        (Symptom.SHORT_WRITE, "short_writes"),
        (Symptom.TOLD, "errors_told"),
        (Symptom.FAILED_CONNECT, None),
        (Symptom.NONE, None),
    ],
)
def test_each_symptom_has_a_column_of_its_own(symptom: Symptom, column: str | None) -> None:
    statistics = Statistics()
    statistics.count(key(1, Kind.KILLED), symptom=symptom)
    columns = statistics.total.counts._asdict()
    assert {name for name, count in columns.items() if count} == {"connections"} | ({column} if column else set())


def test_a_second_failure_of_a_connection_is_no_second_connection() -> None:
    statistics = Statistics()
    statistics.count(key(1, Kind.UNREAD), symptom=Symptom.BROKEN_WRITE, is_alert=True, operations=7)
    statistics.count(key(1, Kind.GAVE_UP), symptom=Symptom.CUT_READ, is_alert=True, again=True)
    total = statistics.total
    assert (total.connections, total.operations, total.broken_writes, total.cut_reads) == (1, 7, 1, 1)
    assert statistics.alerts == 2


def test_what_nobody_misses_is_counted_and_is_no_alert() -> None:
    statistics = Statistics()
    statistics.count(key(1, Kind.REUSED), symptom=Symptom.BROKEN_WRITE, is_harmless=True)
    assert (statistics.total.harmless, statistics.total.broken_writes, statistics.alerts) == (1, 1, 0)


def test_failed_connects_are_counted_by_their_error() -> None:
    statistics = Statistics()
    for number, error in enumerate((errno.ENOENT, errno.ENOENT, errno.ENOTSOCK)):
        statistics.count(key(number, Kind.CONNECT_FAILED), symptom=Symptom.FAILED_CONNECT, error=error)
    assert statistics.counts().connect_errors == {"ENOENT": 2, "ENOTSOCK": 1}
    assert statistics.rows[key(2, Kind.CONNECT_FAILED)].errors == {"ENOTSOCK": 1}


def test_the_step_of_the_histogram_is_what_the_documents_say() -> None:
    assert statistics._STEP == 1.1


def test_connections_that_ended_well_are_added_with_their_operations() -> None:
    counted = Statistics()
    clean = Key("nginx", "uwsgi", "/run/app.s", Kind.CLEAN)
    counted.count(clean, operations=7)
    counted.count_ended(clean, 100, 900)
    counted.count_ended(clean._replace(kind=Kind.LATENT), 3, 21)
    rows = counted.counts().rows
    assert (rows[clean].connections, rows[clean].operations, rows[clean].latent) == (101, 907, 0)
    latent = rows[clean._replace(kind=Kind.LATENT)]
    assert (latent.connections, latent.operations, latent.latent) == (3, 21, 3)
    assert (counted.total.connections, counted.total.latent, counted.alerts) == (104, 3, 0)


def test_connections_that_ended_well_are_counted_by_one_pattern_and_within_the_bounds() -> None:
    counted = Statistics(pattern=path_pattern)
    for number in range(MAX_NAMES + 5):
        counted.count_ended(Key("a", "b", f"/tmp/x{number}/s", Kind.CLEAN), 1, 2)
    ((key, row),) = counted.rows.items()
    assert (key.path, row.connections) == (path_pattern("/tmp/x1/s"), MAX_NAMES + 5)
    bounded = Statistics()
    for number in range(MAX_NAMES + 5):
        bounded.count_ended(Key("a", "b", f"/{number}", Kind.CLEAN), 1, 2)
    assert bounded.counts().rows[Key(OTHER, OTHER, OTHER, Kind.CLEAN)].connections == 5


@pytest.mark.parametrize("ask", [lambda one: one.rows, lambda one: one.counts().rows, lambda one: one.total])
def test_before_anything_is_told_what_is_counted_elsewhere_is_counted_in(ask: Callable[[Statistics], object]) -> None:
    counted = Statistics()
    asked: list[int] = []

    def before() -> None:
        asked.append(len(asked))
        counted.count_ended(Key("a", "b", "/s", Kind.CLEAN), 1, 2)

    counted.before = before
    ask(counted)
    assert asked == [0]
    ask(counted)
    assert counted._rows[Key("a", "b", "/s", Kind.CLEAN)].connections == 2


@pytest.mark.parametrize("look", [lambda one: list(one.rows), lambda one: one.total])
def test_rows_may_come_while_others_are_looked_at(look: Callable[[Statistics], object]) -> None:
    counted = Statistics()
    for number in range(3):
        counted.count_ended(key(number), 1, 1)
    rows = iter(counted.rows)
    next(rows)
    # As by another thread, that asks for counts().
    counted.count_ended(key(3), 1, 1)
    assert len(list(rows)) == 2
    look(counted)
    assert counted.total.connections == 4
