"""Figures, not judgements: how fast and in how much memory operations become verdicts, and how fast tracing starts.

    python -m tests.bench            throughput and memory
    python -m tests.bench --quick    the same with a tenth of the operations
    python -m tests.bench start      reading BTF and compiling the probes, where python3-bpfcc is (nothing is loaded)

Throughput and memory are of generated records of the classic failure's connection, of which one in twenty fails; the
figures of one run compare with each other, those of two machines do not.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

from hangup.tracer.capture.file import FileSource, write_capture
from hangup.tracer.record.layout import Event, pack, unpack, unpack_all
from hangup.tracer.source import Source
from hangup.tracer.story.endpoints import Endpoints, Suffered
from hangup.tracer.story.story import tell
from hangup.tracer.tracer import Tracer
from hangup.tracer.verdicts.rules import Failure, judge_failure
from tests import stories
from tests.stories import CLIENT_SOCK, Story, established

# How many connections are open at a time; the same addresses come back at once, as they do under load.
_OPEN = 64
_BATCH = 1024
_MEBIBYTE = 1 << 20


def answered(**options: int) -> Story:
    """Return the connection of the classic failure when it goes well: the answer is read and both ends close."""
    story = established(**{"path": "/tmp/helloFastCGI.s", **options})
    client, server = story.client, story.server
    for size in (16, 699, 8):
        client.write(size, syscall=20)
        server.read(size)
    for size in (8, 43, 8, 11, 24):
        server.write(size)
        client.read(size)
    server.release()
    client.read()
    client.release()
    return story


class Records:
    """Records of connection after connection, the same addresses again and again. As good as endless."""

    def __init__(self, goes_well: Callable[..., Story] = answered) -> None:
        """Make what is repeated; goes_well: nineteen connections of twenty, the others fail."""
        self._templates = []
        for number in range(_OPEN):
            base = CLIENT_SOCK + number * 0x1000
            options = {"client_sock": base, "server_sock": base + 0x800, "inode_number": 1000 + 2 * number}
            both = stories.seeds_failure(**options), goes_well(**options)
            self._templates.append(tuple([pack(event) for event in story.events] for story in both))

    def connections(self) -> Iterator[list[bytes]]:
        """Yield the records of one connection after the other."""
        for number in count():
            fails, goes_well = self._templates[number % _OPEN]
            # Twenty does not divide the number of addresses: each has both.
            yield fails if number % 20 == 7 else goes_well

    def interleaved(self) -> Iterator[bytes]:
        """Yield records of connections that are open at the same time."""
        connections = self.connections()
        while True:
            several = [list(reversed(connection)) for connection in islice(connections, _OPEN)]
            while several:
                for connection in several:
                    yield connection.pop()
                several = [connection for connection in several if connection]


class Stream:
    """A source like the ring buffer's: records in memory, handed over some hundred at a time."""

    def __init__(self, records: Iterable[bytes]) -> None:
        self._records = iter(records)
        self.drained = False
        """Whether all have been read."""

    def read(self, timeout: float) -> list[bytes]:  # noqa: ARG002 - it never makes wait
        """Return the next records."""
        records = list(islice(self._records, _BATCH))
        self.drained = len(records) < _BATCH
        return records

    def opening(self) -> Sequence[bytes]:
        """Return that nothing is known before."""
        return ()

    def counts(self) -> Sequence[bytes]:
        """Return that nothing was counted."""
        return ()

    def losses(self) -> Sequence[bytes]:
        """Return that nothing was lost."""
        return ()


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds of this thread's processor some work takes."""
    gc.collect()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def exhaust(items: Iterable[object]) -> int:
    """Take everything and return how much it was."""
    return sum(1 for _ in items)


def trace(source: Source) -> Tracer:
    """Trace a source to its end."""
    with Tracer(source=source) as tracer:
        exhaust(tracer.alerts())
    return tracer


