"""How a capture file is laid out: a header, then blocks. docs/capture-format.md is written from these lists.

All of it is little-endian and without padding. Nothing in here opens a file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from hangup.tracer.record import layout as record

MAGIC = b"\x89HANGUP\n"
"""The first bytes: no text begins so, and what changes the ends of lines changes them."""

VERSION = 1
"""Of the layout described here. What a record means has a version of its own, `record.VERSION`."""

LARGEST_RAW = 2 << 20
"""A block whose records are longer than this, in bytes, is none: whoever reads needs no more memory than that."""

LARGEST_STORED = LARGEST_RAW + 4096
"""The same of what stands in the file, which zstd may make a little longer than what it was given."""


class Member(NamedTuple):
    """A number or some bytes in the file."""

    name: str
    code: str
    """As the struct module spells it."""
    meaning: str


HEADER = (
    Member("magic", "8s", "the bytes 89 48 41 4e 47 55 50 0a (hexadecimal)"),
    Member("format_version", "H", "of all that is described here"),
    Member("record_version", "H", "of the records: RECORD_VERSION in bpf/record.h"),
    Member("checksum", "I", "CRC-32 of the bytes before it, as zlib.crc32() and gzip have it"),
)
"""What a file begins with. A later version may have more behind it, not less."""

BLOCK = (
    Member("kind", "B", "1: records, 2: index, 3: end"),
    Member("codec", "B", "0: stored as it is, 1: one zstd frame that says how long its content is"),
    Member("told", "H", "0: for the first time, 1: told again, 2: told again after a gap; see *Several files*"),
    Member("records", "I", "how many records there are in it; of an index how many entries"),
    Member("raw_length", "I", "bytes of the content"),
    Member("stored_length", "I", "bytes of it as stored, which follow this header"),
    Member("first", "Q", "the earliest time of its records, in ns of CLOCK_MONOTONIC; of other kinds 0"),
    Member("last", "Q", "the latest one"),
    Member("checksum", "I", "CRC-32 of the bytes as stored"),
    Member("header_checksum", "I", "CRC-32 of the bytes of this header before it"),
)
"""What each block begins with."""

ENTRY = (
    Member("offset", "Q", "where in the file the block's header begins, in bytes"),
    Member("first", "Q", "as in that header"),
    Member("last", "Q", "as in that header"),
    Member("records", "Q", "as in that header"),
)
"""What an index has of each block of records, in the file's order."""

END = (
    Member(
        "index_offset", "Q", "where the header of the first index block begins; there may be more of them behind it"
    ),
    Member("blocks", "Q", "how many blocks of records there are in the file"),
    Member("records", "Q", "how many records"),
)
"""The content of the end, which is stored as it is: so it is found at the same distance from the end of the file."""


class BlockKind(IntEnum):
    """What a block has in it."""

    RECORDS = 1
    INDEX = 2
    END = 3


class Told(IntEnum):
    """Whether the records of a block were told before, in an earlier file of the same run."""

    FIRST = 0
    AGAIN = 1
    """They are of an earlier time than the file."""
    AGAIN_AFTER_GAP = 2
    """The same, and what was recorded between the file before and this one is in none."""


class Codec(IntEnum):
    """How a block's content is stored."""

    NONE = 0
    ZSTD = 1


def layout_of(members: Sequence[Member]) -> struct.Struct:
    """Return how these members are packed."""
    return struct.Struct("<" + "".join(member.code for member in members))


_HEADER, _BLOCK, _ENTRY, _END = (layout_of(members) for members in (HEADER, BLOCK, ENTRY, END))
_CHECKSUM_BYTES = 4

HEADER_BYTES = _HEADER.size
BLOCK_BYTES = _BLOCK.size
ENTRY_BYTES = _ENTRY.size
END_BYTES = _BLOCK.size + _END.size
"""Of an end with its header: so far from the end of a whole file it begins."""

ENTRIES_AT_ONCE = LARGEST_RAW // (2 * _ENTRY.size)
"""So many entries go into one block of the index."""


class FormatError(Exception):
    """What is there is not what a capture has there; the text says what is wrong."""


