"""Capture files made for tests: some records that a reader has to give back, and what may be wrong with a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hangup.tracer.capture.codec import compressor
from hangup.tracer.capture.format import BlockKind, Codec, End, Entry, pack_block, pack_end, pack_entry, pack_header
from hangup.tracer.capture.parser import Parser
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.writer import Output, packer
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import HostFact, ProcessFact, pack_fact
from tests import stories

OPERATIONS = [record.pack(event) for event in stories.seeds_failure().events]

RECORDS = [
    pack_fact(
        HostFact(900_000_000, 900_000_000, 1_767_225_599_900_000_000, 900_000_000, kernel="6.1", probes="fentry")
    ),
    pack_fact(ProcessFact(950_000_000, 815, "uwsgi")),
    *OPERATIONS,
]
"""A short capture: a host, a process, and the operations of one connection that fails."""


def failure(number: int, seconds: int) -> list[bytes]:
    """Return the records of the classic failure on a connection, so many seconds after the boot."""
    told = stories.seeds_failure(start=seconds * 10**9, inode_number=1000 + 2 * number)
    return [record.pack(event._replace(connection=number)) for event in told.events]


def counted(
    connections: int,
    operations: int = 0,
    *,
    client: str = "nginx",
    server: str = "uwsgi",
    path: bytes = b"/run/app.s",
    latent: int = 0,
    pair: int = 0,
    ready: int = 1,
) -> record.Counted:
    """Return a row in which the kernel counts connections that ended well."""
    one, other = (name.encode().ljust(16, b"\0") for name in (client, server))
    named = path.ljust(112, b"\0")
    return record.Counted(ready, connections, operations, one, other, named, len(path), latent, pair, 0, 0)


def store(output: Output, records: Sequence[bytes]) -> None:
    """Have some records stored as one block, as a writer's thread does."""
    for packed, its_records in packer()(records):
        output.take(packed, its_records)


def block(some: Sequence[bytes], codec: Codec = Codec.ZSTD, **changed: int) -> bytes:
    """Return a block of some records; changed: what its header says instead of what is so."""
    content = b"".join(some)
    stored = compressor()(content)[1] if codec == Codec.ZSTD else content
    says = {"raw_length": len(content), "records": len(some), **changed}
    return pack_block(BlockKind.RECORDS, codec, stored, **says)


def file_of(blocks: Sequence[Sequence[bytes]], codec: Codec = Codec.ZSTD) -> bytes:
    """Return a whole file that has these blocks of records."""
    data, entries, count = pack_header(), b"", 0
    for records in blocks:
        entries += pack_entry(Entry(len(data), 0, 0, len(records)))
        count += len(records)
        data += block(records, codec)
    index_offset = len(data)
    if blocks:
        data += pack_block(BlockKind.INDEX, Codec.NONE, entries, raw_length=len(entries), records=len(blocks))
    return data + pack_end(End(index_offset, len(blocks), count))


def read_all(capture: FileSource) -> list[bytes]:
    """Read a capture to its end, and once more: the end stays the end."""
    records: list[bytes] = []
    while batch := capture.read(0):
        records += batch
    damage = capture.damage
    assert capture.read(0) == []
    assert capture.drained
    assert capture.damage == damage
    return records


def read_file(*paths: Path) -> tuple[list[bytes], str | None]:
    """Return the records of a capture, and what is wrong with it."""
    with FileSource(*paths) as capture:
        records = read_all(capture)
        return records, capture.damage and str(capture.damage)


def parse(parts: Iterable[bytes]) -> list[bytes]:
    """Return the records of a file that comes in these parts. Raises FormatError."""
    parser, records = Parser(), []
    for part in parts:
        parser.feed(part)
        while (batch := parser.take()) is not None:
            records += batch
    parser.end()
    return records
