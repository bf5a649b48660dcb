"""docs/capture-format.md says what the code does, and enough to write another reader; old captures stay readable.

`python -m tests.unit.test_capture_document` writes its tables anew, and the sample of today's versions if that is not
there.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import zstandard

from hangup.tracer.capture import format as layout
from hangup.tracer.capture.files import file_writer
from hangup.tracer.capture.format import Member
from hangup.tracer.capture.layouts import READABLE
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.writer import BLOCK_BYTES
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import HostFact, ProcessFact, unpack_fact
from hangup.tracer.tracer import Tracer
from tests.captures import RECORDS, read_file

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "capture-format.md"
DATA = ROOT / "tests" / "data"

_TABLE = re.compile(r"<!-- table: (?P<name>\w+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)

# Of struct record and struct section, which record.h describes beside each field.
_RECORD_FIELDS = {
    "length": "bytes of all of it, this header included",
    "type": "see below",
    "flags": "of an operation and an identity: `enum event_flag`",
    "time": "ns, CLOCK_MONOTONIC: of an operation when it ended",
    "connection": "the number that its connection has got, 0: none",
}
_SECTION_FIELDS = {
    "type": "see below",
    "length": "bytes of its content, which follows this header; the next section begins at the next multiple of 8",
    "unused": "0",
}


def sample(version: int, of_records: int) -> Path:
    """Return the committed file of these versions."""
    return DATA / f"capture-{version}-{of_records}.hup"


def _table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(heading)} |", f"|{'---|' * len(heading)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _members(members: Iterable[tuple[str, str, str]]) -> str:
    rows, offset = [], 0
    for name, code, meaning in members:
        size = struct.calcsize(f"={code}")
        kind = f"{size} bytes" if code.endswith("s") else f"{'s' if code.islower() else 'u'}{8 * size}"
        rows.append((offset, f"`{name}`", kind, meaning))
        offset += size
    return _table(("offset", "name", "type", "is"), rows)


# What a comment of record.h says beside a field, and before a field or an enumerator.
_BESIDE = re.compile(r"^\t[\w ]+ (?P<name>\w+)(?:\[\w+\])?;\s*/\* (?P<text>.*) \*/$", re.MULTILINE)
_BEFORE = re.compile(
    r"^\t/\*(?P<text>(?:(?!\*/).)*?)\*/\n\t(?:[\w ]+ )?(?P<name>\w+)(?: = \d+,|(?:\[\w+\])?;)", re.MULTILINE | re.DOTALL
)


def _comments(block: str) -> dict[str, str]:
    """Return what record.h says of each field of a struct, or enumerator of an enum."""
    found = {match["name"]: match["text"] for match in _BESIDE.finditer(block)}
    for match in _BEFORE.finditer(block):
        # What stands before the last paragraph is of all that follows.
        text = re.split(r"\n\t \*\n", match["text"])[-1]
        found.setdefault(match["name"], " ".join(re.sub(r"^\s*\*", "", text, flags=re.MULTILINE).split()))
    return {name: text.rstrip(".").replace("|", "\\|") for name, text in found.items()}


def _of_struct(name: str, meanings: dict[str, str] | None = None) -> str:
    source = record.HEADER.read_text()
    beside = meanings or _comments(record._block(source, f"struct {name}"))
    return _members((each, code, beside.get(each, "")) for each, code in record._fields(source, name))


def _of_enum(name: str, prefix: str) -> str:
    block = record._block(record.HEADER.read_text(), f"enum {name}")
    comments = _comments(block)
    rows = [(match["value"], match["name"]) for match in record._ENUMERATOR.finditer(block)]
    return _table(
        ("number", "is", ""), [(value, each.removeprefix(prefix), comments.get(each, "")) for value, each in rows]
    )


def _of_members(members: Sequence[Member]) -> str:
    return _members((member.name, member.code, member.meaning) for member in members)


# Of the sections' contents, and of what stands in them.
_STRUCTS = (
    "operation",
    "sender",
    "identity",
    "credentials",
    "history",
    "user",
    "moment",
    "host",
    "process",
    "open_socket",
    "counted",
    "lost",
    "lost_time",
    "text",
)
_ENUMS = {
    "operation_type": "OPERATION_",
    "event_flag": "EVENT_",
    "sender_flag": "SENDER_",
    "history_state": "HISTORY_",
    "host_flag": "HOST_",
    "process_flag": "PROCESS_",
    "socket_flag": "SOCKET_",
    "loss": "LOSS_",
    "text_kind": "TEXT_",
}

TABLES = {
    "header": _of_members(layout.HEADER),
    "block": _of_members(layout.BLOCK),
    "entry": _of_members(layout.ENTRY),
    "end": _of_members(layout.END),
    "limits": _table(
        ("is", "bytes"),
        [
            ("`raw_length` at most", layout.LARGEST_RAW),
            ("`stored_length` at most", layout.LARGEST_STORED),
            ("of records in a block that hangup writes, at most", BLOCK_BYTES),
            ("a record at most", record.LARGEST),
            ("`END_BYTES`", layout.END_BYTES),
        ],
    ),
    "record": _of_struct("record", _RECORD_FIELDS),
    "section": _of_struct("section", _SECTION_FIELDS),
    "types": _of_enum("record_type", "RECORD_"),
    "sections": _of_enum("section_type", "SECTION_"),
    **{name: _of_struct(name) for name in _STRUCTS},
    **{name: _of_enum(name, prefix) for name, prefix in _ENUMS.items()},
}


def test_the_document_has_every_table_and_no_other() -> None:
    assert sorted(match["name"] for match in _TABLE.finditer(DOCUMENT.read_text())) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_document_has_the_layout_that_the_code_has(name: str) -> None:
    tables = {match["name"]: match["table"].strip() for match in _TABLE.finditer(DOCUMENT.read_text())}
    assert tables[name] == TABLES[name]


def test_the_magic_that_the_document_spells_is_the_file_s() -> None:
    spelled = re.search(r"the bytes ((?:[0-9a-f]{2} ){8})", TABLES["header"])
    assert spelled
    assert bytes.fromhex(spelled[1]) == layout.MAGIC


# ---- a reader that is made from the document alone


def documented_reader(data: bytes) -> Iterator[bytes]:
    """Yield the records of a capture that is whole; AssertionError if it is not."""
    magic, version, _, checksum = struct.unpack_from("<8sHHI", data)
    assert (magic, version, checksum) == (bytes.fromhex("8948414e4755500a"), 1, zlib.crc32(data[:12]))
    offset, blocks, count = 16, [], 0
    while True:
        header = data[offset : offset + 40]
        kind, codec, _, records, raw, stored, first, last, of_stored, of_header = struct.unpack("<BBHIIIQQII", header)
        assert of_header == zlib.crc32(header[:36])
        content = data[offset + 40 : offset + 40 + stored]
        assert of_stored == zlib.crc32(content)
        if codec == 1:
            assert zstandard.frame_content_size(content) == raw
            content = zstandard.ZstdDecompressor().decompress(content)
        assert len(content) == raw
        if kind == 1:
            blocks.append((offset, first, last, records))
            begin = 0
            while begin < raw:
                (length,) = struct.unpack_from("<I", content, begin)
                yield content[begin : begin + length]
                begin, count = begin + length, count + 1
        elif kind == 2:
            index_offset = offset
            assert list(struct.iter_unpack("<QQQQ", content)) == blocks
        else:
            assert struct.unpack("<QQQ", content) == (index_offset, len(blocks), count)
            assert offset == len(data) - 64
            return
        offset += 40 + stored


def written_bytes(data: bytes) -> dict[int, int]:
    """Return how many bytes were written on each connection of a capture, as the document says it."""
    written: dict[int, int] = {}
    for one in documented_reader(data):
        _, kind, _, _, connection = struct.unpack_from("<IHHQQ", one)
        if kind == 1:
            (of_section, _) = struct.unpack_from("<HH", one, 24)
            assert of_section == 1
            # Behind the record's header and the section's.
            (result,) = struct.unpack_from("<q", one, 32 + 56)
            if one[32 + 136] == 5 and result > 0:
                written[connection] = written.get(connection, 0) + result
    return written


def told_of(data: bytes) -> tuple[int, dict[int, str]]:
    """Return the wall clock of the first HOST record, and the name of each process, as the document says it."""
    wall, comms = 0, {}
    for one in documented_reader(data):
        length, kind = struct.unpack_from("<IH", one)
        begin, pid = 24, 0
        while begin < length:
            of_section, size = struct.unpack_from("<HH", one, begin)
            content = one[begin + 8 : begin + 8 + size]
            if of_section == 5:
                wall = wall or struct.unpack_from("<Q", content, 8)[0]
            elif of_section == 6:
                (pid,) = struct.unpack_from("<I", content, 16)
            elif (kind, of_section) == (4, 11) and struct.unpack_from("<I", content) == (6,):
                comms[pid] = content[8:].decode()
            begin += 8 + (size + 7) // 8 * 8
    return wall, comms


@pytest.mark.parametrize("path", sorted(DATA.glob("capture-1-*.hup")), ids=lambda path: path.name)
def test_a_reader_made_from_the_document_reads_what_ours_does(path: Path) -> None:
    assert list(documented_reader(path.read_bytes())) == read_file(path)[0]
    # What httpd wrote and uWSGI answered.
    assert written_bytes(path.read_bytes()) == {0: 16 + 699 + 8 + 8 + 43 + 8 + 11 + 24}
    facts = [unpack_fact(one) for one in read_file(path)[0]]
    host = next(fact for fact in facts if isinstance(fact, HostFact))
    comms = {fact.pid: fact.comm for fact in facts if isinstance(fact, ProcessFact)}
    assert told_of(path.read_bytes()) == (host.wall, comms)
    assert comms


# ---- older versions


def test_there_is_a_sample_of_every_version_that_is_readable_and_of_today_s() -> None:
    assert record.VERSION in READABLE
    assert {path.name for path in DATA.glob("capture-*")} == {sample(1, version).name for version in READABLE}
    assert layout.VERSION == 1


@pytest.mark.parametrize("version", READABLE)
def test_a_capture_that_was_written_once_is_read_as_it_was_then(version: int) -> None:
    path = sample(1, version)
    records, damage = read_file(path)
    assert damage is None
    assert records == RECORDS
    with FileSource(path) as source, Tracer(source=source) as tracer:
        [alert] = tracer.alerts()
    assert alert.verdict.kind.label == "answered"
    assert alert.path == "/tmp/helloFastCGI.s"
    assert tracer.flavour == "fentry"


def _write() -> None:
    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match['name']} -->\n{TABLES[match['name']]}\n<!-- end -->"

    DOCUMENT.write_text(_TABLE.sub(table, DOCUMENT.read_text()))
    path = sample(layout.VERSION, record.VERSION)
    if not path.exists():
        writer = file_writer(path)
        writer.open()
        writer.write(RECORDS[:3])
        # What follows goes into another block.
        writer.mark(0)
        writer.write(RECORDS[3:])
        writer.close()


if __name__ == "__main__":
    _write()
