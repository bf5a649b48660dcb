"""For how long was recorded what has been read, and from when to when: of captures one behind the other."""

from __future__ import annotations

from hangup.tracer.clocks import Clocks

Span = tuple[int, int]
"""The times of the first and of the last of some records, in ns."""


class RecordedTime:
    """The time that was recorded, without that between two runs, and between two files that leave something out."""

    def __init__(self, clocks: Clocks) -> None:
        """clocks: of the host that records are of."""
        self._clocks = clocks
        # Of what was recorded before something was left out, by the wall clock, and how long that was.
        self._before: Span | None = None
        self._nanoseconds = 0
        # Since then, by CLOCK_MONOTONIC.
        self._span: Span | None = None
        # What was read last: it is found out yet whether another run begins with it.
        self._last: Span | None = None

    def add(self, span: Span | None) -> None:
        """Take the times of what was read, in ns of CLOCK_MONOTONIC; None: it was only told again."""
        self._span, self._last = _joined(self._span, self._last), span

    def pause(self) -> None:
        """Take it that between what was read till now and what comes something is left out."""
        self.add(None)
        self.begin_run()

    def begin_run(self) -> None:
        """Take it that another run began with what was read last. The clocks are still those of the one before."""
        if self._span is not None:
            self._before = _joined(self._before, self._by_wall_clock(self._span))
            self._nanoseconds += _length(self._span)
        self._span = None

    @property
    def span(self) -> Span | None:
        """From when to when it was, by the wall clock; None: there was nothing."""
        return _joined(self._before, self._by_wall_clock(_joined(self._span, self._last)))

    @property
    def nanoseconds(self) -> int:
        """For how long it was recorded."""
        return self._nanoseconds + _length(_joined(self._span, self._last))

    def _by_wall_clock(self, span: Span | None) -> Span | None:
        return span and (self._clocks.wall(span[0]), self._clocks.wall(span[1]))


def _joined(span: Span | None, later: Span | None) -> Span | None:
    """Return the time from the beginning of the first one to the end of the last one."""
    if span is None or later is None:
        return span or later
    return min(span[0], later[0]), max(span[1], later[1])


def _length(span: Span | None) -> int:
    return span[1] - span[0] if span else 0
