"""The wall clock of what the kernel dates by CLOCK_MONOTONIC, by what a source tells of its host's clocks.

CLOCK_MONOTONIC never jumps. What to add to it to get the wall clock changes when somebody sets that: times are always
shown by the clock as it is now. While the host is suspended CLOCK_MONOTONIC stands still: to what happened before that
less is to be added.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hangup.tracer.record.facts import HostFact

# Clocks are read one after the other, and there may be a wait between them: what is shorter is no suspend, in ns.
_SHORTEST = 100_000_000


class _Suspend(NamedTuple):
    """A time that the host was suspended for."""

    when: int
    """The last look at the clocks before it, in ns of CLOCK_MONOTONIC."""
    nanoseconds: int


class Clocks:
    """Makes wall-clock times, also of what happened before the host was suspended."""

    def __init__(self) -> None:
        """Know nothing yet: till the first word of a host, its wall clock is taken for CLOCK_MONOTONIC."""
        self._suspends: deque[_Suspend] = deque(maxlen=100)
        self._suspended: int | None = None
        # When what is known was so, in ns of CLOCK_MONOTONIC.
        self._told = 0
        self._offset = 0
        self.runs = 0
        """How many runs were forgotten: times of CLOCK_MONOTONIC can be compared within one."""
        self.version = 0
        """Another number whenever the wall clock of a time may be another one than before."""

    def forget(self) -> None:
        """Know nothing again: another host is spoken of, or the same one after a time in which nobody looked."""
        self._suspends.clear()
        self._suspended = None
        self._told = 0
        self._offset = 0
        self.runs += 1
        self.version += 1

    def take(self, host: HostFact) -> None:
        """Take what the host's clocks said in one instant; an earlier one is only told again (tracer/capture)."""
        if host.monotonic < self._told:
            return
        self._told = host.monotonic
        suspended = host.boottime - host.monotonic
        if self._suspended is not None and suspended - self._suspended >= _SHORTEST:
            self._suspends.append(_Suspend(host.looked, suspended - self._suspended))
        self._suspended = suspended
        self._offset = host.wall - host.monotonic
        self.version += 1

    def is_steady_from(self, monotonic: int) -> bool:
        """Whether the host was not suspended after a CLOCK_MONOTONIC time, in ns."""
        return not self._suspends or self._suspends[-1].when < monotonic

    def wall(self, monotonic: int) -> int:
        """Return the wall-clock time of a CLOCK_MONOTONIC time, in ns."""
        if not self._suspends:
            return monotonic + self._offset
        after = sum(suspend.nanoseconds for suspend in self._suspends if monotonic <= suspend.when)
        return monotonic + self._offset - after
