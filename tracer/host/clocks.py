"""This host's clocks, looked at together: whether one was set, or the host has been suspended, since it was last told.

Records carry CLOCK_MONOTONIC, which never jumps and stands still while the host is suspended. What makes other times of
its own stays the same until somebody sets the wall clock (settimeofday(2)) or suspends the host: adjustments of the
clock's speed (adjtimex(2)) change both alike (timekeeping_adjust(), kernel/time/timekeeping.c).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

# Clocks are read one after the other, and we may have to wait between them: what is shorter is no step, in ns.
_SHORTEST = 1_000_000

# They are read again if there was more between them than that, in ns, but not for ever.
_APART = 5_000
_TRIES = 10


class Instant(NamedTuple):
    """What the clocks said in one instant, in ns."""

    monotonic: int
    boottime: int
    wall: int
    looked: int
    """When they were last found as they were told before, by CLOCK_MONOTONIC."""


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class HostClocks:
    """Looks at the clocks, and tells when one has stepped."""

    def __init__(
        self,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        boot: Callable[[], int] = _boottime,
    ) -> None:
        """Nothing is told yet. Each clock returns its time in ns."""
        self._wall, self._monotonic, self._boot = wall, monotonic, boot
        self._told: Instant | None = None
        self._looked = 0

    def look(self) -> Instant | None:
        """Return what the clocks say now; None: they go on as they were told before. The first look tells."""
        now = self._read()
        told = self._told
        if told is not None:
            passed = now.monotonic - told.monotonic
            # Backwards, too: by a step of the wall clock.
            stepped = (now.wall - told.wall - passed, now.boottime - told.boottime - passed)
            if all(abs(step) < _SHORTEST for step in stepped):
                self._looked = now.monotonic
                return None
        self._told = now._replace(looked=self._looked or now.monotonic)
        self._looked = now.monotonic
        return self._told

    def _read(self) -> Instant:
        """Read the other clocks between two looks at CLOCK_MONOTONIC, until these are next to each other."""
        best: tuple[int, Instant] | None = None
        for _ in range(_TRIES):
            before, wall, boot, after = self._monotonic(), self._wall(), self._boot(), self._monotonic()
            apart = after - before
            if best is None or apart < best[0]:
                best = apart, Instant(before, boot, wall, 0)
            if apart <= _APART:
                break
        assert best is not None
        return best[1]
