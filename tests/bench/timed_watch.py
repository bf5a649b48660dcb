"""`hangup watch` with a stopwatch in it, for tests/bench/watching.py.

    python -m tests.bench.timed_watch BEGUN DESCRIPTOR ARGUMENTS...

BEGUN: when this process was started, in ns of CLOCK_MONOTONIC. DESCRIPTOR: where one line of JSON goes when all is
attached: what the time till then was spent on, each with ns and with the KiB of memory that are no file's after it.
ARGUMENTS: those of `hangup`. It imports nothing that `hangup` does not import itself.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What is timed: the module, the function or method in it, and what that does.
PHASES = (
    ("hangup.tracer.kernel.preflight", "require", "first look at the host"),
    ("hangup.tracer.kernel.probes", "keeper", "BTF and sources: are they those of what is kept?"),
    ("hangup.tracer.kernel.compiler", "Keeper.facts", "facts from BTF, kept or not"),
    ("hangup.tracer.kernel.compiler", "Keeper.compiled", "reading and keeping programs"),
    ("hangup.tracer.kernel.compiler", "compile_probes", "compiling, in a process of its own"),
    ("hangup.tracer.kernel.probes", "create_maps", "creating the maps"),
    ("hangup.tracer.kernel.probes", "Probes._load_all", "loading: the verifier and the JIT"),
    ("hangup.tracer.kernel.probes", "Probes._attach", "attaching"),
    ("hangup.tracer.kernel.live", "snapshot", "finding what is open already"),
    ("hangup.tracer.host.unix_diag", "_codec", "importing pyroute2 for that"),
)


def owner_of(module: str, path: str) -> tuple[object, str]:
    """Return what has a function, and the function's name in it. Raises AttributeError if it is not there."""
    owner: object = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    getattr(owner, name)
    return owner, name


class Stopwatch:
    """Says what time was spent on: each moment belongs to the innermost phase that it lies in."""

    def __init__(self, begun: int, phase: str) -> None:
        """Start in a phase that began some time ago."""
        self.phases: dict[str, tuple[int, int]] = {}
        self._since = begun
        self._phase = phase

    def switch(self, phase: str) -> str:
        """Begin another phase, and return the one that ends."""
        ended = self._phase
        so_far, _ = self.phases.get(ended, (0, 0))
        self.phases[ended] = (so_far + time.monotonic_ns() - self._since, _own_memory())
        # Looking at memory belongs to no phase.
        self._since, self._phase = time.monotonic_ns(), phase
        return ended

    @contextmanager
    def phase(self, phase: str) -> Iterator[None]:
        """Be in a phase for as long as the context lasts."""
        before = self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)

    def time_calls(self, owner: object, name: str, phase: str) -> None:
        """Make a function or method of a module or class a phase."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.phase(phase):
                return function(*arguments, **options)

        setattr(owner, name, timed)


def _own_memory() -> int:
    """Return how many KiB of this process's memory are no file's (proc_pid_status(5))."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is not imported yet
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def main() -> None:
    """Time the start of what the arguments say."""
    begun, descriptor, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    watch = Stopwatch(begun, "Python starts")
    watch.switch("importing hangup and click")

    import hangup.cli.main  # noqa: PLC0415 - from here on it is timed
    from hangup.cli.commands import watch as verb  # noqa: PLC0415
    from hangup.cli.ready import Ready  # noqa: PLC0415

    timed = [(owner_of(module, path), phase) for module, path, phase in PHASES]
    other = "everything else"
    watch.switch(other)
    for (owner, name), phase in timed:
        watch.time_calls(owner, name, phase)

    report = Ready.report

    def timed_report(self: Ready, flavour: str) -> None:
        report(self, flavour)
        watch.switch(other)
        os.write(descriptor, json.dumps(watch.phases).encode() + b"\n")
        os.close(descriptor)

    Ready.report = timed_report  # type: ignore[method-assign]
    assert verb.command.name == arguments[0]
    sys.argv[1:] = arguments
    hangup.cli.main.main()


if __name__ == "__main__":
    main()
