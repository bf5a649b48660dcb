"""How many calls a program misses where the kernel preempts the tasks that run it, by the way that it is attached.

A task writes and reads without end; another, which goes first, wakes all the time on the same cpu, and does the same.
The programs are long enough for that to happen in them. Values, of all programs together: wanted: how often they were
to run; ran: how often they did; missed: how often the kernel says that it went without (bpf_prog_show_fdinfo()).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.bench import floor
from tests.bench.data import Row
from tests.bench.loads import Load, play
from tests.bench.rounds import Keep, Say
from tests.bench.tools import FLOOR_WAYS, LOAD

PREEMPTED = Load("preempted", "", "write and read", 2, 20_000, 20_000, ("preempted", "interval=60"))

# Instructions, nearly: as many as a program of hangup's has that has little to do.
_ROUNDS = 300
_COUNTED = ("unix_stream_sendmsg", "unix_stream_recvmsg", *floor.TRACEPOINTS)
_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")


def measure(*, say: Say, keep: Keep) -> None:
    """Play it with each way of attaching; say and keep as of `start.measure()`."""
    _STATISTICS.write_text("1")
    rows: list[Row] = []
    for tracer, way in FLOOR_WAYS.items():
        try:
            with floor.programs(way, floor.busy(_ROUNDS)) as attached:
                counted = [each for each in attached if each.name in _COUNTED]
                units = play(LOAD, PREEMPTED, PREEMPTED.count).units
                wanted = units * sum(2 if each.kind == "kprobe.session" else 1 for each in counted)
                ran, missed = (sum(_counts(counted, name)) for name in ("run_cnt", "recursion_misses"))
            row = Row(PREEMPTED.name, tracer, {"wanted": [wanted], "ran": [ran], "missed": [missed]})
        except (OSError, RuntimeError) as error:
            row = Row(PREEMPTED.name, tracer, missing=str(error))
        say(f"{tracer:16} {row.missing or dict(row.values)}")
        rows.append(row)
        keep(rows)


def _counts(programs: Sequence[floor.Attached], name: str) -> list[int]:
    counts = []
    for each in programs:
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/self/fdinfo/{each.program}").read_text(), re.MULTILINE)
        if found is None:
            raise RuntimeError(f"this kernel does not tell {name}")
        counts.append(int(found[1]))
    return counts
