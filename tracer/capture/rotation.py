"""A capture in several files: a new one after so many bytes or so much time, and only the last ones may be kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hangup.tracer.capture.files import File, cannot_create
from hangup.tracer.capture.format import Told
from hangup.tracer.capture.names import make_way, numbered
from hangup.tracer.capture.standing import Standing
from hangup.tracer.capture.writer import Block, packer


class Series:
    """The files of one capture, one after the other: each begins with what was told before and still holds."""

    def __init__(
        self, path: Path, *, force: bool = False, count: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """path: the files are called so, with a number behind it. force: a capture of this name is removed first.

        count: of so many the oldest one is removed when there is one more; None: all are kept. owner: see `File`.
        """
        self._path = path
        self._force = force
        self._count = count
        self._owner = owner
        self._kept: deque[Path] = deque()
        self._number = 0
        self._file: File | None = None
        self._standing = Standing()

    @property
    def size(self) -> int:
        """Bytes of the file that is written; 0: none is."""
        return self._file.size if self._file else 0

    def check(self) -> None:
        """See that there is no capture of this name, or with force remove it. Raises HangupError."""
        try:
            make_way(self._path, force=self._force)
        except OSError as error:
            raise cannot_create(self._path, error) from None
        self._pack = packer()

    def try_out(self) -> None:
        """See that the first file can be made, and take it away again. Raises HangupError if it cannot be."""
        path = numbered(self._path, 1)
        file = File(path, owner=self._owner)
        file.open()
        file.abandon()
        try:
            path.unlink()
        except OSError as error:
            raise cannot_create(path, error) from None

    def begin(self, told: Told = Told.AGAIN) -> None:
        """Begin the next file. Raises HangupError if it cannot be made, OSError if it cannot be written.

        told: what is said of that with which it begins.
        """
        self.end(whole=True)
        self._number += 1
        path = numbered(self._path, self._number)
        if self._count is not None and len(self._kept) >= self._count:
            with suppress(FileNotFoundError):
                self._kept.popleft().unlink()
        self._kept.append(path)
        self._file = File(path, owner=self._owner)
        self._file.open()
        for block, records in self._pack(self._standing.records(), told):
            self._file.take(block, records)

    def learn(self, records: Sequence[bytes]) -> None:
        """Take what these records say: the next file will begin with it."""
        self._standing.learn(records)

    def take(self, block: Block) -> None:
        """Append a block to the file that was begun last. Raises OSError if it cannot be written."""
        assert self._file is not None, "no file was begun"
        self._file.take(block, ())

    def end(self, *, whole: bool) -> None:
        """End the file that was begun last, if one was. Raises OSError if that cannot be written."""
        file, self._file = self._file, None
        if file is not None:
            file.close(whole=whole)

    def abandon(self) -> None:
        """Leave the file so that it can be read, after something could not be written."""
        if self._file is not None:
            self._file.abandon()


class Rotated:
    """An `Output` (writer.py) in several files."""

    def __init__(
        self,
        series: Series,
        *,
        size: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """size: a file has no more bytes, but for its index and a single block that has more.

        seconds: after so long the next one begins, when something comes to be written. clock: counts seconds.
        """
        self._series = series
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._begun = 0.0
        self._has_block = False

    def open(self) -> None:
        """Make the first file. Raises HangupError if that cannot be done."""
        self._series.check()
        self._begin()

    def take(self, block: Block, records: Sequence[bytes]) -> None:
        """Append a block, to the next file if it is time for that. Raises OSError if it cannot be written."""
        is_full = self._size is not None and self._series.size + len(block.data) > self._size
        is_old = self._seconds is not None and self._clock() - self._begun >= self._seconds
        # One that is too small for anything gets one block all the same.
        if self._has_block and (is_full or is_old):
            self._begin()
        self._series.take(block)
        self._has_block = True
        self._series.learn(records)

    def mark(self, when: int) -> None:
        """Do nothing: everything is written."""

    def close(self, *, whole: bool) -> None:
        """End the last file. Raises OSError if that cannot be written."""
        self._series.end(whole=whole)

    def abandon(self) -> None:
        """Leave the last file so that it can be read."""
        self._series.abandon()

    def _begin(self) -> None:
        self._series.begin()
        self._begun = self._clock()
        self._has_block = False