class OtherVersionError(FormatError):
    """It is a capture, but of a version that is not known here."""


class BlockHeader(NamedTuple):
    """A block's header; the fields are described in BLOCK."""

    kind: int
    codec: int
    told: int
    records: int
    raw_length: int
    stored_length: int
    first: int
    last: int
    checksum: int
    header_checksum: int


class Entry(NamedTuple):
    """What an index says of a block of records; the fields are described in ENTRY."""

    offset: int
    first: int
    last: int
    records: int


class End(NamedTuple):
    """What stands at the end of a whole file; the fields are described in END."""

    index_offset: int
    blocks: int
    records: int


def pack_header(record_version: int = record.VERSION) -> bytes:
    """Return what a file begins with."""
    return _summed(_HEADER, MAGIC, VERSION, record_version)


def unpack_header(data: bytes, readable: Iterable[int]) -> int:
    """Return the version of the records of a file that begins so; FormatError if it is not readable.

    readable: the versions that are. data: HEADER_BYTES, or fewer if the file has no more.
    """
    if not MAGIC.startswith(data[: len(MAGIC)]) or not data:
        raise FormatError("it is not a hangup capture")
    if len(data) < _HEADER.size:
        raise FormatError("it ends within its header")
    _, version, record_version, checksum = _HEADER.unpack(data)
    if zlib.crc32(data[:-_CHECKSUM_BYTES]) != checksum:
        raise FormatError("its header is damaged")
    known = sorted(readable)
    if version != VERSION or record_version not in known:
        # Whatever somebody may have put there, it is a number.
        raise OtherVersionError(
            f"it is of version {version} with records of version {record_version}, this hangup reads {VERSION} with "
            f"{' or '.join(map(str, known))}"
        )
    return int(record_version)


def pack_block(
    kind: BlockKind,
    codec: Codec,
    stored: bytes,
    *,
    raw_length: int,
    records: int = 0,
    first: int = 0,
    last: int = 0,
    told: int = Told.FIRST,
) -> bytes:
    """Return a block: its header and what is stored."""
    header = _summed(_BLOCK, kind, codec, told, records, raw_length, len(stored), first, last, zlib.crc32(stored))
    return header + stored


def unpack_block_header(data: bytes) -> BlockHeader:
    """Return a block's header; FormatError if it is damaged, or says what no block can be."""
    header = BlockHeader._make(_BLOCK.unpack(data))
    if zlib.crc32(data[:-_CHECKSUM_BYTES]) != header.header_checksum:
        raise FormatError("a block's header is damaged")
    if header.kind not in _KINDS or header.codec not in _CODECS:
        raise FormatError(f"a block is of kind {header.kind} and codec {header.codec}, which no capture has")
    if header.raw_length > LARGEST_RAW or header.stored_length > LARGEST_STORED:
        raise FormatError(f"a block says that it has {max(header.raw_length, header.stored_length)} bytes")
    return header


def check_stored(header: BlockHeader, stored: bytes) -> None:
    """Raise FormatError if this is not what a block's header says."""
    if zlib.crc32(stored) != header.checksum:
        raise FormatError("a block's checksum is wrong")
    if header.codec == Codec.NONE and header.raw_length != header.stored_length:
        raise FormatError("a block that is not compressed has two lengths")


def pack_entry(entry: Entry) -> bytes:
    """Return an entry of an index."""
    return _ENTRY.pack(*entry)


def pack_end(end: End) -> bytes:
    """Return the last block of a file."""
    content = _END.pack(*end)
    return pack_block(BlockKind.END, Codec.NONE, content, raw_length=len(content))


def unpack_end(content: bytes) -> End:
    """Return what the last block says; FormatError if it is none."""
    if len(content) != _END.size:
        raise FormatError("the end is not as long as an end")
    return End._make(_END.unpack(content))


_KINDS = frozenset(map(int, BlockKind))
_CODECS = frozenset(map(int, Codec))


def _summed(layout: struct.Struct, *values: Any) -> bytes:
    """Return these values and their checksum, which is the last one of the layout."""
    data = layout.pack(*values, 0)[:-_CHECKSUM_BYTES]
    return data + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")
