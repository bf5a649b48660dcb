"""What runs in the guest, as root: `python3 -m tests.bench.inside PART...`. tests/bench/guest.py boots it.

Prints what it finds as it goes, and leaves in /results/rows.json what it has till then: a guest may be cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from tests.bench import latency, pipeline, preempted, rounds, start
from tests.bench.data import Row
from tests.bench.loads import LOADS
from tests.bench.tools import FOLDER, LOAD, NO_SCAP, SCAP, TOOLS

RESULTS = Path("/results")
ROWS = "rows.json"

# What the figures depend on, by Debian's names; the kernel says for itself.
_PACKAGES = (
    "python3",
    "python3-bpfcc",
    "libbpf1",
    "nginx-light",
    "uwsgi-core",
    "apache2-utils",
    "bpftrace",
    "linux-perf",
    "strace",
    "sysdig",
)


def versions() -> dict[str, str]:
    """Return the versions of what is measured and measured with."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *_PACKAGES]
    # Those that are not installed it complains of.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(words for line in done.stdout.splitlines() if len(words := line.split()) == 2)


@click.command()
@click.argument("part", type=click.Choice(["start", "latency", "preempted", "wall", "cost"]))
@click.option("--tracers", default="", help="Names of tests/bench/tools.py, with commas between them.")
@click.option("--loads", default="", help="Names of tests/bench/loads.py, with commas between them.")
@click.option("--starts", default=1)
@click.option("--repeats", default=1)
def main(*, part: str, tracers: str, loads: str, starts: int, repeats: int) -> None:
    """Measure a part."""
    FOLDER.mkdir()
    # Not in /tmp, where everybody may write: no program would be kept there.
    os.environ["CACHE_DIRECTORY"] = tempfile.mkdtemp(dir="/var/cache")
    subprocess.run(["modprobe", "-a", "unix_diag", "inet_diag"], check=False)
    for brought in (LOAD, SCAP, NO_SCAP):
        if (RESULTS / brought.name).exists():
            shutil.copy2(RESULTS / brought.name, brought)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} {line}", flush=True)

    installed, reckoned = versions(), [pipeline.alerts()] if part == "cost" else []

    def keep(rows: Sequence[Row]) -> None:
        # Renamed, so that nobody reads half of it.
        new = RESULTS / f"{ROWS}.new"
        new.write_text(json.dumps({"versions": installed, "rows": [asdict(row) for row in (*reckoned, *rows)]}))
        new.replace(RESULTS / ROWS)

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if part == "start":
            start.measure(folder, rounds=repeats, say=say, keep=keep)
        elif part == "latency":
            latency.measure(folder, say=say, keep=keep)
        elif part == "preempted":
            preempted.measure(say=say, keep=keep)
        else:
            rounds.rounds(
                [TOOLS[each] for each in tracers.split(",")],
                [LOADS[each] for each in loads.split(",")],
                starts=starts,
                repeats=repeats,
                longer=part == "wall",
                folder=folder,
                say=say,
                keep=keep,
            )


if __name__ == "__main__":
    main()
