"""What is concluded of a story must not depend on how it was watched: streamed, or kept in the kernel and handed over.

What the recorder by design does not keep stands in tracer/fields.py. All else is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hangup.tracer.fields import ALERT, FIGURES, OPERATION
from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import FIRST_MOMENTS, Counted, Event, pack
from hangup.tracer.selection import Selection
from hangup.tracer.story.story import Story
from hangup.tracer.tracer import Alert, Tracer
from tests.recorder import Recorder
from tests.said import said
from tests.unit.sources import FakeProbes, live

_TIME = re.compile(r"\b[0-9.]+ (ns|µs|ms|s)\b")


class Kernel(FakeProbes):
    """A recording kernel in which these have happened, or do in these batches."""

    def __init__(self, *batches: Iterable[Event], lost: Sequence[LostPeriod] = (), recorder: Recorder | None = None):
        super().__init__(lost=lost)
        self.recorder = recorder or Recorder()
        self._happening = list(batches)

    def read(self, timeout: float) -> list[bytes]:
        """Let the next ones happen, and return the records of that."""
        assert timeout >= 0
        return self.recorder.record(self._happening.pop(0)) if self._happening else []

    @property
    def drained(self) -> bool:
        """Whether all of it has happened."""
        return not self._happening

    def counted(self) -> Sequence[Counted]:
        """Return how many connections have ended well."""
        return self.recorder.counted()


def recording(kernel: Kernel, *, selection: Selection | None = None, **options: Any) -> Tracer:
    """Return a tracer of a kernel that records; this host lends its processes no names."""
    source = live(kernel, recording=True, selection=selection)
    return Tracer(source=source, selection=selection, **{"latent": True, "harmless": True, **options})


def streamed(events: Sequence[Event], *, lost: Sequence[LostPeriod] = (), **options: Any) -> list[Alert]:
    """Return what is concluded of a stream of operations, latent and harmless included."""
    source = live(FakeProbes(map(pack, events), lost=lost))
    with Tracer(source=source, **{"latent": True, "harmless": True, **options}) as tracer:
        return list(tracer.alerts())


def recorded(events: Sequence[Event], *, lost: Sequence[LostPeriod] = (), **options: Any) -> list[Alert]:
    """Return what is concluded of what the kernel kept of the same operations."""
    with recording(Kernel(events, lost=lost), **options) as tracer:
        return list(tracer.alerts())


# Each tracer gives numbers of its own.
_OF_RUN = ("connection",)
# How long something took.
_TIMES = tuple(field.name for field in FIGURES if field.unit == "ns")


def essence(alert: Alert, *, times: bool = True) -> dict[str, object]:
    """Return all of an alert that does not depend on how it was watched; times: also how long something took."""
    found = said(ALERT, alert, without=_OF_RUN if times else (*_OF_RUN, *_TIMES))
    story = alert.story
    found["timeline"] = None if story is None else told_of(story)
    if not times:
        found["sentence"] = _TIME.sub("a while", alert.verdict.sentence)
    return {
        **found,
        "processes": (alert.client, alert.server),
        "users": None if story is None else (story.client.users, story.server.users),
        "key": alert.key,
    }


def told_of(story: Story) -> list[object]:
    """Return what a story tells of its first operations, of which so many are kept either way."""
    told = [
        sorted(
            (said(OPERATION, moment) for moment in story.timeline if moment.role == end),
            key=lambda operation: (operation["end_ns"], *map(str, operation.values())),
        )
        for end in ("client", "server")
    ]
    return [each[:FIRST_MOMENTS] for each in told]


def sharpened(events: Iterable[Event]) -> list[Event]:
    """Return events of which none ends in the very instant in which the next one begins, as those of stories do."""
    return [event._replace(end=event.end - (event.start < event.end)) for event in events]


def without_starts(events: Iterable[Event]) -> list[Event]:
    """Return events as if each had taken no time, as the recorder has them."""
    return [event._replace(start=event.end) for event in events]


def assert_both_ways_agree(
    events: Sequence[Event], *, lost: Sequence[LostPeriod] = (), starts: bool = True, times: bool = True, **options: Any
) -> None:
    """Check that both ways of watching conclude the same of these events.

    starts: when the stream has the times at which operations began. times: when it has not, how long something took,
    too; of operations that did not come one after the other that is another story.
    """
    events = sharpened(events)
    alerts = recorded(events, lost=lost, **options)
    streams = [(events, False)] if starts else []
    streams += [(without_starts(events), True)] if times else []
    for stream, with_times in streams:
        expected = [essence(alert, times=with_times) for alert in streamed(stream, lost=lost, **options)]
        found = [essence(alert, times=with_times) for alert in alerts]
        assert found == expected, "\n".join(differences(found, expected))


def differences(found: Sequence[Mapping[str, object]], expected: Sequence[Mapping[str, object]]) -> list[str]:
    """Return what differs, in words."""
    said = [] if len(found) == len(expected) else [f"{len(found)} alerts recorded, {len(expected)} streamed"]
    for one, other in zip(found, expected, strict=False):
        said += [f"{name}:\n  {one[name]}\n  {other[name]}" for name in one if one[name] != other[name]]
    return said
