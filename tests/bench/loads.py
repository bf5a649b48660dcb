"""The loads: what is played, how often, and what one unit of it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("load.c")


@dataclass(frozen=True)
class Load:
    """What is played under a tracer."""

    name: str
    label: str
    """What the document calls it."""
    unit: str
    operations: int
    """How many operations on Unix sockets a unit has; 0: none, or as many as the servers happen to do."""
    count: int
    """How many units are played where instructions are counted."""
    longer: int
    """How many where time is measured and the tracer sleeps: some seconds of them, or what wakes it at times is not
    seen."""
    arguments: Sequence[str] = ()
    """The kind and the options of load.c; none: it is the servers'."""
    fails_one_in: int = 0
    for_all: bool = False
    """Whether every tracer is measured with it; else only hangup's default, and the floor."""
    alone: bool = False
    """Whether a tracer is started for it alone, so that what it loses with this load is told apart."""


_CONNECTION = "connection"

LOADS: dict[str, Load] = {
    load.name: load
    for load in (
        Load(
            "solo",
            "the classic connection, both ends played by one process",
            _CONNECTION,
            21,
            600,
            30_000,
            ("connections",),
            for_all=True,
        ),
        Load(
            "pair",
            "the classic connection, between two processes",
            _CONNECTION,
            21,
            600,
            4000,
            ("connections", "processes=2"),
            for_all=True,
        ),
        Load(
            "bytes", "one byte there and back, both ends played by one process", "round", 4, 4000, 200_000, ("bytes",)
        ),
        Load(
            "bytes-pair",
            "one byte there and back, between two processes",
            "round",
            4,
            4000,
            20_000,
            ("bytes", "processes=2"),
        ),
        Load(
            "blocked",
            "the classic connection beside 100 threads that are blocked in read",
            _CONNECTION,
            21,
            600,
            30_000,
            ("connections", "blocked=100"),
        ),
        *(
            Load(
                f"open-{number}",
                f"a write and its read over one of {number:,} open connections",
                "write and read",
                2,
                8000,
                400_000,
                ("open", f"open={number}"),
            )
            for number in (1, 100, 10_000)
        ),
        Load(
            "elsewhere",
            "no Unix socket: a file written and read, a byte there and back over loopback TCP",
            "round",
            0,
            2000,
            60_000,
            ("elsewhere",),
            for_all=True,
        ),
        Load("nginx", "nginx to uWSGI under ab, nothing fails", "request", 0, 120, 800, for_all=True),
        Load("nginx-1", "the same, 1 % fails", "request", 0, 200, 800, fails_one_in=100),
        Load("nginx-50", "the same, 50 % fails", "request", 0, 120, 800, fails_one_in=2),
        Load(
            "failing",
            "every connection fails, as many as there can be",
            _CONNECTION,
            14,
            300,
            4000,
            ("connections", "failing=1"),
            fails_one_in=1,
            alone=True,
        ),
    )
}


@dataclass(frozen=True)
class Played:
    """What came of playing a load."""

    begun: int
    """When it began, in ns of CLOCK_MONOTONIC, and when it had ended."""
    ended: int
    units: int
    failed: int
    """How many units failed, also of those before it began."""

    @property
    def each(self) -> float:
        """How long a unit took, in ns."""
        return (self.ended - self.begun) / self.units


def compile_load(program: Path) -> None:
    """Compile load.c on this machine so that it runs in any guest. Raises RuntimeError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("there is no C compiler: run `make setup`")
    program.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"load.c cannot be compiled: {done.stderr.strip()}")


def play(program: Path, load: Load, count: int, *, prefix: Sequence[str] = ()) -> Played:
    """Play a load of load.c; prefix: a command that runs it. Raises RuntimeError if it fails."""
    kind, *options = load.arguments
    command = [*prefix, str(program), kind, str(count), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load {load.name} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return Played(**json.loads(done.stdout.splitlines()[-1]))