def resident(what: str = "VmRSS") -> float:
    """Return how many MiB this process has in memory now (proc_pid_status(5): VmRSS; RssAnon, what is not a file's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {what}")


def throughput(operations: int) -> None:
    """Print operations per second, by part and in all."""
    records = list(islice(Records().interleaved(), operations))
    events = [unpack(record) for record in islice(records, operations // 4)]
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture"
        write_capture(capture, records)
        size = capture.stat().st_size

        def from_file() -> None:
            with FileSource(capture) as source:
                trace(source)

        def read_only() -> None:
            with FileSource(capture) as source:
                while source.read(0):
                    pass

        def judge(events: Sequence[Event]) -> None:
            for occurrence in Endpoints().feed(events):
                if isinstance(occurrence, Suffered):
                    aftermath = occurrence.aftermath
                    failure = Failure(
                        aftermath.endpoint.role,
                        aftermath.failed,
                        aftermath.symptom,
                        aftermath.exchange,
                        tuple(aftermath.operations),
                        aftermath.reconnect,
                    )
                    judge_failure(tell(aftermath.connection), failure)

        parts: list[tuple[str, int, Callable[[], object]]] = [
            ("capture file to verdicts", operations, from_file),
            ("ring buffer's records to verdicts", operations, lambda: trace(Stream(records))),
            ("  of it: reading the capture", operations, read_only),
            ("  of it: unpacking", operations, lambda: exhaust(unpack_all(records))),
            ("  of it: matching", len(events), lambda: exhaust(Endpoints().feed(events))),
            ("  of it: matching and judging", len(events), lambda: judge(events)),
        ]
        print(f"throughput, {operations:,} operations ({size // _MEBIBYTE} MiB), one core:")
        whole = 0.0
        for name, count, work in parts:
            each = timed(work) / count
            whole = whole or each
            print(f"  {name:36}{1 / each:>12,.0f} operations/s {each * 1e6:6.2f} µs each {each / whole:6.0%}")


def memory(operations: int, first: int = 100_000) -> None:
    """Print how much memory many short connections leave behind; for a process of its own."""
    records = Records(stories.clean).interleaved()
    before = 0.0
    with Tracer(source=Stream(islice(records, operations))) as tracer:
        for done in range(0, operations, _BATCH):
            if not before and done >= first:
                before = resident()
            exhaust(tracer.poll(0))
        after = resident()
    print(f"memory, {operations:,} operations over {tracer.statistics.total.connections:,} connections:")
    print(f"  after the first {first:>11,} operations {before:8.1f} MiB")
    print(f"  after all {operations:>17,} operations {after:8.1f} MiB")
    print(f"  more{after - before:43.1f} MiB")


# What `hangup watch` does until its programs are loaded, in an interpreter of its own. argv: where they are kept.
_UNTIL_LOADED = """
import resource, sys
from pathlib import Path
import hangup.cli.main, hangup.cli.commands.watch
from hangup.tracer.host.inventory import snapshot
from hangup.tracer.kernel.kept import Kept
from hangup.tracer.kernel.compiler import Keeper
from hangup.tracer.kernel.probes import PROBED, options, preempts_programs
preempts_programs()
folder = Path(sys.argv[1])
keeper = Keeper(Kept(folder, owner=folder.stat().st_uid, top=folder), [probed.function for probed in PROBED])
keeper.compiled(keeper.facts(), options("fentry", selecting=False))
snapshot()
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith(("VmHWM", "VmRSS", "RssAnon"))))
"""


def start() -> int:
    """Print how long it takes to get the probes ready, and in how much memory. Nothing is loaded into the kernel."""
    print("start, all of it but loading, attaching and the check that programs can be loaded:")
    with tempfile.TemporaryDirectory() as folder:
        for what in ("nothing kept", *["programs kept"] * 5):
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _UNTIL_LOADED, folder], capture_output=True, text=True, check=False
            )
            taken = time.perf_counter() - begun
            if done.returncode:
                print(f"  not measured: {done.stderr.strip().splitlines()[-1]}")
                return 1
            most, now, own = (int(each) / 1024 for each in done.stdout.split())
            print(f"  {what:28}{taken:7.3f} s {now:7.1f} MiB, {own:5.1f} of them no file's; {most:.1f} at most")
        kept = sum(path.stat().st_size for path in Path(folder).iterdir())
    print(f"  kept: {kept / 1024:.0f} KiB")
    return 0


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("throughput", "memory", "start"), help="only this part")
    parser.add_argument("--quick", action="store_true", help="a tenth of the operations")
    arguments = parser.parse_args()
    fewer = 10 if arguments.quick else 1
    if arguments.part == "start":
        return start()
    if arguments.part == "throughput":
        throughput(1_000_000 // fewer)
    elif arguments.part == "memory":
        memory(10_000_000 // fewer)
    else:
        # Each in a process of its own: memory is what one run leaves, and a list of records is not part of it.
        quick = ["--quick"] if arguments.quick else []
        for part in ("throughput", "memory"):
            subprocess.run([sys.executable, "-m", "tests.bench", part, *quick], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
