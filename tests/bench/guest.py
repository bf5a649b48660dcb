"""Boots a guest for a part of the measurement and takes its rows home."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import inside, scap, tools
from tests.bench.data import Row, Run
from tests.bench.loads import LOADS, compile_load
from tests.bench.tools import TOOLS
from tests.vmtest import kernels, paths

# The guest's clock counts instructions: one each nanosecond, also while the host does something else. It takes one cpu.
_ICOUNT = "-icount shift=0,sleep=off"

# Under emulation a tracer takes up to two minutes to start, and is measured in less than ten.
_TIME_LIMIT = 6 * 3600.0


@dataclass(frozen=True)
class Part:
    """A part that needs a guest, and what of it is measured unless somebody says otherwise."""

    name: str
    cpus: int
    counting: bool
    """Whether the clock counts instructions."""
    tracers: Sequence[str] = ()
    loads: Sequence[str] = ()
    starts: int = 1
    repeats: int = 1
    time_limit: float = _TIME_LIMIT

    def but(self, **chosen: object) -> Part:
        """Return it with what somebody has chosen; None: nothing."""
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]


_HANGUP = [name for name, tool in TOOLS.items() if tool.group == "hangup" and name != "watch-auto"]
_FLOOR = [name for name, tool in TOOLS.items() if tool.group == "floor"]
_OTHERS = [name for name, tool in TOOLS.items() if tool.group == "other"]

PARTS = {
    part.name: part
    for part in (
        Part("start", cpus=2, counting=False, repeats=5),
        Part("latency", cpus=2, counting=False),
        Part("preempted", cpus=1, counting=True),
        Part(
            "wall",
            cpus=2,
            counting=False,
            tracers=["none", "floor-fexit", *_HANGUP, *_OTHERS],
            # Two processes on two cpus that wake each other take times under emulation that differ by the half.
            loads=["solo", "elsewhere", "nginx", "nginx-1", "nginx-50", "failing"],
            starts=3,
            repeats=2,
        ),
        Part(
            "cost",
            cpus=1,
            counting=True,
            tracers=["none", *_FLOOR, *_HANGUP, *_OTHERS],
            loads=list(LOADS),
            starts=3,
            repeats=2,
        ),
    )
}
"""By their names on the command line."""


def measure(part: Part, kernel: str, keep: Callable[[Run], None]) -> None:
    """Measure a part in one boot, and give what was found to `keep`; what the guest says is passed on as it comes.

    Raises RuntimeError if the guest fails or is cut off, after what it had till then has been kept.
    """
    wanted = ["--repeats", str(part.repeats)]
    if part.tracers:
        wanted += ["--starts", str(part.starts), "--tracers", ",".join(part.tracers), "--loads", ",".join(part.loads)]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        results = Path(name) / kernel
        compile_load(results / tools.LOAD.name)
        if any(TOOLS[tracer].needs == "sysdig" for tracer in part.tracers):
            _bring_scap(kernel, results)
        options = ["--peers", "--no-kvm", "--cpus", str(part.cpus), "--kernel", kernel]
        options += ["--results", name, "--time-limit", str(part.time_limit)]
        if part.counting:
            options += [f"--qemu-options={_ICOUNT}"]
        command = [sys.executable, "-m", "tests.vmtest", *options]
        command += ["--", "python3", "-m", "tests.bench.inside", part.name, *wanted]
        failed = subprocess.run(command, check=False, cwd=paths.CHECKOUT).returncode
        if not (results / inside.ROWS).exists():
            raise RuntimeError(f"nothing was measured on {kernel}: the guest says above why")
        found = json.loads((results / inside.ROWS).read_text())
    run = Run(
        part=part.name,
        kernel=kernel,
        release=kernels.find_kernel(kernel).release,
        cpus=part.cpus,
        clock="instructions" if part.counting else "time",
        command=f"python -m tests.bench guest {part.name} --kernel {kernel} {' '.join(wanted)}",
        commit=commit(),
        date=time.strftime("%Y-%m-%d"),
        versions=found["versions"] | _emulator(),
        rows=[Row(**row) for row in found["rows"]],
    )
    keep(run)
    if failed:
        raise RuntimeError(f"{part.name} on {kernel} was cut off: the {len(run.rows)} rows that it had are kept")


def _bring_scap(name: str, results: Path) -> None:
    """Put sysdig's module where the guest finds it, or the reason why there is none."""
    kernel = kernels.find_kernel(name)
    # Without a command it only makes and fetches what a guest needs.
    subprocess.run([sys.executable, "-m", "tests.vmtest", "--peers", "--kernel", name], check=True, cwd=paths.CHECKOUT)
    try:
        shutil.copy2(scap.module(kernel), results / tools.SCAP.name)
    except RuntimeError as error:
        (results / tools.NO_SCAP.name).write_text(str(error))


def commit() -> str:
    """Return what of hangup is measured: its commit, and whether anything has been changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=paths.CHECKOUT)
    return done.stdout.strip() or "unknown"


def _emulator() -> dict[str, str]:
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        return {}
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return {"qemu": done.stdout.splitlines()[0].removeprefix("QEMU emulator version ")}
