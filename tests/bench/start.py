"""From the execution of `hangup watch` till it is ready and till its first alert is read, what for, and its memory.

Values: ready, alert: ns from the execution; peak, resident, no_file: KiB when it is ready; kernel: bytes that its maps
take in the kernel; "phase NAME": ns that the start was spent on something.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from tests.bench.data import Row
from tests.bench.hasty import HastyLoad
from tests.bench.rounds import Keep, Say
from tests.bench.watching import watching

FIRST, NOTHING_KEPT, KEPT = "first", "nothing-kept", "kept"
"""The first start of a boot, when nothing of it is in memory; without and with what an earlier start has compiled."""


def measure(folder: Path, *, rounds: int, say: Say, keep: Keep) -> None:
    """Start it so often, each way. say: is told what was found; keep: after each start, all that is known."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    lost: dict[tuple[str, str], dict[str, int]] = {}
    kept = Path(os.environ["CACHE_DIRECTORY"])
    ways = [(FIRST, "fentry")]
    ways += [(what, probes) for _ in range(rounds) for probes in ("fentry", "kprobe") for what in (NOTHING_KEPT, KEPT)]
    for what, probes in ways:
        if what == NOTHING_KEPT:
            for path in kept.iterdir():
                path.unlink()
        load = HastyLoad(folder, 1)
        values = found[what, f"watch-{probes}"]
        with watching(probes) as run:
            for name, kib in run.running.memory().items():
                values[name].append(kib)
            values["kernel"].append(run.running.kernel_memory())
            load.go()
            values["alert"].append(run.await_alerts(1) - run.begun)
            load.end()
            values["ready"].append(run.ready - run.begun)
            for phase, (spent, _) in run.phases.items():
                values[f"phase {phase}"].append(spent)
        lost[what, f"watch-{probes}"] = run.lost or {}
        say(
            f"{what:14} {probes:8} ready {values['ready'][-1] / 1e9:6.2f} s, alert {values['alert'][-1] / 1e9:6.2f} s,"
            f" {values['resident'][-1] / 1024:.0f} MiB, at most {values['peak'][-1] / 1024:.0f}, in the kernel"
            f" {values['kernel'][-1] / (1 << 20):.0f}"
        )
        keep([Row(load, tracer, dict(values), lost[load, tracer]) for (load, tracer), values in found.items()])
