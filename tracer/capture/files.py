"""One capture file, or a pipe, as the place where blocks go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from hangup.tracer.capture.codec import compressor
from hangup.tracer.capture.format import (
    ENTRIES_AT_ONCE,
    ENTRY_BYTES,
    BlockKind,
    End,
    Entry,
    pack_block,
    pack_end,
    pack_entry,
    pack_header,
)
from hangup.tracer.capture.names import PIPE, make_way
from hangup.tracer.capture.writer import Block, Writer
from hangup.tracer.errors import HangupError
from hangup.tracer.escape import shown_path

_BATCH = 4096


class File:
    """A file that is written from its beginning to its end; see `Output` (writer.py)."""

    def __init__(self, path: Path, *, force: bool | None = None, owner: tuple[int, int] | None = None) -> None:
        """Nothing happens before it is opened. force: replace a capture of this name, of one file or of several.

        None: it is one of several, and way was made for all of them. owner: whose it becomes, uid and gid; None: it is
        ours.
        """
        self._path = path
        self._force = force
        self._owner = owner
        self._descriptor: int | None = None
        self._entries = bytearray()
        self.size = 0
        """Bytes written till now."""
        self._blocks = self._records = 0

    def open(self) -> None:
        """Create it, readable by its owner only. Raises HangupError if there is such a capture, or it cannot be."""
        try:
            if self._force is not None:
                make_way(self._path, force=self._force)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if self._owner:
                os.fchown(self._descriptor, *self._owner)
        except FileExistsError:
            raise HangupError(f"there is a file {shown_path(self._path)} already", "name a new one") from None
        except OSError as error:
            raise cannot_create(self._path, error) from None
        self._begin()

    def take(self, block: Block, records: Sequence[bytes]) -> None:  # noqa: ARG002 - Output's
        """Append a block. Raises OSError if it cannot be written."""
        self._entries += pack_entry(Entry(self.size, block.first, block.last, block.records))
        self._blocks += 1
        self._records += block.records
        self._write(block.data)

    def mark(self, when: int) -> None:
        """Do nothing: everything is written."""

    def close(self, *, whole: bool) -> None:
        """Write index and end if it is whole, and close it. Raises OSError if they cannot be written."""
        if self._descriptor is None:
            return
        if whole:
            self._write_index()
        self._close()

    def abandon(self) -> None:
        """Take away what is there of a block that could not be written, and close it."""
        with suppress(OSError):
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, self.size)
        with suppress(OSError):
            self._close()

    def _begin(self) -> None:
        try:
            self._write(pack_header())
        except BrokenPipeError:
            raise
        except OSError as error:
            self.abandon()
            raise HangupError(
                f"cannot write {shown_path(self._path)} ({error.strerror})", "is its disk full?"
            ) from None

    def _write_index(self) -> None:
        compress = compressor()
        index_offset = self.size
        step = ENTRIES_AT_ONCE * ENTRY_BYTES
        for begin in range(0, len(self._entries), step):
            content = bytes(self._entries[begin : begin + step])
            codec, stored = compress(content)
            count = len(content) // ENTRY_BYTES
            self._write(pack_block(BlockKind.INDEX, codec, stored, raw_length=len(content), records=count))
        self._write(pack_end(End(index_offset, self._blocks, self._records)))

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        # What is not whole does not count.
        self.size += len(data)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Pipe(File):
    """Standard output, or another descriptor, which stays open: what reads there may do so while it is written."""

    def __init__(self, descriptor: int = 1) -> None:
        """Nothing happens before it is opened."""
        super().__init__(PIPE)
        self._other = descriptor

    def open(self) -> None:
        """Begin. Raises HangupError if that cannot be done, BrokenPipeError if nobody reads."""
        try:
            self._descriptor = os.dup(self._other)
        except OSError as error:
            raise HangupError(f"cannot write to standard output ({error.strerror})", "is it closed?") from None
        self._begin()

    def abandon(self) -> None:
        """Close it, with what is there of a block: a file may have had something in it, or somebody else writes it."""
        with suppress(OSError):
            self._close()


def cannot_create(path: Path, error: OSError) -> HangupError:
    """Return what is said of a file that cannot be made."""
    return HangupError(
        f"cannot create {shown_path(path)} ({error.strerror})", "name a new file in a folder that can be written"
    )


def file_writer(path: Path, *, force: bool = False) -> Writer:
    """Return what writes a new file; force: in the place of one that is there."""
    return Writer(File(path, force=force), name=str(path))


def write_capture(path: Path, records: Iterable[bytes]) -> None:
    """Write records to a new capture file. Raises HangupError if that cannot be done."""
    writer = file_writer(path)
    writer.open()
    remaining = iter(records)
    while some := list(islice(remaining, _BATCH)):
        writer.write(some)
    writer.close()
