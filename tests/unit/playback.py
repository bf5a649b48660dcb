"""Feeds told stories (tests/stories.py) to a tracer, as if its probes had recorded them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hangup.tracer.clocks import Clocks
from hangup.tracer.host.cgroups import parse
from hangup.tracer.record.facts import HostFact, LostPeriod, ProcessFact, pack_fact
from hangup.tracer.record.layout import Event, Loss, pack
from hangup.tracer.story.process import leader_of
from hangup.tracer.tracer import Alert, Tracer
from tests.stories import Story
from tests.unit.sources import Records, lost_records

_T = TypeVar("_T")

CLOCKS = Clocks()
"""A story begins at 2026-01-01 00:00:00 UTC, a second after its host."""
CLOCKS.take(HostFact(monotonic=0, boottime=0, wall=(1_767_225_600 - 1) * 10**9, looked=0))


class Playback(Records):
    """A source that gives these events, and then none; `idle` seconds are waited for more."""

    def __init__(
        self,
        events: Iterable[Event],
        losses: Mapping[Loss, int] | None = None,
        *,
        periods: Sequence[LostPeriod] = (),
        cgroups: Mapping[int, str] | None = None,
        idle: float = 0,
    ) -> None:
        """cgroups: the paths of those that are known, by id."""
        told = list(events)
        records = [pack(event) for event in told]
        super().__init__([*_processes(told, cgroups or {}), *records])
        self._lost = losses or {}
        self._periods = periods
        self._told: list[bytes] = []
        self._idle = idle

    def read(self, timeout: float) -> list[bytes]:
        """Return everything once, and what was lost whenever that has changed."""
        lost = lost_records(self._periods, self._lost)
        records = [*(lost if lost != self._told else []), *super().read(timeout)]
        self._told = lost
        if not records:
            time.sleep(min(timeout, self._idle))
        return records


def _processes(events: Iterable[Event], cgroups: Mapping[int, str]) -> list[bytes]:
    return [
        pack_fact(
            ProcessFact(
                event.end,
                event.pid,
                leader_of(event),
                event.inner_pid,
                event.cgroup,
                parse(cgroups[event.cgroup].encode()),
            )
        )
        for event in events
        if event.cgroup in cgroups
    ]


def shown(
    stories: Story | Iterable[Story],
    show: Callable[[Alert], _T],
    *,
    cgroups: Mapping[int, str] | None = None,
    **options: Any,
) -> list[_T]:
    """Return what `show` makes of each alert, which it is given when it comes."""
    many = [stories] if isinstance(stories, Story) else stories
    events = [event for story in many for event in story.events]
    with Tracer(source=Playback(events, cgroups=cgroups), **options) as tracer:
        return [show(alert) for alert in tracer.alerts()]
