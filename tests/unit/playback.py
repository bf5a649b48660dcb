"""Feeds told stories (tests/stories.py) to a tracer, as if its probes had recorded them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hangup.tracer.capture.file import LostPeriod
from hangup.tracer.record.layout import Event, Loss, pack
from hangup.tracer.tracer import Alert, Tracer
from tests.stories import Story

_T = TypeVar("_T")

# 2026-01-01 00:00:00 UTC, less the second at which a story begins.
OFFSET = (1_767_225_600 - 1) * 10**9


class Playback:
    """A source that gives these events, and then none; `idle` seconds are waited for more."""

    def __init__(
        self,
        events: Iterable[Event],
        losses: Mapping[Loss, int] | None = None,
        *,
        periods: Sequence[LostPeriod] = (),
        idle: float = 0,
    ) -> None:
        self._batches = [[pack(event) for event in events]]
        self._losses = losses or {}
        self._periods = periods
        self._idle = idle

    def read(self, timeout: float) -> list[bytes]:
        """Return everything once."""
        if self._batches:
            return self._batches.pop()
        time.sleep(min(timeout, self._idle))
        return []

    @property
    def drained(self) -> bool:
        """Whether everything has been read."""
        return not self._batches

    def losses(self) -> Mapping[Loss, int]:
        """Return what was said to be lost."""
        return self._losses

    def lost_periods(self) -> Sequence[LostPeriod]:
        """Return when that was, as far as it was said."""
        return self._periods


def shown(stories: Story | Iterable[Story], show: Callable[[Alert], _T], **options: Any) -> list[_T]:
    """Return what `show` makes of each alert, which it is given when it comes."""
    many = [stories] if isinstance(stories, Story) else stories
    events = [event for story in many for event in story.events]
    with Tracer(source=Playback(events), **options) as tracer:
        return [show(alert) for alert in tracer.alerts()]
