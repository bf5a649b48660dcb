"""Makes records of the bytes of a capture file, which may come in parts of any size.

Whatever the bytes are, it takes a bounded amount of memory, and raises nothing but FormatError, at the place where the
file ceases to be a capture: all records before that have been given by then.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from hangup.tracer.capture.codec import decompressor
from hangup.tracer.capture.format import (
    BLOCK_BYTES,
    ENTRY_BYTES,
    HEADER_BYTES,
    MAGIC,
    BlockHeader,
    BlockKind,
    End,
    Entry,
    FormatError,
    Told,
    check_stored,
    pack_entry,
    unpack_block_header,
    unpack_end,
    unpack_header,
)
from hangup.tracer.capture.layouts import READABLE
from hangup.tracer.capture.writer import Block
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import is_whole

_LENGTH_AND_TYPE = struct.Struct("<IH").unpack_from
_SMALLEST, _LARGEST = record.SMALLEST, record.LARGEST
_OPERATION = int(record.RecordType.OPERATION)
_TOLD = frozenset(map(int, Told))


class Parser:
    """A file that is read from its beginning to its end.

    Behind its end another capture may stand, as after cat(1) of several.
    """

    def __init__(self) -> None:
        """Stand before its first byte. Raises HangupError if there is no zstandard."""
        self.offset = 0
        """Where in the file that begins which was not taken yet, in bytes."""
        self.record_version: int | None = None
        """Of the records as they stand in the file; None: a header is the next thing to be taken."""
        self.told = Told.FIRST
        """Whether the records that were taken last had been told before."""
        self._content_of = decompressor()
        self._data = bytearray()
        self._header: BlockHeader | None = None
        self._begin = 0
        self._begin_capture()

    def _begin_capture(self) -> None:
        self.record_version = None
        self._begin = self.offset
        self._blocks = 0
        self._records = 0
        # Of the entries that the index is to have, and of those that it has: how many bytes of it are kept need not
        # depend on how many blocks there are.
        self._expected = 0
        self._indexed = 0
        self._index_offset: int | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        self._data += data

    @property
    def wanted(self) -> int:
        """How many bytes more there must be for the next step, as far as that is known; 0: there are enough."""
        needed = HEADER_BYTES
        if self.record_version is not None:
            needed = BLOCK_BYTES + (self._header.stored_length if self._header else 0)
        return max(needed - len(self._data), 0)

    def take(self) -> list[bytes] | None:
        """Return the records of the next block, None if it has not been fed wholly. Raises FormatError."""
        while not self.wanted:
            if self.record_version is None:
                self.record_version = self._unpacked_header()
                self._drop(HEADER_BYTES)
            elif self._header is None:
                # Before there is memory for as much as it says.
                self._header = unpack_block_header(bytes(self._data[:BLOCK_BYTES]))
            else:
                header, size = self._header, BLOCK_BYTES + self._header.stored_length
                records = self._taken(header, bytes(memoryview(self._data)[BLOCK_BYTES:size]))
                self._header = None
                self._drop(size)
                if header.kind == BlockKind.END:
                    self._begin_capture()
                if records:
                    return records
        return None

    def end(self) -> None:
        """Take it that there are no more bytes. Raises FormatError if some are missing."""
        if self.record_version is not None:
            raise FormatError("it was cut short")
        if self._data or not self.offset:
            self._unpacked_header()

    def _unpacked_header(self) -> int:
        data = bytes(self._data[:HEADER_BYTES])
        if self.offset and not MAGIC.startswith(data[: len(MAGIC)]):
            raise FormatError("something stands behind its end")
        return unpack_header(data, READABLE)

    def _drop(self, count: int) -> None:
        del self._data[:count]
        self.offset += count

    def _taken(self, header: BlockHeader, stored: bytes) -> list[bytes]:
        """Return the records of a block; none if it has something else. Raises FormatError."""
        check_stored(header, stored)
        content = self._content_of(header.codec, stored, header.raw_length)
        if header.kind == BlockKind.INDEX:
            self._take_index(header, content)
            return []
        if header.kind == BlockKind.END:
            self._take_end(unpack_end(content))
            return []
        if self._index_offset is not None:
            raise FormatError("records stand behind the index")
        records = split(content)
        if len(records) != header.records:
            raise FormatError(f"a block has {len(records)} records, and says {header.records}")
        assert self.record_version is not None
        # What a later version may say is no reason not to read it.
        self.told = Told(header.told) if header.told in _TOLD else Told.FIRST
        entry = Entry(self.offset - self._begin, header.first, header.last, header.records)
        self._expected = zlib.crc32(pack_entry(entry), self._expected)
        self._blocks += 1
        self._records += len(records)
        return READABLE[self.record_version](records)

    def _take_index(self, header: BlockHeader, content: bytes) -> None:
        # Whoever reads all of it need not know where something is, but somebody else will.
        if header.raw_length != header.records * ENTRY_BYTES:
            raise FormatError("the index is not as long as its entries")
        self._indexed = zlib.crc32(content, self._indexed)
        if self._index_offset is None:
            self._index_offset = self.offset - self._begin

    def _take_end(self, end: End) -> None:
        index_offset = self.offset - self._begin if self._index_offset is None else self._index_offset
        if end != End(index_offset, self._blocks, self._records):
            raise FormatError("its end does not say what is there")
        if self._indexed != self._expected:
            raise FormatError("its index does not say where its blocks are")


def unpacker() -> Callable[[Block], list[bytes]]:
    """Return what gives back the records of a block that was packed here. Raises HangupError without zstandard."""
    content_of = decompressor()

    def unpack(block: Block) -> list[bytes]:
        header = unpack_block_header(block.data[:BLOCK_BYTES])
        return split(content_of(header.codec, block.data[BLOCK_BYTES:], header.raw_length))

    return unpack


def split(content: bytes) -> list[bytes]:
    """Return the records that a block consists of; FormatError if it consists of something else."""
    records: list[bytes] = []
    append, smallest, operation_at, operations = records.append, record.SIZE, record.OPERATION_AT, record.OPERATIONS
    offset, end = 0, len(content)
    try:
        while offset < end:
            length, kind = _LENGTH_AND_TYPE(content, offset)
            if not _SMALLEST <= length <= _LARGEST or offset + length > end:
                raise FormatError(f"a record says that it has {length} bytes")
            one = content[offset : offset + length]
            # As is_whole() does it, without what a call costs for each operation.
            if not (length >= smallest and one[operation_at] in operations if kind == _OPERATION else is_whole(one)):
                raise FormatError("a record is not what it says")
            append(one)
            offset += length
    except struct.error:
        raise FormatError("a record is shorter than its header") from None
    return records
