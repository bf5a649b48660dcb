"""Times as people and JSON read them, made of the kernel's CLOCK_MONOTONIC.

Records carry CLOCK_MONOTONIC, which never jumps. What to add to it to get the wall clock is asked anew for each
thing that is shown, for the wall clock may be set while hangup runs.
"""

from __future__ import annotations

import time


def wall_clock_offset() -> int:
    """Return what to add to a CLOCK_MONOTONIC time of now or lately to get the wall clock, in ns."""
    return time.time_ns() - time.monotonic_ns()


def utc(nanoseconds: int) -> str:
    """Return a wall-clock time as RFC 3339 has it, in UTC and to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def local(nanoseconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a wall-clock time in the local time zone, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime(form, time.localtime(seconds)) + f".{rest // 1000:06d}"
