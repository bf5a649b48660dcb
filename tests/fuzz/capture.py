"""What a fuzzer's input is to the reader of captures, and to what follows it up to the lines of trace.

The first byte of an input says what the rest is: a file, or a part of one whose checksums are made right, since
no fuzzer guesses those.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hangup.cli.reporters.line_format import FormattedLines, parsed
from hangup.cli.reporters.operation import operation_rows
from hangup.cli.reporters.operation_json import operation_lines
from hangup.cli.reporters.sysdig import SysdigLines
from hangup.tracer.capture.format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    LARGEST_RAW,
    MAGIC,
    BlockKind,
    Codec,
    End,
    FormatError,
    pack_block,
    pack_end,
    pack_header,
)
from hangup.tracer.capture.parser import Parser
from hangup.tracer.capture.standing import Standing
from hangup.tracer.filter.check import works_with
from hangup.tracer.filter.fields import FIELDS
from hangup.tracer.story.endpoints import Operated
from hangup.tracer.story.places import Placed
from hangup.tracer.tracer import Tracer
from tests.unit.sources import Records

CORPUS = Path(__file__).parents[1] / "data" / "fuzz-capture"

# A file may be short and its records many: what one input makes of them is bounded, so that it is over soon.
_MOST_RECORDS = 2000

# Every field that -p can print.
_FORMAT = parsed("*" + " ".join(f"%{field.name}" for field in FIELDS if "-p" in works_with(field)))


def behind_header(data: bytes) -> bytes:
    """Return a file that is this behind a header, or if it has the beginning of one only this."""
    return data if data.startswith(MAGIC[:1]) else pack_header() + data


def with_content(data: bytes) -> bytes:
    """Return a file of one block with this content."""
    return pack_header() + pack_block(BlockKind.RECORDS, Codec.NONE, data, raw_length=len(data), records=_count(data))


def with_frame(data: bytes) -> bytes:
    """Return a file of one block that stores this; its first bytes say how long it is to be when decompressed."""
    raw_length = int.from_bytes(data[:4], "little") % (LARGEST_RAW + 2)
    return pack_header() + pack_block(BlockKind.RECORDS, Codec.ZSTD, data[4:], raw_length=raw_length, records=1)


def with_headers(data: bytes) -> bytes:
    """Return a file of blocks whose headers are parts of this, but for the checksums, and stored what follows them."""
    made, offset = pack_header(), 0
    while offset + BLOCK_BYTES <= len(data):
        header = data[offset : offset + BLOCK_BYTES]
        (stored_length,) = struct.unpack_from("<I", header, 12)
        stored = data[offset + BLOCK_BYTES : offset + BLOCK_BYTES + stored_length % 4096]
        header = header[:12] + struct.pack("<I", len(stored)) + header[16:32] + struct.pack("<I", zlib.crc32(stored))
        made += header + struct.pack("<I", zlib.crc32(header)) + stored
        offset += BLOCK_BYTES + len(stored)
    return made + pack_end(End(HEADER_BYTES, 0, 0))


SHAPES: tuple[Callable[[bytes], bytes], ...] = (behind_header, with_content, with_frame, with_headers)


def one_input(data: bytes) -> None:
    """Read what an input stands for, and see what its records tell. Raises whatever is a fault of ours."""
    if not data:
        return
    file = SHAPES[data[0] % len(SHAPES)](data[1:])
    parser, records, wrong = Parser(), [], ""
    try:
        # As from a pipe: what is whole is taken before the rest has come.
        for begin in range(0, len(file), 1000):
            parser.feed(file[begin : begin + 1000])
            while (batch := parser.take()) is not None:
                records += batch
        parser.end()
    except FormatError as error:
        wrong = str(error)
    assert wrong.isprintable() or not wrong
    assert parser.offset <= len(file)
    told = records[:_MOST_RECORDS]
    standing = Standing()
    standing.learn(told)
    standing.records()
    with Tracer(source=Records(told), latent=True, harmless=True) as tracer:
        for alert in tracer.alerts():
            assert alert.verdict.sentence.isprintable()
    _trace(told)


def _trace(records: Sequence[bytes]) -> None:
    """Make the lines that `hangup trace` prints, in each of its layouts."""
    rows, objects, sysdig = operation_rows(), operation_lines(), SysdigLines()

    def show_places(placed: Sequence[Placed]) -> None:
        _are_lines(rows(placed, tracer.clocks, 80))

    def show_operations(operated: Sequence[Operated]) -> None:
        _are_lines(sysdig.lines(operated, tracer.clocks))
        _are_lines(formatted.lines(operated, tracer.clocks))
        for line in objects(operated, tracer.clocks, tracer.cgroup):
            assert isinstance(json.loads(line), dict)

    with Tracer(source=Records(records), on_places=show_places) as tracer:
        list(tracer.alerts())
    with Tracer(source=Records(records), on_operations=show_operations) as tracer:
        formatted = FormattedLines(_FORMAT, tracer.find_cgroup)
        list(tracer.alerts())
    _are_lines(sysdig.rest(tracer.clocks))


def _are_lines(lines: Sequence[str]) -> None:
    for line in lines:
        assert line.isprintable()


def _count(content: bytes) -> int:
    """Return how many records these bytes say that they are."""
    count = offset = 0
    while offset + 4 <= len(content):
        offset += max(int.from_bytes(content[offset : offset + 4], "little"), 1)
        count += 1
    return count
