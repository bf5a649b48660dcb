"""Times as people and JSON read them, made of the kernel's CLOCK_MONOTONIC.

Records carry CLOCK_MONOTONIC, which never jumps. What to add to it to get the wall clock is asked anew for each
thing that is shown, for the wall clock may be set while hangup runs. While the host is suspended CLOCK_MONOTONIC stands
still: to what happened before that less is to be added.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

# Two clocks are read one after the other, and we may have to wait between them: what is shorter is none, in ns.
_SHORTEST = 100_000_000

# They are read again if there was more between them than that, in ns, but not for ever.
_APART = 5_000
_TRIES = 10


class _Suspend(NamedTuple):
    """A time that the host was suspended for."""

    when: int
    """The last look at the clocks before it, in ns of CLOCK_MONOTONIC."""
    nanoseconds: int


class Clocks:
    """Makes wall-clock times, also of what happened before the host was suspended, if it is looked at now and then."""

    def __init__(
        self,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        boot: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        """Look at the clocks for the first time; each returns its time in ns."""
        self._wall, self._monotonic, self._boot = wall, monotonic, boot
        self._suspends: deque[_Suspend] = deque(maxlen=100)
        self._suspended = boot()
        self._looked = monotonic()
        self._suspended -= self._looked

    def offset(self) -> int:
        """Look at the clocks; return what to add to a CLOCK_MONOTONIC time of now to get the wall clock, in ns."""
        booted = self._boot()
        now = self._monotonic()
        suspended = booted - now
        if suspended - self._suspended >= _SHORTEST:
            self._suspends.append(_Suspend(self._looked, suspended - self._suspended))
            self._suspended = suspended
        self._looked = now
        return self._wall_offset()

    def _wall_offset(self) -> int:
        """Read the wall clock between two looks at CLOCK_MONOTONIC, until these are next to each other."""
        found = []
        for _ in range(_TRIES):
            before, wall, after = self._monotonic(), self._wall(), self._monotonic()
            found.append((after - before, wall - before))
            if after - before <= _APART:
                break
        return min(found)[1]

    def wall(self, monotonic: int, offset: int) -> int:
        """Return the wall-clock time of a CLOCK_MONOTONIC time, in ns; offset: what offset() returned last."""
        if not self._suspends:
            return monotonic + offset
        after = sum(suspend.nanoseconds for suspend in self._suspends if monotonic <= suspend.when)
        return monotonic + offset - after


_clocks = Clocks()

wall_clock_offset = _clocks.offset
wall_clock = _clocks.wall


def utc(nanoseconds: int) -> str:
    """Return a wall-clock time as RFC 3339 has it, in UTC and to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{_utc_second(seconds)}.{rest // 1000:06d}Z"


def local(nanoseconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a wall-clock time in the local time zone, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{_local_second(seconds, form)}.{rest // 1000:06d}"


# What comes one after the other mostly is of one second.


@lru_cache(maxsize=64)
def _utc_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=64)
def _local_second(seconds: int, form: str) -> str:
    return time.strftime(form, time.localtime(seconds))
