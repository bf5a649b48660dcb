"""A source whose records are written as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hangup.tracer.capture.format import Told
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.writer import Writer
from hangup.tracer.errors import HangupError
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
        records = self._source.read(timeout)
        if records and isinstance(self._source, FileSource) and self._source.told is not Told.FIRST:
            # What is written is told for the first time there.
            raise HangupError("one file of several cannot be written anew", "copy the files as they are")
        return self._kept(records)

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
