"""`hangup watch` with its output read as it comes, and with what its start was spent on."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from hangup.tracer.verdicts import Kind
from tests.bench.tools import Running, hangup_command, told_by_watch

_CHUNK = 1 << 16
_END_LIMIT = 300.0
# An alert that has not come after so many seconds will not come any more.
_ALERT_LIMIT = 60.0
# The line that an alert is known by, as JSON and as text.
ALERT_LINE = {
    True: re.compile(rb'^\{"schema": ?\d+, ?"record": ?"alert".*\n', re.MULTILINE),
    False: re.compile(
        rb"^(?:%b)  \S.*  \d{4}-.*\n" % b"|".join(re.escape(kind.value.encode()) for kind in Kind), re.MULTILINE
    ),
}


@dataclass
class Watching:
    """A running `hangup watch` whose output is read here, as it comes."""

    process: subprocess.Popen[bytes]
    as_json: bool
    begun: int
    ready: int
    phases: dict[str, tuple[int, int]]
    """What the time until it was ready was spent on: ns, and the KiB of memory that were no file's after it."""
    lost: dict[str, int] | None = None
    """What it says that it lost, once it has ended; None: the text of alerts is read."""
    _text: bytes = b""
    read_at: list[int] = field(default_factory=list)
    """When each alert had been read, in ns."""
    lines: list[bytes] = field(default_factory=list)
    """The line that each was known by."""

    @property
    def running(self) -> Running:
        """Its process, to be asked for what it takes."""
        return Running(self.process)

    def await_alerts(self, count: int) -> int:
        """Read until there have been so many alerts, and return when the last one had been read.

        Raises RuntimeError if they do not come.
        """
        assert self.process.stdout is not None
        while len(self.read_at) < count:
            if not select.select([self.process.stdout], [], [], _ALERT_LIMIT)[0] or not self._read_more():
                raise RuntimeError(f"hangup watch has printed {len(self.read_at)} alerts, and should have {count}")
        return self.read_at[count - 1]

    def end(self) -> None:
        """End it, and read what else it has to say."""
        self.process.terminate()
        while self._read_more():
            pass
        self.process.wait(_END_LIMIT)
        if self.as_json:
            _, self.lost = told_by_watch(self._text.decode())

    def _read_more(self) -> bool:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), _CHUNK)
        now = time.monotonic_ns()
        self._text += data
        taken = 0
        for found in ALERT_LINE[self.as_json].finditer(self._text):
            taken = found.end()
            self.read_at.append(now)
            self.lines.append(found.group())
        self._text = self._text[taken:]
        return bool(data)


@contextmanager
def watching(probes: str, *, as_json: bool = True) -> Iterator[Watching]:
    """Run `hangup watch` from when its probes are attached until the context ends."""
    with tempfile.TemporaryFile() as complaints:
        yield from _watching(probes, as_json, complaints)


def _watching(probes: str, as_json: bool, complaints: IO[bytes]) -> Iterator[Watching]:
    ready, report_ready = os.pipe()
    phases, report_phases = os.pipe()
    # As `python -m hangup` would be started, but for the module. As text, those alike would be cut short.
    words = [word if as_json or word != "--json" else "--all" for word in hangup_command("watch", probes)[3:]]
    begun = time.monotonic_ns()
    command = [sys.executable, "-m", "tests.bench.timed_watch", str(begun), str(report_phases)]
    command += [*words, "--ready-fd", str(report_ready)]
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
        run.end()
    finally:
        process.kill()
        process.wait()
