"""What the tests ask the machine: systemd, the journal, the kernel, and the service's own metrics.

What they wait for they look for until it is there or a deadline has passed; nothing sleeps for a guessed time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

T = TypeVar("T")

UNIT = "hangup.service"
CONFIGURATION = Path("/etc/hangup/hangup.toml")
METRICS = "127.0.0.1:9754"

# An emulated machine compiles for ten seconds; the service's own limit (TimeoutStartSec=) is three minutes.
LIMIT = 240.0
_INTERVAL = 0.1


def until(look: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """Return what `look` returns as soon as that is true; fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {limit:.0f} s in vain: {what}"
        time.sleep(_INTERVAL)


def run(*command: str, status: int | None = 0, limit: float = LIMIT) -> str:
    """Run a command and return what it printed; fails on another exit status (None: any is right)."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    assert status is None or done.returncode == status, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


# ---- systemd -----------------------------------------------------------------


def show(name: str, unit: str = UNIT) -> str:
    """Return a property of a unit."""
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def main_pid() -> int:
    """Return the pid of the service."""
    return int(show("MainPID"))


def start(unit: str = UNIT) -> None:
    """Start a unit; a Type=notify one has said READY when this returns."""
    # Tests start and stop it more often than anybody's load does.
    run("systemctl", "reset-failed", unit, status=None)
    run("systemctl", "start", unit)


def stop(unit: str = UNIT) -> None:
    """Stop a unit, and return when it has ended."""
    run("systemctl", "stop", unit)


def reload() -> None:
    """Have the service read its configuration again, and return when it has."""
    now = Journal.now()
    run("systemctl", "reload", UNIT)
    until(
        lambda: [entry for entry in Journal.since(now) if "reloaded" in entry.get("MESSAGE", "")],
        "that the service says how the reload went",
    )


def running() -> None:
    """See that the service runs, with the configuration that it was installed with."""
    if show("ActiveState") != "active":
        start()


@contextmanager
def configured(text: str) -> Iterator[None]:
    """Start the service with this configuration; in the end it is stopped, and the configuration what it was."""
    before = CONFIGURATION.read_text()
    stop()
    CONFIGURATION.write_text(text)
    try:
        start()
        yield
    finally:
        stop()
        CONFIGURATION.write_text(before)


@contextmanager
def restarted(text: str) -> Iterator[None]:
    """Start the running service again with this configuration, and in the end with the one before."""
    try:
        with configured(text):
            yield
    finally:
        start()


@contextmanager
def reconfigured(text: str) -> Iterator[None]:
    """Have the running service read this configuration, and in the end the one before."""
    before = CONFIGURATION.read_text()
    CONFIGURATION.write_text(text)
    try:
        reload()
        yield
    finally:
        CONFIGURATION.write_text(before)
        reload()


# ---- the journal -------------------------------------------------------------


class Journal:
    """Entries of the journal, as journalctl's JSON has them."""

    @staticmethod
    def now() -> int:
        """Return the time by which `since` goes: in µs, of a clock that is never stepped."""
        return time.monotonic_ns() // 1000

    @staticmethod
    def since(when: int, *matches: str, unit: str = UNIT) -> list[dict[str, str]]:
        """Return a unit's entries since then, in order; matches: FIELD=value."""
        run("journalctl", "--sync")
        # Not --after-cursor: it leaves out the first entry of those that match, if the cursor's own does not.
        command = ("journalctl", "--quiet", "--all", "--boot", "--output", "json", "--unit", unit)
        entries = [json.loads(line) for line in run(*command, *matches).splitlines()]
        return [entry for entry in entries if int(entry["__MONOTONIC_TIMESTAMP"]) >= when]


# ---- the kernel --------------------------------------------------------------


# Maps of bpf/, some there when recording, some when streaming.
_MAPS = ("buckets", "counted", "histories", "losses", "pending", "pending_beside", "recorded", "ring", "selected_pids")


@dataclass(frozen=True)
class KernelObjects:
    """What the kernel holds of hangup's: ids of programs, ids of maps, names of tracefs events."""

    programs: frozenset[int]
    maps: frozenset[int]
    events: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.programs or self.maps or self.events)


def kernel_objects() -> KernelObjects:
    """Return what the kernel holds of hangup's now."""
    bpftool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert bpftool, "bpftool is missing: it is in vagrant/packages.list"
    programs, maps = set(), set()
    for program in json.loads(run(bpftool, "-j", "prog", "show")):
        # The names of all our programs begin so (tracer/kernel/probes.py).
        if str(program.get("name", "")).startswith("hangup_"):
            programs.add(program["id"])
            maps.update(program.get("map_ids", ()))
    for entry in json.loads(run(bpftool, "-j", "map", "show")):
        # By name: systemd has BPF of its own.
        if entry.get("name") in _MAPS:
            maps.add(entry["id"])
    events = re.findall(r"^\w+:\w+/(hangup_\w+)", Path("/sys/kernel/tracing/kprobe_events").read_text(), re.MULTILINE)
    return KernelObjects(frozenset(programs), frozenset(maps), frozenset(events))


def until_the_kernel_holds_nothing() -> None:
    """Wait until nothing of hangup's is left; the kernel frees programs some time after their last user is gone."""
    until(lambda: not kernel_objects(), "that the kernel holds no probe and no map of hangup's")


# ---- the metrics -------------------------------------------------------------


class Metrics:
    """One scrape of the service's metrics."""

    def __init__(self, listen: str = METRICS) -> None:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=60) as answer:
            self.text: str = answer.read().decode()
        self._samples = [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name with these labels; 0 if there are none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )
