"""What can be measured without loading anything into a kernel: on this machine, one core.

throughput: operations a second, of generated records of the classic failure's connection, of which one in twenty fails
(values: by what is done with them). captures: how many bytes a capture has for each operation of a lifelike load, and
how many a second are written, read, judged, and looked through by `hangup trace` with a filter that lets nearly none
pass. page: how long `hangup report --all` takes to draw a thousand alerts (clock, cpu), and how many bytes they are.
alerts: ns to make one of what a recording kernel hands over. memory: MiB of a tracer after the first operations over
many short connections, and after all of them. file-memory: the same of a capture of a GB, which is read and judged.
start: what `hangup watch` does till its programs are loaded: seconds of the clock (ready) and of the processor (cpu),
and MiB.

The figures of one machine compare with each other, those of two do not.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import filter_of, understood
from hangup.tracer.record.layout import unpack
from hangup.tracer.story.endpoints import Endpoints
from hangup.tracer.story.places import Placed
from hangup.tracer.tracer import Tracer
from tests import stories
from tests.bench.data import Row, Run
from tests.bench.guest import commit
from tests.bench.pipeline import PIPELINE, alerts, exhaust, timed, trace
from tests.bench.records import Records, Stream, lifelike
from tests.records import unpack_all
from tests.vmtest import paths

_OPERATIONS = 200_000
_REPEATS = 5
_LIVED_THROUGH = 10_000_000
_AT_FIRST = 100_000
_BATCH = 1024
_REPORTED = 1000
_IN_THE_FILE = 54_000_000
# What is looked for in the classic load: one operation in some hundred.
_RARE = "evt.res=EPIPE and proc.name=httpd"


def resident(what: str = "VmRSS") -> float:
    """Return how many MiB this process has in memory now (proc_pid_status(5): VmRSS; RssAnon, what is not a file's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {what}")


def throughput(operations: int) -> Row:
    """Return operations per second, by part and in all."""
    records = list(islice(Records().interleaved(), operations))
    events = [unpack(record) for record in records]
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture"
        write_capture(capture, records)

        def from_file() -> None:
            with FileSource(capture) as source:
                trace(source)

        parts: list[tuple[str, int, Callable[[], object]]] = [
            ("capture file to verdicts", operations, from_file),
            ("records to verdicts", operations, lambda: trace(Stream(records))),
            ("of it: unpacking", operations, lambda: exhaust(unpack_all(records))),
            ("of it: matching", operations, lambda: exhaust(Endpoints().feed(events))),
        ]
        values = {name: [number / timed(work) for _ in range(_REPEATS)] for name, number, work in parts}
    return Row("throughput", PIPELINE, values)


def captures(operations: int) -> Row:
    """Return how long a capture is, and how many operations a second of one processor it takes to write and read it."""
    records = lifelike(operations // 21)
    values: dict[str, list[float]] = {name: [] for name in ("bytes", "written", "read", "with verdicts", "filtered")}

    def read(path: Path, look: Callable[[FileSource], object]) -> None:
        with FileSource(path) as source:
            look(source)

    for _ in range(_REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "capture"
            # A thread of the writer's own does most of it.
            begun = time.process_time()
            write_capture(path, records)
            took = {
                "written": time.process_time() - begun,
                "read": timed(partial(read, path, lambda source: exhaust(iter(partial(source.read, 0), [])))),
                "with verdicts": timed(partial(read, path, trace)),
                "filtered": timed(partial(read, path, look_through)),
            }
            values["bytes"].append(path.stat().st_size / len(records))
            for name, seconds in took.items():
                values[name].append(len(records) / seconds)
    return Row("captures", PIPELINE, values)


def look_through(source: FileSource) -> int:
    """Return how many operations of a capture pass a filter that nearly none does, as `hangup trace` looks for them."""
    wanted = filter_of([understood(_RARE, Subject.OPERATIONS)], Subject.OPERATIONS)
    passed: list[Placed] = []
    with Tracer(source=source, selection=wanted.selection_of_read, only=wanted.rest, on_places=passed.extend) as tracer:
        exhaust(tracer.alerts())
    return len(passed)


def page(alerts: int) -> Row:
    """Return how long `hangup report` takes to draw so many alerts, with the start of Python, and how long that is."""
    values: dict[str, list[float]] = {name: [] for name in ("clock", "cpu", "bytes")}
    with tempfile.TemporaryDirectory() as folder:
        capture, written = Path(folder) / "capture", Path(folder) / "page.html"
        write_capture(capture, lifelike(alerts, failing=1.0))
        command = [sys.executable, "-m", "hangup", "report", "-r", str(capture), "-o", str(written), "--force", "--all"]
        for _ in range(_REPEATS):
            begun, before = time.perf_counter(), _children_ran()
            subprocess.run(command, capture_output=True, check=True)
            values["clock"].append(time.perf_counter() - begun)
            values["cpu"].append(_children_ran() - before)
            values["bytes"].append(written.stat().st_size)
    return Row("page", PIPELINE, {**values, "alerts": [alerts]})


def file_memory(operations: int) -> Row:
    """Return how much memory the reading of a long capture leaves behind; for a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        part, path = Path(folder) / "part", Path(folder) / "capture"
        some = min(operations, _OPERATIONS)
        # In a process of its own: what the making of records leaves behind is not to be counted.
        maker = get_context("spawn").Process(target=_make_capture, args=(part, some))
        maker.start()
        maker.join()
        size = part.stat().st_size
        with path.open("wb") as file:
            # One behind the other, as after cat(1).
            for _ in range(max(operations // some, 1)):
                file.write(part.read_bytes())
        before = 0.0
        with FileSource(path) as source, Tracer(source=source) as tracer:
            while not tracer.exhausted:
                exhaust(tracer.poll(0))
                if not before and source.position >= size:
                    before = resident()
            exhaust(tracer.alerts())
            after = resident()
        return Row("file-memory", PIPELINE, {"first": [before], "after": [after], "bytes": [path.stat().st_size]})


def _make_capture(path: Path, operations: int) -> None:
    write_capture(path, lifelike(operations // 21))


def memory(operations: int) -> Row:
    """Return how much memory many short connections leave behind; for a process of its own."""
    records = Records(stories.clean).interleaved()
    before = 0.0
    with Tracer(source=Stream(islice(records, operations))) as tracer:
        for done in range(0, operations, _BATCH):
            if not before and done >= min(_AT_FIRST, operations // 2):
                before = resident()
            exhaust(tracer.poll(0))
        return Row("memory", PIPELINE, {"first": [before], "after": [resident()], "operations": [operations]})


def start(_operations: int) -> list[Row]:
    """Return how long it takes to get the probes ready, and in how much memory. Nothing is loaded into the kernel."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, repeats in (("start-nothing-kept", 1), ("start-kept", _REPEATS)):
            values: dict[str, list[float]] = {name: [] for name in ("ready", "cpu", "peak", "resident", "no_file")}
            for _ in range(repeats):
                begun, before = time.perf_counter(), _children_ran()
                command = [sys.executable, "-m", "tests.bench.until_loaded", folder]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                values["ready"].append(time.perf_counter() - begun)
                values["cpu"].append(_children_ran() - before)
                if done.returncode:
                    reason = done.stderr.strip().splitlines()[-1]
                    return [Row(name, PIPELINE, missing=reason) for name in ("start-nothing-kept", "start-kept")]
                told = json.loads(done.stdout)
                for name, status in (("peak", "VmHWM"), ("resident", "VmRSS"), ("no_file", "RssAnon")):
                    values[name].append(told[status])
            rows.append(Row(what, PIPELINE, values))
    return rows


def _children_ran() -> float:
    """Return how many seconds of the processor the children took that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# $0 is the root of the guests, $1 the checkout; the rest is the command.
_IN_ROOT = """
mount --rbind /sys "$0/sys" && mount -t proc proc "$0/proc" && mount --bind "$1" "$0/mnt" && root=$0 && shift &&
    exec chroot "$root" env PYTHONPATH=/mnt PYTHONDONTWRITEBYTECODE=1 "$@"
"""


def _python(part: str) -> list[str]:
    """Return the Python that a part runs under: where this one has no BCC, that of the guests' root, if it is there.

    That is entered as chroot(1) does it, with mounts that go with the command.
    """
    elsewhere = paths.PEERS_ROOT
    if part != "start" or find_spec("bcc") or not elsewhere.exists() or os.geteuid():
        return [sys.executable]
    return ["unshare", "--mount", "sh", "-c", _IN_ROOT, str(elsewhere), str(paths.CHECKOUT), "/usr/bin/python3"]


PARTS: dict[str, tuple[Callable[[int], Row | list[Row]], int]] = {
    "throughput": (throughput, _OPERATIONS),
    "captures": (captures, _OPERATIONS),
    "page": (page, _REPORTED),
    "alerts": (lambda _operations: alerts(), 1),
    "memory": (memory, _LIVED_THROUGH),
    "file-memory": (file_memory, _IN_THE_FILE),
    "start": (start, 1),
}
"""By their names on the command line, and of how many operations, or of how many alerts a page."""


def measure(parts: Sequence[str], *, quick: bool) -> Run:
    """Measure parts on this machine, each in a process of its own; quick: with a tenth of the operations."""
    rows: list[Row] = []
    for part in parts:
        command = [*_python(part), "-m", "tests.bench.native", part, "quick" if quick else "all"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=paths.CHECKOUT)
        found = [Row(**row) for row in json.loads(done.stdout)]
        for row in found:
            print(f"{row.load}: {row.missing or {name: row.median(name) for name in row.values}}", flush=True)
        rows += found
    return Run(
        part="native",
        kernel="",
        release=os.uname().release,
        cpus=os.cpu_count() or 1,
        clock="time",
        command=f"python -m tests.bench native {' '.join(parts)}{' --quick' if quick else ''}",
        commit=commit(),
        date=time.strftime("%Y-%m-%d"),
        versions={"python": sys.version.split()[0]},
        rows=rows,
    )


def main() -> None:
    """Measure one part and print its rows; for `measure()`."""
    part, how_much = sys.argv[1:]
    work, operations = PARTS[part]
    rows = work(operations // 10 if how_much == "quick" else operations)
    found = rows if isinstance(rows, list) else [rows]
    print(
        json.dumps(
            [{"load": row.load, "tracer": row.tracer, "values": row.values, "missing": row.missing} for row in found]
        )
    )


if __name__ == "__main__":
    main()
