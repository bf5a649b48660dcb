"""A capture gives back what was written, is private, and is a limited danger if somebody else wrote it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hangup.tracer.capture import file as source
from hangup.tracer.capture.file import FileSource, LostPeriod, write_capture
from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.layout import Loss
from tests import stories

RECORDS = [record.pack(event) for event in stories.seeds_failure().events]
HEADER = json.dumps({"format": "hangup capture", "version": record.VERSION, "size": record.SIZE}).encode() + b"\n"


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
        assert read_all(capture) == RECORDS
        assert not capture.truncated
        assert capture.losses() == {}
        assert capture.lost_periods() == []


LOSSES = {Loss.RING_FULL: 112_073, Loss.SKIPPED: 1}
PERIODS = [LostPeriod(Loss.RING_FULL, 5, 9, 112_073), LostPeriod(Loss.SKIPPED, 7, (1 << 64) - 1, 1)]


def test_a_capture_gives_back_what_was_lost_and_when(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS, losses=LOSSES, periods=PERIODS)
    with FileSource(path) as capture:
        # Before anything is read, and after: a verdict must not come before its doubts.
        assert capture.losses() == LOSSES
        assert read_all(capture) == RECORDS
        assert capture.lost_periods() == PERIODS
        assert not capture.truncated


NO_ENDS = (
    b"[]",
    b"{}",
    b'{"losses": {"NONE": 1}, "periods": []}',
    b'{"losses": {"RING_FULL": -1}, "periods": []}',
    b'{"losses": {"RING_FULL": "1"}, "periods": []}',
    b'{"losses": {}, "periods": [["RING_FULL", 1, 2]]}',
    b'{"losses": {}, "periods": [[[], 1, 2, 3]]}',
    b'{"losses": {}, "periods": 5}',
    b'{"losses": {}, "periods": [["RING_FULL", 1, 2, 1e400]]}',
    b"[" * 100_000,
    b"\xff",
)


@pytest.mark.parametrize("lost", NO_ENDS, ids=range(len(NO_ENDS)))
def test_an_end_that_says_nothing_sensible_is_a_cut_one(tmp_path: Path, lost: bytes) -> None:
    path = tmp_path / "capture"
    record_bytes = len(RECORDS[0]).to_bytes(2, "little") + RECORDS[0]
    path.write_bytes(HEADER + record_bytes + lost + len(lost).to_bytes(4, "little") + b"LOST")
    with FileSource(path) as capture:
        assert read_all(capture)[:1] == RECORDS[:1]
        assert capture.truncated
        assert capture.losses() == {}


def test_an_end_that_would_begin_before_the_records_is_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(HEADER + (500).to_bytes(4, "little") + b"LOST")
    with FileSource(path) as capture:
        assert read_all(capture) == []
        assert capture.truncated


def test_a_long_capture_comes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_BATCH", 4)
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    with FileSource(path) as capture:
        assert capture.read(0) == RECORDS[:4]
        assert not capture.drained
        assert read_all(capture) == RECORDS[4:]
        assert capture.drained


def test_an_empty_capture_is_one(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, [])
    with FileSource(path) as capture:
        assert capture.drained
        assert read_all(capture) == []
        assert not capture.truncated
        assert capture.drained


END = len(b'{"losses": {}, "periods": []}') + 8


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, sum(2 + len(data) for data in RECORDS) + END))
def test_a_capture_that_is_cut_gives_its_whole_records_and_says_so(tmp_path: Path, length: int) -> None:
    path = tmp_path / "capture"
    path.unlink(missing_ok=True)
    write_capture(path, RECORDS)
    complete = path.stat().st_size
    os.truncate(path, len(HEADER) + length)
    whole, end = [], 0
    for data in RECORDS:
        if end + 2 + len(data) > length:
            break
        end += 2 + len(data)
        whole.append(data)
    with FileSource(path) as capture:
        assert read_all(capture) == whole
        assert capture.truncated == (path.stat().st_size < complete)


def test_nothing_is_believed_after_a_damaged_length(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    good = len(RECORDS[0]).to_bytes(2, "little") + RECORDS[0]
    path.write_bytes(HEADER + good + b"\x05\x00ABCDE" + good)
    with FileSource(path) as capture:
        assert read_all(capture) == RECORDS[:1]
        assert capture.truncated


def test_a_capture_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        write_capture(path, RECORDS)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
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


@pytest.mark.parametrize("change", [{"version": record.VERSION + 1}, {"size": record.SIZE + 8}, {"version": None}])
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
            event = record.unpack(data)
            assert len(event.address) <= 255
