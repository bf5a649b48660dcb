"""Loads under tracers: each tracer is started some times, in turn with all others, and each load is played beside it.

Before each start the loads are played without any tracer: what changes in the course of a boot changes for both.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import server_load
from tests.bench.data import Row
from tests.bench.loads import Load, Played, play
from tests.bench.tools import LOAD, NotMeasuredError, Running, Tool

# What a tracer does while nothing happens is looked at for so long.
_IDLE_SECONDS = 5.0
# So long before each load: not always the same, or what wakes once a second would come at the same moment of each.
_SETTLE_SECONDS = (0.5, 1.5)
# It has caught up when it ran no more than twice of that, and so many ns, in a second.
_SLACK_NS = 2e6
_CATCH_UP_LIMIT = 300.0

Say = Callable[[str], None]
Keep = Callable[[Sequence[Row]], None]


@dataclass
class Found:
    """What was measured of a tracer under a load, by what it is.

    each: ns that a unit takes, till the tracer has caught up; untraced: the same without a tracer, right before; wall:
    till the load has ended; own: ns that the tracer itself runs for a unit; share: what part of one cpu it runs while
    the load is played; idle: ns that it runs in a second while nothing happens; ready: ns from its execution till it
    sees everything; peak, resident, no_file: its memory in KiB after the load; failed and alerts: how many units failed
    and how many alerts it printed, of each start. With a clock of instructions a ns is one.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lost: dict[str, int] | None = None
    missing: str = ""


def rounds(
    tools: Sequence[Tool],
    loads: Sequence[Load],
    *,
    starts: int,
    repeats: int,
    longer: bool,
    folder: Path,
    say: Say,
    keep: Keep,
) -> None:
    """Measure; longer: play as often as times need it, not as often as instructions do.

    say: is told what was found; keep: after each start of a tracer, all that is known.
    """
    found: dict[tuple[str, str], Found] = defaultdict(Found)
    with ExitStack() as stack:
        servers = None
        if any(not load.arguments for load in loads):
            servers = stack.enter_context(server_load.servers(folder))
        stage = Stage(servers, repeats=repeats, longer=longer)
        for load in loads:
            # What is played first in a boot is slower.
            stage.warm_up(load)
        for number in range(starts):
            for tool in tools:
                for group in _groups(tool, loads):
                    say(f"{number + 1} of {starts}: {tool.name}: {' '.join(load.name for load in group)}")
                    stage.under(tool, group, found)
                    for load in group:
                        say(line_of(tool, load, found[tool.name, load.name]))
                    keep(
                        [
                            Row(load, tracer, dict(each.values), each.lost, each.missing)
                            for (tracer, load), each in found.items()
                        ]
                    )


def _groups(tool: Tool, loads: Sequence[Load]) -> Iterator[list[Load]]:
    """Yield the loads that a start of the tracer is for."""
    wanted = [
        load for load in loads if load.for_all or tool.group in ("none", "floor") or tool.name.startswith("watch")
    ]
    together = [load for load in wanted if not load.alone]
    if together:
        yield together
    yield from ([load] for load in wanted if load.alone)


