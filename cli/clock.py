"""Wall-clock times (tracer/clocks.py) as people and JSON read them."""

from __future__ import annotations

import time
from functools import lru_cache

from hangup.tracer.clocks import Clocks


def utc(nanoseconds: int) -> str:
    """Return a wall-clock time as RFC 3339 has it, in UTC and to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{_utc_second(seconds)}.{rest // 1000:06d}Z"


def local(nanoseconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a wall-clock time in the local time zone, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{_local_second(seconds, form)}.{rest // 1000:06d}"


def second(clocks: Clocks, monotonic: int, *, in_utc: bool = False) -> tuple[str, int, int]:
    """Return the time of day of a CLOCK_MONOTONIC time in ns, local or in UTC, to the second; its beginning; how long.

    Both in ns of CLOCK_MONOTONIC. Where the host was suspended in between it is not for a second.
    """
    seconds, rest = divmod(clocks.wall(monotonic), 10**9)
    begin = monotonic - rest
    lasts = 10**9 if clocks.wall(begin) == seconds * 10**9 and clocks.is_steady_from(begin) else rest + 1
    text = _utc_second(seconds)[11:] if in_utc else _local_second(seconds, "%H:%M:%S")
    return text, begin, lasts


# What comes one after the other mostly is of one second.


@lru_cache(maxsize=64)
def _utc_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=64)
def _local_second(seconds: int, form: str) -> str:
    return time.strftime(form, time.localtime(seconds))
