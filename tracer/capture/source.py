"""A source whose records are written as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hangup.tracer.capture.writer import Writer
from hangup.tracer.source import Source

_Records = TypeVar("_Records", bound=Sequence[bytes])


class WritingSource:
    """A source whose records are written as they are read."""

    def __init__(self, source: Source, writer: Writer) -> None:
        """writer: is open, and not closed with this."""
        self._source = source
        self._writer = writer

    def opening(self) -> Sequence[bytes]:
        """Return what the source knows before anything is read. Raises HangupError if it cannot be written."""
        return self._kept(self._source.opening())

    def read(self, timeout: float) -> list[bytes]:
        """Return the source's next records. Raises HangupError if they cannot be written."""
        return self._kept(self._source.read(timeout))

    @property
    def drained(self) -> bool:
        """Whether the source is."""
        return self._source.drained

    def counts(self) -> Sequence[bytes]:
        """Return what the source has counted and not told by now."""
        return self._kept(self._source.counts())

    def losses(self) -> Sequence[bytes]:
        """Return what the source has lost and not told by now."""
        return self._kept(self._source.losses())

    def _kept(self, records: _Records) -> _Records:
        self._writer.write(records)
        return records
