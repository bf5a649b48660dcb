"""Only what was recorded around an alert: the last blocks wait in memory, and are written when there is one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hangup.tracer.capture.format import Told
from hangup.tracer.capture.parser import unpacker
from hangup.tracer.capture.rotation import Series
from hangup.tracer.capture.writer import Block


class Around:
    """An `Output` (writer.py) that makes a file of what came before and after each mark."""

    def __init__(self, series: Series, *, nanoseconds: int, memory: int) -> None:
        """nanoseconds: so much before a mark is written, and so much after it, as far as it was kept.

        memory: so many bytes of blocks are kept, compressed as they are.
        """
        self._series = series
        self._nanoseconds = nanoseconds
        self._memory = memory
        self._kept: deque[Block] = deque()
        self._kept_bytes = 0
        # Till when everything is written, in ns of CLOCK_MONOTONIC; None: no file is.
        self._until: int | None = None
        # Whether something that was recorded since then is in no file.
        self._has_gap = False

    def open(self) -> None:
        """See that the files can be made: the first one will be at the first mark. Raises HangupError."""
        self._series.check()
        # The first alert may come days later.
        self._series.try_out()
        self._records_of = unpacker()

    def take(self, block: Block, records: Sequence[bytes]) -> None:
        """Write a block, or keep it. Raises OSError if it cannot be written."""
        if self._until is not None:
            is_within = block.first <= self._until
            if is_within:
                self._series.take(block)
                self._series.learn(records)
            if block.last > self._until:
                self._until = None
                self._series.end(whole=True)
            if is_within:
                return
        self._kept.append(block)
        self._kept_bytes += len(block.data)
        while self._kept_bytes > self._memory and len(self._kept) > 1:
            self._pass_over()
            self._has_gap = True

    def mark(self, when: int) -> None:
        """Write what was kept of the time before, and what comes from now on till some time after.

        Raises OSError if it cannot be written, HangupError if there is no file for it.
        """
        if self._until is None:
            while self._kept and self._kept[0].last < when - self._nanoseconds:
                self._pass_over()
                self._has_gap = True
            self._series.begin(Told.AGAIN_AFTER_GAP if self._has_gap else Told.AGAIN)
            self._has_gap = False
            while self._kept:
                self._series.take(self._kept[0])
                self._pass_over()
        self._until = max(self._until or 0, when + self._nanoseconds)

    def _pass_over(self) -> None:
        """Let go of the block that was kept for longest: what holds after it is told again by the files to come.

        Not before: a file begins with what held when its own first block began.
        """
        block = self._kept.popleft()
        self._kept_bytes -= len(block.data)
        # It is unpacked for that: its records are ten times as long.
        self._series.learn(self._records_of(block))

    def close(self, *, whole: bool) -> None:
        """End the file that is written, if one is. Raises OSError if that cannot be written."""
        self._series.end(whole=whole)

    def abandon(self) -> None:
        """Leave the file that is written so that it can be read."""
        self._series.abandon()
