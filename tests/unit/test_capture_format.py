"""A reader of captures gives what is whole, says where that ends, and is a limited danger whoever wrote the file."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.capture.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    LARGEST_RAW,
    LARGEST_STORED,
    MAGIC,
    VERSION,
    BlockKind,
    Codec,
    End,
    Entry,
    FormatError,
    pack_block,
    pack_end,
    pack_entry,
    pack_header,
)
from hangup.tracer.capture.parser import Parser, split
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import is_whole
from tests.captures import RECORDS, block, file_of, parse

FILE = file_of([RECORDS[:3], RECORDS[3:]])


def read(data: bytes) -> tuple[list[bytes], str | None, int]:
    """Return the records of a file, what is wrong with it, and where."""
    parser, records = Parser(), []
    parser.feed(data)
    try:
        while (batch := parser.take()) is not None:
            records += batch
        parser.end()
    except FormatError as error:
        return records, str(error), parser.offset
    return records, None, parser.offset


def _indexed(offset: int) -> bytes:
    """Return a file of one block whose index says that it is at this place."""
    data = pack_header() + block(RECORDS)
    entry = pack_entry(Entry(offset, 0, 0, len(RECORDS)))
    index = pack_block(BlockKind.INDEX, Codec.NONE, entry, raw_length=len(entry), records=1)
    return data + index + pack_end(End(len(data), 1, len(RECORDS)))


def summed(data: bytes) -> bytes:
    """Return these bytes with their checksum."""
    return data + zlib.crc32(data).to_bytes(4, "little")


@pytest.mark.parametrize("codec", list(Codec))
def test_a_file_gives_back_its_records(codec: Codec) -> None:
    assert read(file_of([RECORDS[:3], RECORDS[3:]], codec)) == (
        RECORDS,
        None,
        len(file_of([RECORDS[:3], RECORDS[3:]], codec)),
    )
    assert read(file_of([])) == ([], None, len(file_of([])))


@given(st.lists(st.integers(1, 200)))
def test_it_does_not_matter_in_what_parts_a_file_comes(sizes: list[int]) -> None:
    def parts() -> Iterator[bytes]:
        offset = 0
        for size in sizes:
            yield FILE[offset : offset + size]
            offset += size
        yield FILE[offset:]

    assert parse(parts()) == RECORDS


def test_a_file_that_is_cut_anywhere_gives_its_whole_blocks_and_says_where_the_next_one_would_be() -> None:
    first, second = HEADER_BYTES, HEADER_BYTES + len(block(RECORDS[:3]))
    for size in range(len(FILE)):
        records, wrong, offset = read(FILE[:size])
        whole = size >= second, size >= second + len(block(RECORDS[3:]))
        assert records == RECORDS[: 3 if whole == (True, False) else len(RECORDS) if whole[0] else 0]
        assert wrong is not None
        assert offset <= size
        if size >= HEADER_BYTES:
            assert wrong == "it was cut short"
            assert offset >= first
        elif size:
            assert wrong == "it ends within its header"
    assert read(FILE)[1] is None


def test_a_bit_that_is_not_what_it_was_is_noticed_wherever_it_is() -> None:
    second = HEADER_BYTES + len(block(RECORDS[:3]))
    for place in range(len(FILE)):
        for bit in (1, 128):
            damaged = bytearray(FILE)
            damaged[place] ^= bit
            records, wrong, offset = read(bytes(damaged))
            assert wrong is not None
            # Where a length is damaged it may seem that the file ends too early, but never later than it was damaged.
            assert offset <= place
            assert records == RECORDS[: len(records)]
            assert len(records) == (
                0 if place < second else 3 if place < second + len(block(RECORDS[3:])) else len(RECORDS)
            )


def test_what_is_no_capture_is_called_so() -> None:
    for data in (b"", b"hello\n", b'{"format": "hangup capture"}\n' * 4, MAGIC[1:] * 8, bytes(100)):
        assert read(data) == ([], "it is not a hangup capture", 0)


@pytest.mark.parametrize(
    ("version", "of_records"), [(VERSION + 1, record.VERSION), (VERSION, record.VERSION + 1), (0, 0)]
)
def test_another_version_is_named(version: int, of_records: int) -> None:
    header = summed(MAGIC + struct.pack("<HH", version, of_records))
    _, wrong, offset = read(header + FILE[HEADER_BYTES:])
    assert offset == 0
    assert wrong is not None
    assert f"it is of version {version} with records of version {of_records}, this hangup reads {VERSION} with" in wrong


@pytest.mark.parametrize("more", [b"x", RECORDS[2], FILE[HEADER_BYTES:]])
def test_what_stands_behind_the_end_is_not_believed(more: bytes) -> None:
    assert read(FILE + more) == (RECORDS, "something stands behind its end", len(FILE))


def test_several_captures_may_stand_one_behind_the_other() -> None:
    assert read(FILE + FILE) == (RECORDS * 2, None, 2 * len(FILE))
    assert read(FILE + FILE[:-1])[:2] == (RECORDS * 2, "it was cut short")


def test_a_block_that_says_it_is_longer_than_any_is_refused_before_there_is_memory_for_it() -> None:
    for length in (LARGEST_RAW + 1, (1 << 32) - 1):
        _, wrong, offset = read(pack_header() + block(RECORDS, raw_length=length))
        assert wrong == f"a block says that it has {length} bytes"
        assert offset == HEADER_BYTES
    header = struct.pack("<BBHIIIQQI", BlockKind.RECORDS, Codec.ZSTD, 0, 1, 5, LARGEST_STORED + 1, 0, 0, 0)
    assert read(pack_header() + summed(header))[1] == f"a block says that it has {LARGEST_STORED + 1} bytes"


def test_a_decompression_bomb_takes_no_more_memory_than_a_block_may() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 28))
    for stored in (bomb, hidden, bomb * 50):
        for raw_length in (0, 1000, LARGEST_RAW):
            data = pack_header() + pack_block(BlockKind.RECORDS, Codec.ZSTD, stored, raw_length=raw_length, records=1)
            tracemalloc.start()
            _, wrong, offset = read(data)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert wrong == "a block would become another length than its header says"
            assert offset == HEADER_BYTES
            assert peak < 4 * LARGEST_RAW


def test_a_frame_that_holds_more_than_it_says_is_refused() -> None:
    # RFC 8878, 3.1.1: the descriptor says that one byte of content size follows and that it is a single segment.
    frame = zstandard.ZstdCompressor().compress(bytes(200))
    assert zstandard.frame_content_size(frame) == 200
    lying = frame.replace(b"\xc8", b"\x64", 1)
    assert zstandard.frame_content_size(lying) == 100
    data = pack_header() + pack_block(BlockKind.RECORDS, Codec.ZSTD, lying, raw_length=100, records=1)
    assert "a block cannot be decompressed" in (read(data)[1] or "")


@pytest.mark.parametrize("length", [0, 1, record.SMALLEST - 1, record.LARGEST + 1, (1 << 32) - 1])
def test_a_length_that_no_record_has_is_refused(length: int) -> None:
    content = RECORDS[0] + length.to_bytes(4, "little") + bytes(record.LARGEST)
    with pytest.raises(FormatError, match=f"a record says that it has {length} bytes"):
        split(content)


@pytest.mark.parametrize("content", [RECORDS[2][:-1], RECORDS[2] + b"\x18\0\0", RECORDS[0] + RECORDS[2][:100]])
def test_a_record_that_is_not_whole_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match="a record"):
        split(content)


def test_a_record_that_is_not_what_it_says_is_refused() -> None:
    without_an_operation = record.pack_record(record.RecordType.OPERATION, 5, b"ABCDEFGH")
    without_a_host = record.pack_record(record.RecordType.HOST, 5)
    for data in (without_an_operation, without_a_host):
        with pytest.raises(FormatError, match="a record is not what it says"):
            split(RECORDS[0] + data)


@pytest.mark.parametrize("operation", [0, max(record.Operation) + 1, 255])
def test_an_operation_that_is_none_of_those_there_are_is_refused(operation: int) -> None:
    data = bytearray(RECORDS[2])
    assert split(bytes(data)) == [RECORDS[2]]
    data[record.OPERATION_AT] = operation
    with pytest.raises(FormatError, match="a record is not what it says"):
        split(RECORDS[0] + data)
    assert not is_whole(bytes(data))


def test_a_record_of_a_kind_that_is_not_known_is_given_as_it_is() -> None:
    later = record.pack_record(4711, 5, b"ABCDEFGH")
    assert split(later) == [later]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (pack_header() + block(RECORDS, records=1), f"a block has {len(RECORDS)} records, and says 1"),
        (pack_header() + block(RECORDS, Codec.NONE, raw_length=5), "a block that is not compressed has two lengths"),
        (pack_header() + pack_block(BlockKind(1), Codec(0), b"", raw_length=0) + pack_end(End(16, 0, 0)), "its end"),
        (pack_header() + block(RECORDS) + pack_end(End(16, 1, 1)), "its end does not say what is there"),
        (_indexed(17), "its index does not say where its blocks are"),
        (pack_header() + pack_block(BlockKind.END, Codec.NONE, b"x", raw_length=1), "not as long as an end"),
        (pack_header() + pack_block(BlockKind.INDEX, Codec.NONE, b"x", raw_length=1, records=1), "the index is not as"),
        (
            pack_header() + pack_block(BlockKind.INDEX, Codec.NONE, b"", raw_length=0) + block(RECORDS),
            "records stand behind the index",
        ),
    ],
)
def test_what_does_not_agree_with_itself_is_refused(data: bytes, what: str) -> None:
    assert what in (read(data)[1] or "")


def test_a_block_of_another_kind_or_codec_is_refused() -> None:
    for kind, codec in ((0, 0), (4, 0), (1, 2)):
        header = summed(struct.pack("<BBHIIIQQI", kind, codec, 0, 0, 0, 0, 0, 0, 0))
        assert len(header) == BLOCK_BYTES
        assert read(pack_header() + header)[1] == f"a block is of kind {kind} and codec {codec}, which no capture has"


@given(st.binary(max_size=500))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    for begin in (data, FILE[:HEADER_BYTES] + data, FILE[: HEADER_BYTES + BLOCK_BYTES] + data):
        assert read(begin)[1] is not None


@given(st.binary(max_size=500), st.sampled_from(Codec), st.sampled_from(BlockKind))
def test_any_content_that_is_stored_as_it_should_be_is_read_without_an_exception(
    content: bytes, codec: Codec, kind: BlockKind
) -> None:
    stored = zstandard.ZstdCompressor().compress(content) if codec == Codec.ZSTD else content
    data = pack_header() + pack_block(kind, codec, stored, raw_length=len(content), records=1)
    assert read(data)[1] is not None
