"""Wall-clock times (tracer/clocks.py) as people and JSON read them."""

from __future__ import annotations

import time
from functools import lru_cache


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
