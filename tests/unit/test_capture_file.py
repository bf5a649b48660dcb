"""A capture gives back what was written, is private, and is a limited danger if somebody else wrote it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hangup.tracer.capture import file
from hangup.tracer.capture.file import FileSource, Writer, WritingSource, write_capture
from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import LostPeriod, is_end, pack_end, unpack_fact
from hangup.tracer.record.layout import Counted, Loss, RecordType
from tests import stories
from tests.unit.sources import FakeProbes, Records, live

RECORDS = [record.pack(event) for event in stories.seeds_failure().events]
HEADER = json.dumps({"format": "hangup capture", "version": record.VERSION}).encode() + b"\n"


def read_all(capture: FileSource) -> list[bytes]:
    """Read a capture to its end, and once more: the end stays the end."""
    records: list[bytes] = []
    while batch := capture.read(0):
        records += batch
    truncated = capture.truncated
    assert capture.read(0) == []
    assert capture.truncated == truncated
    return records


def test_a_capture_gives_back_its_records(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    with FileSource(path) as capture:
        assert (*capture.opening(), *capture.counts(), *capture.losses()) == ()
        assert read_all(capture) == RECORDS
        assert not capture.truncated
        assert capture.drained


def test_a_capture_is_a_line_and_its_records_and_an_end(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    content = path.read_bytes()
    body = b"".join(RECORDS)
    assert content[: len(HEADER) + len(body)] == HEADER + body
    assert is_end(content[len(HEADER) + len(body) :])


def test_a_long_capture_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A record lies across the end of each block.
    monkeypatch.setattr(file, "_BLOCK", 2 * len(RECORDS[1]) + 7)
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    with FileSource(path) as capture:
        first = capture.read(0)
        assert 0 < len(first) <= 2
        assert not capture.drained
        assert [*first, *read_all(capture)] == RECORDS
        assert capture.drained
        assert not capture.truncated


def test_of_a_record_with_room_behind_it_only_itself_is_written(tmp_path: Path) -> None:
    """The probes reserve room for the longest address, and what they do not use holds what was there before."""
    path = tmp_path / "capture"
    write_capture(path, [data + b"left over" * (number % 3) for number, data in enumerate(RECORDS)])
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS
        assert not capture.truncated


def test_an_empty_capture_is_one(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, [])
    with FileSource(path) as capture:
        assert read_all(capture) == []
        assert not capture.truncated
        assert capture.drained


@pytest.mark.parametrize("more", [b"x", RECORDS[0], pack_end(5)])
def test_what_stands_behind_the_end_is_not_believed(tmp_path: Path, more: bytes) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    path.write_bytes(path.read_bytes() + more)
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS
        assert capture.truncated


@pytest.mark.parametrize("length", [0, 1, record.SMALLEST - 1, record.LARGEST + 1, (1 << 32) - 1])
def test_nothing_is_believed_after_a_length_that_no_record_has(tmp_path: Path, length: int) -> None:
    path = tmp_path / "capture"
    path.write_bytes(HEADER + RECORDS[0] + length.to_bytes(4, "little") + bytes(record.LARGEST * 2))
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS[:1]
        assert capture.truncated


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, sum(map(len, RECORDS)) + record.SMALLEST))
def test_a_capture_that_is_cut_gives_its_whole_records_and_says_so(tmp_path: Path, length: int) -> None:
    path = tmp_path / "capture"
    path.unlink(missing_ok=True)
    write_capture(path, RECORDS)
    complete = path.stat().st_size
    os.truncate(path, len(HEADER) + length)
    whole, end = [], 0
    for data in RECORDS:
        if end + len(data) > length:
            break
        end += len(data)
        whole.append(data)
    with FileSource(path) as capture:
        assert read_all(capture) == whole
        assert capture.truncated == (path.stat().st_size < complete)


def test_nothing_is_believed_after_a_damaged_record(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    # An operation's, without one.
    damaged = record.pack_record(record.RecordType.OPERATION, 5, b"ABCDEFGH")
    path.write_bytes(HEADER + RECORDS[0] + damaged + RECORDS[1])
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS[:1]
        assert capture.truncated


def test_a_capture_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_text("precious")
    with pytest.raises(HangupError, match="File exists"):
        write_capture(path, RECORDS)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HangupError, match="File exists"):
        write_capture(tmp_path / "link", RECORDS)
    assert path.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_capture_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_capture(tmp_path / "capture", RECORDS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "capture").stat().st_mode) == 0o600


NO_CAPTURES = {
    "empty": b"",
    "text": b"hello\n",
    "not UTF-8": b"\xff\xfe\n",
    "another JSON": b"[1, 2]\n",
    "a string": b'"hangup capture"\n',
    "another format": b'{"format": "pcap"}\n',
    "nested without end": b"[" * 10_000,
    "a line without end": b'{"format": "hangup capture", "version": "' + b"9" * 100_000,
    "a number without end": b"9" * 4095 + b"\n",
}


@pytest.mark.parametrize("content", NO_CAPTURES.values(), ids=NO_CAPTURES.keys())
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(HangupError, match="is not a hangup capture"):
        FileSource(path)


@pytest.mark.parametrize(
    "change", [{"version": record.VERSION + 1}, {"version": record.VERSION - 1}, {"version": None}]
)
def test_records_of_another_version_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "capture"
    path.write_bytes(json.dumps({**json.loads(HEADER), **change}).encode() + b"\n")
    with pytest.raises(HangupError, match="read it with the hangup that wrote it"):
        FileSource(path)


def test_what_a_header_says_cannot_disturb_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(json.dumps({**json.loads(HEADER), "version": "\x1b[2J\n" + "9" * 1000}).encode() + b"\n")
    with pytest.raises(HangupError) as raised:
        FileSource(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_capture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match="No such file"):
        FileSource(tmp_path / "nowhere")
    with pytest.raises(HangupError, match="Is a directory"):
        FileSource(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000))
def test_any_bytes_after_the_header_are_read_without_an_exception(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "capture"
    path.write_bytes(HEADER + content)
    with FileSource(path) as capture:
        for data in read_all(capture):
            if record.type_of(data) == record.RecordType.OPERATION:
                record.unpack(data)
            else:
                unpack_fact(data)


# ---- kept while it is read


def test_what_is_read_is_written_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    writer = Writer(path)
    kept = WritingSource(Records(RECORDS[:2], RECORDS[2:]), writer)
    assert kept.read(0) == RECORDS[:2]
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS[:2]
        assert capture.truncated
    assert not kept.drained
    assert kept.read(0) == RECORDS[2:]
    assert kept.drained
    writer.close()
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS
        assert not capture.truncated


def test_what_a_source_is_asked_for_is_written_too(tmp_path: Path) -> None:
    counted = FakeProbes()
    counted.rows = [Counted(1, 2, 20, b"a", b"b", b"/x", 2, 0, 0, 0, 0)]
    source = live(counted, recording=True)
    path = tmp_path / "capture"
    writer = Writer(path)
    kept = WritingSource(source, writer)
    counted.lost = [LostPeriod(Loss.RING_FULL, 5, 9, 3)]
    told = [*kept.opening(), *kept.counts(), *kept.losses()]
    writer.close()
    assert [record.type_of(data) for data in told] == [RecordType.HOST, RecordType.COUNTS, RecordType.LOST]
    with FileSource(path) as capture:
        assert read_all(capture) == told
    # The tracer's statistics may be looked at when all is over.
    counted.rows = [Counted(1, 3, 30, b"a", b"b", b"/x", 2, 0, 0, 0, 0)]
    assert len(kept.counts()) == 1


def test_a_disk_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    # The file is created where it is to be, and its writes go where there is never any room.
    path = tmp_path / "capture"
    writer = Writer(path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._file.fileno())
    os.close(full)
    with pytest.raises(HangupError, match="No space left on device") as raised:
        writer.write(RECORDS)
    assert "\n" not in str(raised.value)
    # It is over: nothing more is written, and nothing more is said.
    writer.write(RECORDS)
    writer.close()


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match="No such file or directory"):
        Writer(tmp_path / "nowhere" / "capture")
