"""Writes records as they come: collects them to blocks, and has these compressed and stored by a thread of its own.

Where the blocks go is an `Output`'s to know: one file (files.py), several (rotation.py), or memory till something has
happened (around.py).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from threading import Condition, Thread
from typing import NamedTuple, Protocol

from hangup.tracer.capture.codec import compressor
from hangup.tracer.capture.format import LARGEST_RAW, BlockKind, Told, pack_block
from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record

BLOCK_BYTES = 1 << 20
"""A block has so many bytes of records at most."""

BLOCK_SECONDS = 1.0
"""What was written is in the file after so long, however little it is."""

WAITING_BYTES = 8 << 20
"""So many bytes of records may wait to be stored; then whoever writes waits."""

# As bytes: whoever wants the earliest and the latest of thousands makes numbers of all of them at once.
_TIME: Callable[[bytes], bytes] = itemgetter(slice(8, 16))

assert record.LARGEST <= BLOCK_BYTES <= LARGEST_RAW


class WriteError(HangupError):
    """A capture cannot be written any more."""


class Block(NamedTuple):
    """Some records as they stand in a file."""

    data: bytes
    """The block with its header."""
    records: int
    first: int
    """The earliest time of its records, in ns of CLOCK_MONOTONIC."""
    last: int
    """The latest one."""


class Output(Protocol):
    """Where blocks go. All but `open` is called by one thread, in the order in which things were written.

    Each raises OSError if it cannot be done.
    """

    def open(self) -> None:
        """Make it. Raises HangupError if that cannot be done."""

    def take(self, block: Block, records: Sequence[bytes]) -> None:
        """Store a block; records: what it consists of."""

    def mark(self, when: int) -> None:
        """Take it that something has happened, at a time in ns of CLOCK_MONOTONIC."""

    def close(self, *, whole: bool) -> None:
        """End it; whole: nothing is missing behind what was stored."""

    def abandon(self) -> None:
        """Leave what was stored in a state in which it can be read, after something could not be."""


class Pending:
    """What was written and is not stored yet, in order. Not thread-safe."""

    def __init__(self) -> None:
        """Begin with nothing."""
        # Records with how many bytes they are, and times of marks.
        self._parts: deque[tuple[Sequence[bytes], int] | int] = deque()
        self._since = 0.0
        self._marks = 0
        self.bytes = 0
        """How long the records are that wait."""

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._parts

    def add(self, records: Sequence[bytes], now: float) -> None:
        """Append records; now: in seconds of any clock that goes on."""
        if not self._parts:
            self._since = now
        size = sum(map(len, records))
        self._parts.append((records, size))
        self.bytes += size

    def add_mark(self, when: int) -> None:
        """Append that something has happened; it is due at once."""
        self._parts.append(when)
        self._marks += 1

    def patience(self, now: float) -> float | None:
        """Return for how many seconds it may wait; None: there is nothing."""
        if self.bytes >= BLOCK_BYTES or self._marks:
            return 0.0
        return max(self._since + BLOCK_SECONDS - now, 0.0) if self._parts else None

    def take(self) -> tuple[list[bytes], int | None]:
        """Remove what is next and return it: records, and what has happened after them."""
        records: list[bytes] = []
        mark = None
        while self._parts and mark is None:
            part = self._parts.popleft()
            if isinstance(part, int):
                mark = part
                self._marks -= 1
            else:
                records += part[0]
                self.bytes -= part[1]
        return records, mark


class Writer:
    """A new capture. Any thread may write."""

    def __init__(self, output: Output, *, name: str) -> None:
        """Nothing happens before it is opened. name: what it is called in an error."""
        self._output = output
        self._name = name
        self._changed = Condition()
        self._pending = Pending()
        self._is_open = False
        self._is_closing = False
        self._is_whole = False
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="capture", daemon=True)

    def open(self) -> None:
        """Create it. Raises HangupError if that cannot be done, or if zstandard is missing."""
        self._pack = packer()
        self._output.open()
        self._is_open = True
        self._thread.start()

    def write(self, records: Sequence[bytes]) -> None:
        """Append records; nothing, after it was closed.

        Raises HangupError if some could not be stored, BrokenPipeError if nobody reads any more; then it is closed.
        What lies behind a record's own length is not stored: a slot of the ring has room for the longest address.
        """
        with self._changed:
            while self._pending.bytes >= WAITING_BYTES and self._is_open and self._error is None:
                self._changed.wait()
            if self._is_open and records and self._error is None:
                # It sleeps while there is nothing, and knows how long it may while there is little.
                is_first = self._pending.empty
                self._pending.add(records, time.monotonic())
                if is_first or self._pending.bytes >= BLOCK_BYTES:
                    self._changed.notify_all()
        self._raise()

    def mark(self, when: int) -> None:
        """Take it that something has happened, at a time in ns of CLOCK_MONOTONIC: some outputs wait for that."""
        with self._changed:
            if self._is_open:
                self._pending.add_mark(when)
                self._changed.notify_all()

    def close(self, *, whole: bool = True) -> None:
        """Store what is left. whole: the capture ends here, and is not cut short. Raises as `write` does."""
        with self._changed:
            self._is_open = False
            self._is_closing, self._is_whole = True, whole
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        """Raise what has gone wrong, once."""
        error, self._error = self._error, None
        if error is None:
            return
        self._is_open = False
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise WriteError(
                f"cannot write {self._name} ({error.strerror})", "what was written till then can be read"
            ) from None
        if isinstance(error, HangupError):
            # Of several files the next one could not be made.
            raise WriteError(error.problem, error.remedy) from None
        raise error

    def _run(self) -> None:
        try:
            while self._store_next():
                pass
            self._output.close(whole=self._is_whole)
        except Exception as error:
            self._output.abandon()
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _store_next(self) -> bool:
        """Wait till something is to be stored, and store it; return whether that was not the last."""
        with self._changed:
            while not self._is_closing and (patience := self._pending.patience(time.monotonic())) != 0:
                self._changed.wait(patience)
            records, mark = self._pending.take()
            is_last = self._is_closing and self._pending.empty
            self._changed.notify_all()
        for block, its_records in self._pack(records):
            self._output.take(block, its_records)
        if mark is not None:
            self._output.mark(mark)
        return not is_last


class Packs(Protocol):
    """Makes blocks of records, each with the records in it."""

    def __call__(self, records: Sequence[bytes], told: Told = Told.FIRST) -> Iterator[tuple[Block, Sequence[bytes]]]:
        """Yield them; told: whether the records were told before. The gap is before the first block only."""


def packer() -> Packs:
    """Return what makes blocks of records; for one thread. Raises HangupError if zstandard is missing."""
    compress = compressor()

    def pack(records: Sequence[bytes], told: Told = Told.FIRST) -> Iterator[tuple[Block, Sequence[bytes]]]:
        # What is as long as an operation without an address is nothing else.
        for part in cut([data if len(data) == record.SIZE else record.trimmed(data) for data in records]):
            content = b"".join(part)
            codec, stored = compress(content)
            times = memoryview(b"".join(map(_TIME, part))).cast("Q").tolist()
            # They are in order but for some, and then to sort them takes less than to look for the two.
            times.sort()
            first, last = times[0], times[-1]
            count = len(part)
            data = pack_block(
                BlockKind.RECORDS,
                codec,
                stored,
                raw_length=len(content),
                records=count,
                first=first,
                last=last,
                told=told,
            )
            yield Block(data, count, first, last), part
            told = min(told, Told.AGAIN)

    return pack


def cut(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield records so many at a time that they fit into a block."""
    ends = list(accumulate(map(len, records)))
    begin = before = 0
    while begin < len(records):
        end = bisect_right(ends, before + BLOCK_BYTES)
        yield records[begin:end]
        begin, before = end, ends[end - 1]
