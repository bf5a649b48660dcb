"""The wall clock of what the kernel dates by CLOCK_MONOTONIC, also across a suspend: looked at, told, and shown."""

from __future__ import annotations

import json
import time

import pytest

from hangup.cli import clock
from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.reporters.times import times
from hangup.tracer.clocks import Clocks
from hangup.tracer.host.clocks import HostClocks
from hangup.tracer.record.facts import HostFact
from tests.stories import seeds_failure
from tests.unit.playback import shown

SECOND = 10**9
MORNING = 1_767_225_600 * SECOND


class Host:
    """A host's clocks, which stand at what the test says, and what somebody knows who is told of them."""

    def __init__(self, monotonic: int = 1000 * SECOND) -> None:
        self.monotonic, self.suspended, self.set = monotonic, 0, 0
        self.source = HostClocks(
            wall=lambda: MORNING + self.set + self.monotonic + self.suspended,
            monotonic=lambda: self.monotonic,
            boot=lambda: self.monotonic + self.suspended,
        )
        self.clocks = Clocks()
        self.told = 0
        self.runs(0)

    def runs(self, nanoseconds: int) -> None:
        """Let time pass, and look at the clocks."""
        self.monotonic += nanoseconds
        instant = self.source.look()
        if instant is not None:
            self.told += 1
            self.clocks.take(HostFact(*instant))

    def is_suspended(self, nanoseconds: int) -> None:
        """Let time pass that CLOCK_MONOTONIC knows nothing of."""
        self.suspended += nanoseconds

    def wall(self, monotonic: int) -> int:
        """Return when that was, in seconds since the morning that the host was started."""
        return (self.clocks.wall(monotonic) - MORNING) // SECOND


def test_what_happened_before_a_suspend_is_not_dated_by_how_long_that_was() -> None:
    host = Host()
    host.runs(SECOND)
    host.is_suspended(8 * 3600 * SECOND)
    host.runs(SECOND)
    host.is_suspended(60 * SECOND)
    host.runs(SECOND)
    assert host.wall(1000 * SECOND) == 1000
    assert host.wall(1002 * SECOND) == 1002 + 8 * 3600
    assert host.wall(1003 * SECOND) == 1003 + 8 * 3600 + 60


@pytest.mark.parametrize("step", [3600 * SECOND, -3600 * SECOND, 2_000_000])
def test_a_clock_that_is_set_is_no_suspend(step: int) -> None:
    host = Host()
    host.runs(SECOND)
    host.set = step
    host.runs(SECOND)
    assert host.clocks.wall(1000 * SECOND) == MORNING + 1000 * SECOND + step


def test_a_suspend_that_is_told_again_is_no_other_one() -> None:
    begun, later = 1000 * SECOND, 1002 * SECOND
    asleep = 3600 * SECOND
    first = HostFact(begun, begun, MORNING + begun, begun)
    last = HostFact(later, later + asleep, MORNING + later + asleep, begun + SECOND)
    clocks = Clocks()
    # As each of several files begins.
    for _ in range(5):
        clocks.take(first)
        clocks.take(last)
    assert clocks.wall(begun) == MORNING + begun
    assert clocks.wall(later) == MORNING + later + asleep


@pytest.mark.usefixtures("utc")
def test_lines_show_the_clock_as_it_is_since_it_was_set_last() -> None:
    host = Host()
    shown_as = times("local", 9)
    assert shown_as(host.clocks, host.monotonic) == "00:16:40.000000000"
    host.set = 3600 * SECOND
    host.runs(1)
    # In the same millisecond.
    assert shown_as(host.clocks, host.monotonic) == "01:16:40.000000001"


def test_clocks_that_go_on_are_told_once() -> None:
    host = Host()
    for _ in range(1000):
        host.runs(SECOND)
    assert host.told == 1
    host.set = SECOND
    host.runs(SECOND)
    host.runs(SECOND)
    assert host.told == 2


def test_the_clocks_of_this_host_agree() -> None:
    clocks = Clocks()
    instant = HostClocks().look()
    assert instant is not None
    clocks.take(HostFact(*instant))
    assert abs(clocks.wall(time.monotonic_ns()) - time.time_ns()) < SECOND


def test_an_alert_dates_each_operation_for_itself() -> None:
    story = seeds_failure()
    host = Host(story.events[-3].start)
    host.is_suspended(3600 * SECOND)
    host.runs(SECOND)
    [line] = shown(story, lambda alert: alert_line(alert, host.clocks))
    told = json.loads(line)
    assert (told["timeline"][0]["time"][:13], told["time"][:13]) == ("2026-01-01T00", "2026-01-01T01")
    [block] = shown(story, lambda alert: alert_block(alert, host.clocks, width=80))
    assert clock.local(host.clocks.wall(story.events[-2].end)) in block


def test_a_wait_between_two_looks_at_the_clocks_is_no_step() -> None:
    # Another process runs right after CLOCK_MONOTONIC was read: 3 ms later it is the wall clock's turn.
    host = Host()
    waits = iter([0, 0, 3_000_000])

    def wall() -> int:
        host.monotonic += next(waits, 0)
        return MORNING + host.monotonic

    source = HostClocks(wall=wall, monotonic=lambda: host.monotonic, boot=lambda: host.monotonic)
    instant = source.look()
    assert instant is not None
    assert (instant.wall - instant.monotonic, instant.boottime) == (MORNING, instant.monotonic)
    assert [source.look() for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("value", [0, 1, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("other", [0, (1 << 64) - 1])
def test_whatever_clocks_a_capture_has_a_time_can_be_shown(value: int, other: int) -> None:
    clocks = Clocks()
    for boottime, monotonic in ((other, value), (value, other)) * 60:
        clocks.take(HostFact(monotonic, boottime, other, value))
    for when in (0, value, other):
        assert clock.utc(clocks.wall(when)).endswith("Z")
        assert clock.local(clocks.wall(when))
