"""Of many alerts of one kind some are sent; not one is lost without being counted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hangup.cli.service.limit import MAX_KINDS, AlertKind, Limit
from hangup.tracer.statistics import OTHER
from hangup.tracer.verdicts import Kind

UNREAD = AlertKind(Kind.UNREAD, "nginx", "uwsgi")
ANSWERED = AlertKind(Kind.ANSWERED, "apache2", "uwsgi")


def test_a_burst_is_sent_and_the_rest_counted_till_the_interval_ends() -> None:
    limit = Limit(failures=1, burst=3, interval=60)
    assert [limit.takes(UNREAD, second) for second in range(5)] == [True, True, True, False, False]
    assert list(limit.ended(59)) == []
    [held] = limit.ended(61)
    assert (held.kind, held.count, held.sent, held.seconds) == (UNREAD, 2, 3, 61)
    assert limit.takes(UNREAD, 62)
    assert list(limit.ended(200)) == []


def test_kinds_are_held_back_apart() -> None:
    limit = Limit(failures=1, burst=1, interval=60)
    assert limit.takes(UNREAD, 0)
    assert limit.takes(ANSWERED, 0)
    assert not limit.takes(UNREAD, 1)
    assert [held.kind for held in limit.ended(61)] == [UNREAD]


def test_below_the_threshold_nothing_is_sent_or_said() -> None:
    limit = Limit(failures=3, burst=10, interval=60)
    assert [limit.takes(UNREAD, 0) for _ in range(2)] == [False, False]
    assert list(limit.ended(61)) == []
    assert [limit.takes(UNREAD, 70) for _ in range(4)] == [False, False, True, True]


def test_at_the_end_all_that_was_held_back_is_told() -> None:
    limit = Limit(failures=1, burst=1, interval=60)
    for _ in range(4):
        limit.takes(UNREAD, 0)
    assert [held.count for held in limit.ended(1, all_of_them=True)] == [3]
    assert list(limit.ended(1000, all_of_them=True)) == []


def test_more_kinds_than_are_told_apart_share_one_limit() -> None:
    limit = Limit(failures=1, burst=1, interval=60)
    for number in range(MAX_KINDS):
        assert limit.takes(AlertKind(Kind.UNREAD, str(number), ""), 0)
    assert limit.takes(UNREAD, 0)
    assert not limit.takes(AlertKind(Kind.UNREAD, "another", ""), 0)
    [held] = limit.ended(61)
    assert (held.kind, held.count) == (AlertKind(Kind.UNREAD, OTHER, OTHER), 1)


@given(
    st.lists(st.tuples(st.sampled_from([UNREAD, ANSWERED]), st.floats(0, 100))),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_every_alert_is_either_sent_or_told_as_held_back(
    alerts: list[tuple[AlertKind, float]], burst: int, interval: int
) -> None:
    limit = Limit(failures=1, burst=burst, interval=interval)
    sent: Counter[AlertKind] = Counter()
    told: Counter[AlertKind] = Counter()
    now = 0.0
    for kind, later in alerts:
        now += later
        for held in limit.ended(now):
            told[held.kind] += held.count
        sent[kind] += limit.takes(kind, now)
    for held in limit.ended(now, all_of_them=True):
        told[held.kind] += held.count
    assert sent + told == Counter(kind for kind, _ in alerts)