class Stage:
    """Where loads are played."""

    def __init__(self, servers: server_load.Servers | None, *, repeats: int, longer: bool) -> None:
        self._servers = servers
        self._repeats = repeats
        self._longer = longer

    def warm_up(self, load: Load) -> None:
        """Play a load once, for nothing."""
        self._play_units(load, load.count)

    def under(self, tool: Tool, loads: Sequence[Load], found: dict[tuple[str, str], Found]) -> None:
        """Start a tracer, play each load some times, end it."""
        ours = [found[tool.name, load.name] for load in loads]
        if any(each.missing for each in ours):
            return
        # What the tracer before has left to the kernel to free would be paid for by the first load.
        _settle()
        self.warm_up(loads[0])
        for load, each in zip(loads, ours, strict=True):
            for _ in range(self._repeats):
                _settle()
                each.values["untraced"].append(self._play(tool, load).each)
        failed = 0
        try:
            tool.require()
            with tool.start(self._servers.pids if self._servers else ()) as running:
                idle = _idle(running)
                for load, each in zip(loads, ours, strict=True):
                    for _ in range(self._repeats):
                        failed += self._one(tool, running, load, idle, each)
                    for what, kib in running.memory().items():
                        each.values[what].append(kib)
                    if running.process is not None:
                        each.values["idle"].append(idle * 1e9)
                    # A clock of instructions leaps while the machine waits for its disk.
                    if running.ready_ns is not None and self._longer:
                        each.values["ready"].append(running.ready_ns)
        except (NotMeasuredError, RuntimeError, OSError) as error:
            for each in ours:
                each.missing = str(error)
                each.values.clear()
            return
        for each in ours:
            if running.lost is not None:
                each.lost = each.lost or {}
                for cause, count in running.lost.items():
                    each.lost[cause] = each.lost.get(cause, 0) + count
            if failed:
                each.values["failed"].append(failed)
            if running.alerts is not None:
                each.values["alerts"].append(running.alerts)

    def _one(self, tool: Tool, running: Running, load: Load, idle: float, found: Found) -> int:
        _settle()
        before, begun = running.own(), time.monotonic_ns()
        played = self._play(tool, load, running.prefix)
        during, took = running.own() - before, time.monotonic_ns() - begun
        after = _catch_up(running, idle, sleeps=tool.sleeps)
        # load.c plays a tenth before it reads the clock.
        units = played.units * (1.1 if load.arguments else 1)
        found.values["wall"].append(played.each)
        found.values["each"].append(played.each + after / units)
        if running.process is not None and not (running.prefix and load.arguments):
            found.values["own"].append((during + after) / units)
            found.values["share"].append(during / took)
        return played.failed

    def _play(self, tool: Tool, load: Load, prefix: Sequence[str] = ()) -> Played:
        return self._play_units(load, load.longer if self._longer and tool.sleeps else load.count, prefix)

    def _play_units(self, load: Load, count: int, prefix: Sequence[str] = ()) -> Played:
        if load.arguments:
            return play(LOAD, load, count, prefix=prefix)
        assert self._servers is not None
        return self._servers.play(load, count)


def _settle() -> None:
    """Let the kernel do what it has put off for when it has time, or it would do it during the load."""
    time.sleep(random.uniform(*_SETTLE_SECONDS))


def _idle(running: Running) -> float:
    """Return how much of the time the tracer runs while nothing happens, as a fraction of one cpu."""
    if running.process is None:
        return 0.0
    before, begun = running.own(), time.monotonic_ns()
    time.sleep(_IDLE_SECONDS)
    return (running.own() - before) / (time.monotonic_ns() - begun)


def _catch_up(running: Running, idle: float, *, sleeps: bool) -> float:
    """Wait till the tracer has worked off what it has been given; returns how long it ran for that, in ns.

    sleeps: it may have been given nothing.
    """
    if running.process is None:
        return 0.0
    begun, first = time.monotonic_ns(), running.own()
    last, limit = first, begun + _CATCH_UP_LIMIT * 1e9
    while time.monotonic_ns() < limit:
        looked = time.monotonic_ns()
        time.sleep(1.0)
        now, passed = running.own(), time.monotonic_ns() - looked
        if now - last < 2 * idle * passed + _SLACK_NS:
            # In the first second: that is what it does at times anyway.
            if sleeps and last == first:
                return 0.0
            last = now
            break
        last = now
    return max(0.0, last - first - idle * (time.monotonic_ns() - begun))


def line_of(tool: Tool, load: Load, found: Found) -> str:
    """Return in a line what has been measured till now."""
    if found.missing:
        return f"  {load.name:14} {tool.name:16} not measured: {found.missing}"
    row = Row(load.name, tool.name, found.values, found.lost)
    each, untraced = row.median("each"), row.median("untraced")
    if each is None or not untraced:
        return f"  {load.name:14} {tool.name:16} nothing measured"
    own, idle = row.median("own") or 0, row.median("idle") or 0
    return (
        f"  {load.name:14} {tool.name:16} {each:12,.0f} {each / untraced:7.3f}  untraced {untraced:10,.0f}"
        f"  own {own:10,.0f}  idle {idle / 1e6:6.2f} M/s  lost {found.lost}"
        f"  failed {found.values.get('failed', '-')} alerts {found.values.get('alerts', '-')}"
    )
