"""`hangup watch` as its users run it, around a load; and what it found, held against a server's own log.

The server's log is the truth. It is compared connection for connection: nginx's debug log names process and
descriptor of each failure, in order; httpd's names process, thread and the microsecond.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hangup.tracer.names import error_name
from tests.scenarios.server_logs import LoggedFailure

# The end comes after the last records are drained and summed up; an emulated guest takes its time.
_END_LIMIT = 300.0


@dataclass
class Watch:
    """A run of `hangup watch --json`; its findings are there once its context has ended."""

    pid: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    total: dict[str, Any] = field(default_factory=dict)
    status: int | None = None

    def alerts_about(self, path: Path) -> list[dict[str, Any]]:
        """Return the alerts about connections to a path, in order."""
        return [alert for alert in self.alerts if alert["path"] == str(path)]

    def connections(self, path: Path, *verdicts: str) -> int:
        """Return how many connections to a path were counted under these verdicts; without any: under all."""
        return sum(
            row["connections"]
            for row in self.rows
            if row["path"] == str(path) and (not verdicts or row["verdict"] in verdicts)
        )


@contextmanager
def start(*arguments: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `hangup watch` with its output in a file, from when its probes are attached until the context ends."""
    ready, report = os.pipe()
    command = [sys.executable, "-m", "hangup", "watch", "--ready-fd", str(report), *arguments]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, pass_fds=(report,))
    os.close(report)
    try:
        with os.fdopen(ready) as reports:
            assert reports.readline(), "hangup watch ended before it was ready"
        yield process
    finally:
        process.terminate()
        process.wait(_END_LIMIT)


@contextmanager
def watch(output: Path, *arguments: str) -> Iterator[Watch]:
    """Run `hangup watch --json` until the context ends."""
    found = Watch()
    with start("--json", *arguments, output=output) as process:
        found.pid = process.pid
        yield found
    found.status = process.returncode
    for line in output.read_text().splitlines():
        record = json.loads(line)
        if record["record"] == "alert":
            found.alerts.append(record)
        elif record["record"] == "summary":
            found.rows.append(record)
        else:
            found.total = record


def disagreements(failures: Sequence[LoggedFailure], alerts: Sequence[dict[str, Any]]) -> list[str]:
    """Return where a server's log and the alerts about its connections differ, one line each."""
    logged_by, found_by = defaultdict(list), defaultdict(list)
    for failure in failures:
        logged_by[_who(failure.pid, failure.tid, failure.descriptor)].append(failure)
    by_descriptor = any(failure.descriptor is not None for failure in failures)
    for alert in alerts:
        failed = alert["failed"]
        tid, descriptor = (None, failed["descriptor"]) if by_descriptor else (failed["tid"], None)
        found_by[_who(failed["pid"], tid, descriptor)].append(failed)
    differences = []
    for who in logged_by.keys() | found_by.keys():
        logged, found = logged_by[who], found_by[who]
        if len(logged) != len(found):
            differences.append(f"{who}: {len(logged)} in the log, {len(found)} found")
            continue
        following = [*found[1:], None]
        for failure, failed, after in zip(logged, found, following, strict=True):
            differences += _differences(who, failure, failed, after)
    return differences


def _who(pid: int, tid: int | None, descriptor: int | None) -> str:
    return f"pid {pid}" + (f" descriptor {descriptor}" if descriptor is not None else f" thread {tid}")


def _differences(
    who: str, failure: LoggedFailure, failed: dict[str, Any], after: dict[str, Any] | None
) -> Iterator[str]:
    if (failure.operation, error_name(failure.errno)) != (failed["operation"], failed["error"]):
        yield f"{who}: {failure.message!r} in the log, {failed['operation']} {failed['error']} found"
    if failure.when_ns is not None:
        # A thread logs a failure after it has happened and before its next one.
        if not _nanoseconds(failed["time"]) - 1000 <= failure.when_ns:
            yield f"{who}: logged at {failure.when_ns}, before it was found to fail at {failed['time']}"
        if after is not None and failure.when_ns > _nanoseconds(after["time"]):
            yield f"{who}: logged at {failure.when_ns}, after the next failure at {after['time']}"


def _nanoseconds(time: str) -> int:
    """Return a time of docs/json.md (microseconds) in ns; a double would not be exact."""
    whole = datetime.fromisoformat(time)
    return int(whole.replace(microsecond=0).timestamp()) * 10**9 + whole.microsecond * 1000
