"""The wall clock of what the kernel dates by CLOCK_MONOTONIC, also across a suspend."""

from __future__ import annotations

import json
import time

import pytest

from hangup.cli import clock
from hangup.cli.clock import Clocks
from hangup.cli.reporters import alert, alert_json, operation, operation_json
from hangup.cli.reporters.alert import alert_block
from hangup.cli.reporters.alert_json import alert_line
from tests.stories import seeds_failure
from tests.unit.playback import shown

SECOND = 10**9
MORNING = 1_767_225_600 * SECOND


class Host:
    """A host's clocks, which stand at what the test says."""

    def __init__(self) -> None:
        self.monotonic, self.suspended, self.set = 1000 * SECOND, 0, 0
        self.clocks = Clocks(
            wall=lambda: MORNING + self.set + self.monotonic + self.suspended,
            monotonic=lambda: self.monotonic,
            boot=lambda: self.monotonic + self.suspended,
        )

    def runs(self, nanoseconds: int) -> None:
        """Let time pass, and look at the clocks."""
        self.monotonic += nanoseconds
        self.clocks.offset()

    def is_suspended(self, nanoseconds: int) -> None:
        """Let time pass that CLOCK_MONOTONIC knows nothing of."""
        self.suspended += nanoseconds

    def wall(self, monotonic: int) -> int:
        """Return when that was, in seconds since the morning that the host was started."""
        return (self.clocks.wall(monotonic, self.clocks.offset()) - MORNING) // SECOND


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


def test_a_clock_that_is_set_is_no_suspend() -> None:
    host = Host()
    host.runs(SECOND)
    host.set = 3600 * SECOND
    host.runs(SECOND)
    assert host.wall(1000 * SECOND) == 1000 + 3600


def test_the_clocks_of_this_host_agree() -> None:
    clocks = Clocks()
    offset = clocks.offset()
    assert abs(clocks.wall(time.monotonic_ns(), offset) - time.time_ns()) < SECOND


def test_an_alert_dates_each_operation_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    story = seeds_failure()
    host = Host()
    host.monotonic = story.events[-3].start
    host.runs(0)
    host.is_suspended(3600 * SECOND)
    host.runs(SECOND)
    for module in (alert, alert_json, operation, operation_json):
        monkeypatch.setattr(module, "wall_clock", host.clocks.wall)
    offset = host.clocks.offset()
    [line] = shown(story, lambda alert: alert_line(alert, offset))
    told = json.loads(line)
    assert (told["timeline"][0]["time"][:13], told["time"][:13]) == ("2026-01-01T00", "2026-01-01T01")
    [block] = shown(story, lambda alert: alert_block(alert, offset, width=80))
    assert clock.local(host.clocks.wall(story.events[-2].end, offset)) in block


def test_a_wait_between_two_looks_at_the_clocks_dates_nothing_late() -> None:
    # The first time another process runs right after CLOCK_MONOTONIC was read: 3 ms later it is the wall clock's turn.
    host = Host()
    waits = iter([0, 3_000_000])

    def wall() -> int:
        host.monotonic += next(waits, 0)
        return MORNING + host.monotonic

    clocks = Clocks(wall=wall, monotonic=lambda: host.monotonic, boot=lambda: host.monotonic)
    assert clocks.offset() == MORNING
    assert clocks.offset() == MORNING
