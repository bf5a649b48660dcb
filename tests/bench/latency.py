"""From a broken write till somebody has read the alert, while other operations pass.

Values: json: ms from the write's end, by the alert's own time; text: ms from the write's beginning. Each alert is one.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from tests.bench.data import Row
from tests.bench.hasty import HASTY_OPERATIONS, OPERATIONS, HastyLoad
from tests.bench.rounds import Keep, Say
from tests.bench.watching import watching

PER_SECOND = 1000
"""How many operations pass in a second."""

_SECONDS = 10
_ONE_HASTY_IN = 5


def measure(folder: Path, *, say: Say, keep: Keep) -> None:
    """Measure it with fentry and with kprobes, as JSON and as text; say and keep as of `start.measure()`."""
    operations = (OPERATIONS * (_ONE_HASTY_IN - 1) + HASTY_OPERATIONS) / _ONE_HASTY_IN
    per_second = PER_SECOND / operations
    connections = int(per_second * _SECONDS) // _ONE_HASTY_IN * _ONE_HASTY_IN
    rows = []
    for probes in ("fentry", "kprobe"):
        values: dict[str, list[float]] = {}
        lost: dict[str, int] = {}
        for as_json in (True, False):
            load = HastyLoad(folder, connections, per_second=per_second, one_hasty_in=_ONE_HASTY_IN)
            with watching(probes, as_json=as_json) as run:
                load.go()
                run.await_alerts(connections // _ONE_HASTY_IN)
                _, _, broken = load.end()
            # A block tells its time by the wall clock: instead, from when the client began the write.
            since = [json.loads(line)["monotonic_ns"] for line in run.lines] if as_json else broken
            name = "json" if as_json else "text"
            values[name] = [(read - then) / 1e6 for then, read in zip(since, run.read_at, strict=True)]
            lost |= run.lost or {}
            say(f"{probes:8} {name}: {statistics.median(values[name]):.1f} ms, at most {max(values[name]):.1f}")
        rows.append(Row("paced", f"watch-{probes}", values, lost))
        keep(rows)
