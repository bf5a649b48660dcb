"""Figures that need a real kernel; meant for a guest, and for root. They are printed, nothing is asserted.

    python -m tests.vmtest -- python3 -m tests.bench_guest start latency
    python -m tests.vmtest ... -- python3 -m tests.bench_guest cost --icount    (the Makefile has it in full)

start: from the execution of `hangup watch` to its readiness and to its first alert, what that time is spent on, and
memory. latency: from a broken write's end until another process has read the alert, while other operations pass.
cost: what tracing adds to a connection, everything that hangup does for it included; with --icount the guest's clock
counts instructions, which repeat far better than times.

The load is the classic connection between two real processes: 16, 699 and 8 bytes, an answer of five writes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hangup.tracer.verdicts import Kind
from tests.scenarios.stage import Baton, Player, client, listener, wait_for_hangup

_REQUEST = (b"x" * 16, b"x" * 699, b"x" * 8)
_ANSWER = (8, 43, 8, 11, 24)
# The first byte of a request whose last write is to come too late.
_HASTY = b"!"
# connect, accept, three writes and reads, five and five, the end that is read, two releases
_OPERATIONS = 1 + 1 + 3 + 3 + 5 + 5 + 1 + 2
# The same without the last write's read and without reading the answer.
_HASTY_OPERATIONS = 1 + 1 + 3 + 2 + 5 + 2

_PER_SECOND = 1000
_LATENCY_SECONDS = 10
_ONE_HASTY_IN = 5
_TARGET_MS = 50.0

_CONNECTIONS = 300
_ROUNDS = 7
# Of what is recorded while nobody reads: all of it must find room in the ring buffer.
_HELD_ROUNDS = 5

_CHUNK = 1 << 16
_END_LIMIT = 300.0
_ALERT_LINE = {
    True: re.compile(rb'^\{"schema": ?\d+, ?"record": ?"alert".*\n', re.MULTILINE),
    False: re.compile(
        rb"^(?:%b)  \d{4}-.*\n" % b"|".join(re.escape(kind.value.encode()) for kind in Kind), re.MULTILINE
    ),
}


# ---- the load --------------------------------------------------------------------------------------------------------


def serve(waiting: socket.socket, connections: int) -> None:
    """Answer so many connections; hang up on the hasty ones before their last bytes have come."""
    for _ in range(connections):
        accepted, _ = waiting.accept()
        first = accepted.recv(16)
        accepted.recv(699)
        if not first.startswith(_HASTY):
            accepted.recv(8)
        for size in _ANSWER:
            accepted.send(b"y" * size)
        accepted.close()


def ask(path: Path) -> None:
    """Make one connection that goes well."""
    end = client(path)
    for data in _REQUEST:
        end.send(data)
    for size in _ANSWER:
        end.recv(size)
    end.recv(1)
    end.close()


def ask_hastily(path: Path) -> int:
    """Make one connection whose last write is broken, and return when that write was begun."""
    end = client(path)
    end.send(_HASTY + _REQUEST[0][1:])
    end.send(_REQUEST[1])
    wait_for_hangup(end)
    begun = time.monotonic_ns()
    try:
        end.send(_REQUEST[2])
    except BrokenPipeError:
        end.close()
        return begun
    raise AssertionError("the write was not broken")


class Load:
    """A server and a client process: connections, the last of them hasty."""

    def __init__(self, folder: Path, connections: int, *, per_second: float = 0.0, one_hasty_in: int = 0) -> None:
        """Start both; the client waits for go(). per_second: connections; 0: as many as there can be."""
        path = folder / f"load.{time.monotonic_ns()}"
        self._connections = connections
        self._go = Baton()
        self._waiting = listener(path)
        reading, self._report = os.pipe()
        self._server = Player(lambda: serve(self._waiting, connections))
        self._client = Player(lambda: self._ask_all(path, per_second, one_hasty_in))
        os.close(self._report)
        self._waiting.close()
        self._reports = os.fdopen(reading)

    def _ask_all(self, path: Path, per_second: float, one_hasty_in: int) -> None:
        broken = []
        self._go.take()
        begun = time.monotonic_ns()
        for number in range(1, self._connections + 1):
            if per_second:
                # The load's pace, not a wait for anything.
                due = begun / 1e9 + number / per_second
                time.sleep(max(due - time.monotonic(), 0))
            if number == self._connections or (one_hasty_in and number % one_hasty_in == 0):
                broken.append(ask_hastily(path))
            else:
                ask(path)
        with os.fdopen(self._report, "w") as report:
            json.dump([begun, time.monotonic_ns(), broken], report)

    def go(self) -> None:
        """Let the client begin."""
        self._go.pass_on()

    def end(self) -> tuple[int, int, list[int]]:
        """Wait for both; return when the client began and ended, and when it began each broken write, in ns."""
        with self._reports as reports:
            begun, ended, broken = json.load(reports)
        self._client.end()
        self._server.end()
        return begun, ended, broken


# ---- hangup ----------------------------------------------------------------------------------------------------------


@dataclass
class Watching:
    """A running `hangup watch` whose output is read here, as it comes."""

    process: subprocess.Popen[bytes]
    as_json: bool
    begun: int
    ready: int
    phases: dict[str, tuple[int, int]]
    """What the time until it was ready was spent on: ns, and the KiB of memory that were no file's after it."""
    _text: bytes = b""
    read_at: list[int] = field(default_factory=list)
    """When each alert had been read, in ns."""
    lines: list[bytes] = field(default_factory=list)
    """The line that each was known by."""

    def await_alerts(self, count: int) -> int:
        """Read until there have been so many alerts, and return when the last one had been read."""
        while len(self.read_at) < count and self._read_more():
            pass
        assert len(self.read_at) >= count, "hangup watch ended too early"
        return self.read_at[count - 1]

    def end(self) -> bytes:
        """End it, and return what else it had to say."""
        self.process.terminate()
        while self._read_more():
            pass
        self.process.wait(_END_LIMIT)
        return self._text

    def memory(self) -> tuple[float, float, float]:
        """Return its memory in MiB: the most so far, now, and what of it is no file's (proc_pid_status(5))."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        peak, now, own = (
            int(line.split()[1]) / 1024
            for name in ("VmHWM", "VmRSS", "RssAnon")
            for line in text.splitlines()
            if line.startswith(f"{name}:")
        )
        return peak, now, own

    def _read_more(self) -> bool:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), _CHUNK)
        now = time.monotonic_ns()
        self._text += data
        taken = 0
        for found in _ALERT_LINE[self.as_json].finditer(self._text):
            taken = found.end()
            self.read_at.append(now)
            self.lines.append(found.group())
        self._text = self._text[taken:]
        return bool(data)


@contextmanager
def watching(flavour: str, *, as_json: bool = True) -> Iterator[Watching]:
    """Run `hangup watch` from when its probes are attached until the context ends."""
    with tempfile.TemporaryFile() as complaints:
        yield from _watching(flavour, as_json, complaints)


def _watching(flavour: str, as_json: bool, complaints: IO[bytes]) -> Iterator[Watching]:
    ready, report_ready = os.pipe()
    phases, report_phases = os.pipe()
    begun = time.monotonic_ns()
    command = [sys.executable, "-m", "tests.timed_watch", str(begun), str(report_phases), "watch"]
    command += ["--probes", flavour, "--no-fail", "--ready-fd", str(report_ready), *(["--json"] if as_json else [])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        pass_fds=(report_ready, report_phases),
    )
    os.close(report_ready)
    os.close(report_phases)
    try:
        with os.fdopen(ready) as reports, os.fdopen(phases) as stopwatch:
            line = reports.readline()
            now = time.monotonic_ns()
            if not line:
                complaints.seek(0)
                raise RuntimeError(f"hangup watch ended before it was ready: {complaints.read().decode()}")
            run = Watching(process, as_json, begun, now, json.loads(stopwatch.readline()))
        yield run
        tell_losses(run.end(), as_json)
    finally:
        process.kill()
        process.wait()


def tell_losses(summary: bytes, as_json: bool) -> None:
    """Say what was lost, if anything was: it makes the figures worth less."""
    if not as_json:
        return
    for line in summary.splitlines():
        record = json.loads(line)
        if record["record"] not in ("alert", "summary") and record["lost"]:
            print(f"  lost: {record['lost_by_cause']}")


# ---- the figures -----------------------------------------------------------------------------------------------------


def start(folder: Path) -> None:
    """Print how long it takes until `hangup watch` is ready, what for, and how much memory it takes."""
    print("start: from the execution of `hangup watch --json` to")
    runs: dict[str, dict[str, tuple[int, int]]] = {}
    # Not in /tmp, where everybody may write: nothing would be kept there.
    kept = tempfile.mkdtemp(dir="/var/cache")
    os.environ["CACHE_DIRECTORY"] = kept
    kinds = [f"{flavour}, {what}" for flavour in ("fentry", "kprobe") for what in ("nothing kept", "kept")]
    # What is on the disk is in memory with the second run.
    for what in ("fentry, first", *kinds):
        flavour = what.partition(",")[0]
        if what.endswith("nothing kept"):
            for path in Path(kept).iterdir():
                path.unlink()
        load = Load(folder, 1)
        with watching(flavour) as run:
            peak, now, own = run.memory()
            load.go()
            first = run.await_alerts(1)
            load.end()
            ready = (run.ready - run.begun) / 1e9
            print(
                f"  {what:24} ready {ready:6.2f} s, first alert read {(first - run.begun) / 1e9:6.2f} s;"
                f" memory when ready {now:.0f} MiB ({own:.0f} no file's), at most {peak:.0f} MiB"
            )
            runs[what] = run.phases
    shutil.rmtree(kept)
    del os.environ["CACHE_DIRECTORY"]
    print(f"  {'what for: seconds, MiB of no file after it':43}{''.join(f'{what:>24}' for what in runs)}")
    for phase in runs[kinds[0]]:  # in the order in which they came
        cells = (run.get(phase, (0, 0)) for run in runs.values())
        print(f"    {phase:41}{''.join(f'{spent / 1e9:17.2f}{memory / 1024:7.1f}' for spent, memory in cells)}")
    sys.stdout.flush()


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def latency(folder: Path) -> None:
    """Print how long it takes until somebody has read an alert."""
    operations = (_OPERATIONS * (_ONE_HASTY_IN - 1) + _HASTY_OPERATIONS) / _ONE_HASTY_IN
    per_second = _PER_SECOND / operations
    connections = int(per_second * _LATENCY_SECONDS) // _ONE_HASTY_IN * _ONE_HASTY_IN
    print(f"latency: from a broken write until the alert is read, ms (to reach: below {_TARGET_MS:.0f})")
    for flavour, as_json in (("fentry", True), ("fentry", False), ("kprobe", True), ("kprobe", False)):
        load = Load(folder, connections, per_second=per_second, one_hasty_in=_ONE_HASTY_IN)
        with watching(flavour, as_json=as_json) as run:
            load.go()
            run.await_alerts(connections // _ONE_HASTY_IN)
            begun, ended, broken = load.end()
        rate = connections * operations / (ended - begun) * 1e9
        # A block tells its time by the wall clock: instead, from when the client began the write.
        since = [json.loads(line)["monotonic_ns"] for line in run.lines] if as_json else broken
        passed = [(read - then) / 1e6 for then, read in zip(since, run.read_at, strict=True)]
        figures = [min(passed), statistics.median(passed), nearest_rank(passed, 99), max(passed)]
        shown = "  ".join(
            f"{what} {value:6.1f}" for what, value in zip(("min", "median", "p99", "max"), figures, strict=True)
        )
        form = "--json, from the write's end" if as_json else "text, from the write's beginning"
        print(f"  {flavour} {form:34}{shown}  ({len(passed)} alerts, {rate:,.0f} operations/s)", flush=True)


def _round(folder: Path, run: Watching | None) -> float:
    """Return what one connection costs, until its last alert has been read, in ns."""
    load = Load(folder, _CONNECTIONS)
    load.go()
    # hangup takes records in their order: with the alert of the last connection it has worked off all of them.
    read = run.await_alerts(len(run.read_at) + 1) if run else 0
    begun, ended, _ = load.end()
    return (max(ended, read) - begun) / _CONNECTIONS


def _held_rounds(folder: Path, run: Watching) -> list[float]:
    """Return what one connection costs while hangup itself is stopped, in ns: the probes alone."""
    seen = len(run.read_at)
    run.process.send_signal(signal.SIGSTOP)
    costs = [_round(folder, None) for _ in range(_HELD_ROUNDS)]
    run.process.send_signal(signal.SIGCONT)
    run.await_alerts(seen + _HELD_ROUNDS)
    return costs


def cost(folder: Path, *, icount: bool) -> None:
    """Print what tracing adds to a connection."""
    unit = "instructions" if icount else "ns"
    print(f"cost of a connection of {_OPERATIONS} operations between two Python processes, {unit}, medians")
    untraced: list[float] = []
    traced: list[tuple[str, list[float]]] = []
    for flavour in ("fentry", "kprobe"):
        untraced += [_round(folder, None) for _ in range(_ROUNDS)]
        with watching(flavour) as run:
            traced.append((f"{flavour}, hangup included", [_round(folder, run) for _ in range(_ROUNDS)]))
            traced.append((f"{flavour}, the probes alone", _held_rounds(folder, run)))
    untraced += [_round(folder, None) for _ in range(_ROUNDS)]
    base = statistics.median(untraced)
    print(f"  {'untraced':26}{base:12,.0f}         {_spread(untraced)}")
    for what, costs in traced:
        each = statistics.median(costs)
        print(
            f"  {what:26}{each:12,.0f} {each / base:6.2f}  {_spread(costs)}"
            f"  {(each - base) / _OPERATIONS:10,.0f} more for each operation"
        )
    sys.stdout.flush()


def _spread(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    low, high = min(values) / middle - 1, max(values) / middle - 1
    return f"({len(values)} runs: {low:+.1%} to {high:+.1%})"


def main() -> None:
    """Print what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.bench_guest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=("start", "latency", "cost"))
    parser.add_argument("--icount", action="store_true", help="the guest's clock counts instructions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts:
            if part == "start":
                start(Path(folder))
            elif part == "latency":
                latency(Path(folder))
            else:
                cost(Path(folder), icount=arguments.icount)


if __name__ == "__main__":
    main()
