"""Hangup's own work without the probes: records in, verdicts out, and how long that takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from itertools import islice

from hangup.tracer.source import Source
from hangup.tracer.tracer import Tracer
from tests.bench.data import Row
from tests.bench.records import Stream, histories

PIPELINE = "pipeline"
"""What the rows say that they are of."""

ALERTS = "alerts"
"""The load that is measured natively and where instructions are counted: so the one can be reckoned from the other."""

_HISTORIES = 400
_REPEATS = 5


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds of this thread's processor some work takes."""
    gc.collect()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def exhaust(items: Iterable[object]) -> int:
    """Take everything and return how much it was."""
    return sum(1 for _ in items)


def trace(source: Source) -> int:
    """Trace a source to its end and return how many alerts there were."""
    with Tracer(source=source) as tracer:
        return exhaust(tracer.alerts())


def alerts() -> Row:
    """Return how long it takes to make an alert of what a recording kernel hands over ("each", in ns)."""
    handed_over = list(islice(histories(), _HISTORIES))
    count = trace(Stream(handed_over))
    each = [timed(lambda: trace(Stream(handed_over))) / count * 1e9 for _ in range(_REPEATS)]
    return Row(ALERTS, PIPELINE, {"each": each})
