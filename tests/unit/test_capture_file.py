"""A capture gives back what was written, is private, overwrites nothing, and survives whoever writes it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangup.tracer.capture.files import File, Pipe, file_writer, write_capture
from hangup.tracer.capture.format import HEADER_BYTES, MAGIC, Codec, pack_header
from hangup.tracer.capture.names import PIPE, numbered_files
from hangup.tracer.capture.reader import FileSource, NoCaptureError, check_names, is_there
from hangup.tracer.capture.source import WritingSource
from hangup.tracer.capture.writer import BLOCK_BYTES, BLOCK_SECONDS, Pending, WriteError, Writer, cut
from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import LostPeriod
from hangup.tracer.record.layout import Counted, Loss, RecordType, trimmed
from tests.bench.records import lifelike
from tests.captures import OPERATIONS, RECORDS, block, file_of, parse, read_all, read_file
from tests.unit.sources import FakeProbes, Records, live

CHECKOUT = Path(__file__).parents[2]

# More than one block.
MANY = OPERATIONS * (2 * BLOCK_BYTES // sum(map(len, OPERATIONS)))


def test_a_capture_gives_back_its_records(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    with FileSource(path) as capture:
        assert (*capture.opening(), *capture.counts(), *capture.losses()) == ()
        assert not capture.drained
        assert read_all(capture) == RECORDS
        assert capture.damage is None
        assert capture.position == capture.size == path.stat().st_size


def test_a_long_capture_comes_in_parts_and_is_a_tenth_as_long_as_its_records(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, MANY)
    with FileSource(path) as capture:
        first = capture.read(0)
        assert 0 < len(first) <= BLOCK_BYTES // record.SIZE
        assert not capture.drained
        assert [*first, *read_all(capture)] == MANY
    assert path.stat().st_size < sum(map(len, MANY)) / 10


def test_of_a_record_with_room_behind_it_only_itself_is_written(tmp_path: Path) -> None:
    """The probes reserve room for the longest address, and what they do not use holds what was there before."""
    path = tmp_path / "capture"
    write_capture(path, [data + b"left over" * (number % 3) for number, data in enumerate(RECORDS)])
    assert read_file(path) == (RECORDS, None)
    assert trimmed(OPERATIONS[0] + b"left over") == OPERATIONS[0]


def test_an_empty_capture_is_one(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, [])
    assert path.read_bytes() == file_of([])
    assert read_file(path) == ([], None)


@given(st.lists(st.integers(1, 3 * BLOCK_BYTES), max_size=20))
def test_records_are_cut_into_blocks_that_are_not_too_long(sizes: list[int]) -> None:
    records = [bytes(min(size, BLOCK_BYTES)) for size in sizes]
    blocks = list(cut(records))
    assert [data for some in blocks for data in some] == records
    assert all(0 < sum(map(len, some)) <= BLOCK_BYTES for some in blocks)


def test_what_waits_is_due_when_it_is_a_block_or_has_waited_long_enough_or_something_has_happened() -> None:
    pending = Pending()
    assert pending.patience(5.0) is None
    pending.add([b"record"], 10.0)
    pending.add([b"other"], 10.5)
    assert pending.patience(10.25) == BLOCK_SECONDS - 0.25
    assert pending.patience(10.0 + BLOCK_SECONDS) == 0
    pending.add([bytes(BLOCK_BYTES - 11)], 10.5)
    assert pending.patience(10.25) == 0
    assert pending.take() == ([b"record", b"other", bytes(BLOCK_BYTES - 11)], None)
    assert pending.patience(20.0) is None
    pending.add([b"before"], 20.0)
    pending.add_mark(77)
    pending.add([b"after"], 20.0)
    assert pending.patience(20.0) == 0
    assert pending.take() == ([b"before"], 77)
    assert pending.bytes == len(b"after")
    assert pending.take() == ([b"after"], None)
    assert pending.empty


def test_what_is_written_while_another_part_is_stored_is_not_left_out_when_it_is_closed(tmp_path: Path) -> None:
    """The thread that stores is held up in the middle of a block till the writer is being closed."""
    held = threading.Event()

    class Slow(File):
        def take(self, *of_block: object) -> None:
            held.wait()
            super().take(*of_block)  # type: ignore[arg-type]

    writer = Writer(Slow(tmp_path / "capture"), name="capture")
    writer.open()
    writer.write(MANY)
    closing = threading.Thread(target=writer.close)
    writer.write(RECORDS)
    closing.start()
    held.set()
    closing.join()
    assert read_file(tmp_path / "capture") == ([*MANY, *RECORDS], None)


def test_several_threads_may_write(tmp_path: Path) -> None:
    writer = file_writer(tmp_path / "capture")
    writer.open()

    def write() -> None:
        for _ in range(200):
            writer.write(OPERATIONS)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    records, damage = read_file(tmp_path / "capture")
    assert damage is None
    assert records == OPERATIONS * 800


# ---- several files, and pipes


def test_several_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    write_capture(tmp_path / "one", RECORDS)
    write_capture(tmp_path / "two", RECORDS[1:])
    assert read_file(tmp_path / "one", tmp_path / "two") == ([*RECORDS, *RECORDS[1:]], None)


def test_a_name_stands_for_the_files_that_have_numbers_behind_it(tmp_path: Path) -> None:
    for number in ("99998", "100000", "99999"):
        write_capture(tmp_path / f"load.{number}", OPERATIONS[: int(number) % 7])
    (tmp_path / "load.old").write_text("something else")
    counts = [99_998 % 7, 99_999 % 7, 100_000 % 7]
    assert read_file(tmp_path / "load") == ([data for count in counts for data in OPERATIONS[:count]], None)


@pytest.mark.parametrize("reads", [FileSource, check_names])
def test_a_name_that_may_be_one_file_or_several_is_not_read(reads: Callable[[Path], object], tmp_path: Path) -> None:
    for name in ("load.00002", "load.00003"):
        write_capture(tmp_path / name, RECORDS)
    (tmp_path / "load").write_bytes((tmp_path / "load.00002").read_bytes())
    with pytest.raises(HangupError) as raised:
        reads(tmp_path / "load")
    assert str(raised.value) == (
        f"{tmp_path}/load may be the file of that name or load.00002 and those after it: "
        "move it or them to another name"
    )
    assert is_there(tmp_path / "load")
    assert read_file(tmp_path / "load.00002") == (RECORDS, None)


def test_a_capture_in_one_file_is_not_put_beside_one_in_several(tmp_path: Path) -> None:
    for name in ("load.00002", "load.00003", "load.old"):
        (tmp_path / name).write_bytes(pack_header())
    with pytest.raises(HangupError, match=r"there is a file .*load\.00002 already: name a new one, or say --force"):
        file_writer(tmp_path / "load").open()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load.00002", "load.00003", "load.old"]
    writer = file_writer(tmp_path / "load", force=True)
    writer.open()
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load", "load.old"]


@pytest.mark.parametrize(
    ("there", "meant"),
    [
        (["00001", "00002", "20261126"], ["00001", "00002"]),
        (["00001", "12345", "100000"], ["00001"]),
        (["00001", "00003"], ["00001", "00003"]),
        (["99999", "100000", "100001", "100003"], ["99999", "100000", "100001"]),
        # Of these only the last ones were kept.
        (["10001", "10002"], ["10001", "10002"]),
        (["123456", "123457"], ["123456", "123457"]),
        (["0000001", "00001"], ["00001"]),
        (["9999999", "10000000"], ["9999999", "10000000"]),
        (["20261125", "20261126"], []),
        (["\u0661\u0661\u0661\u0661\u0661", "1", "1234"], []),
    ],
)
def test_what_has_another_number_behind_it_is_no_file_of_the_capture(
    tmp_path: Path, there: list[str], meant: list[str]
) -> None:
    for number in there:
        (tmp_path / f"load.{number}").touch()
    assert [path.name for path in numbered_files(tmp_path / "load")] == [f"load.{number}" for number in meant]


def test_a_copy_with_a_date_stands_in_nobodys_way_and_stays(tmp_path: Path) -> None:
    copy = tmp_path / "load.20261126"
    copy.write_bytes(file_of([RECORDS]))
    for force in (False, True):
        writer = file_writer(tmp_path / "load", force=force)
        writer.open()
        writer.write(RECORDS)
        writer.close()
        assert read_file(tmp_path / "load") == (RECORDS, None)
    assert read_file(copy) == (RECORDS, None)


def test_after_a_damaged_file_no_other_is_read_and_that_is_said(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("one", "two", "three", "four")]
    for path in names:
        write_capture(path, RECORDS)
    content = names[1].read_bytes()
    names[1].write_bytes(content[:-1])
    records, damage = read_file(*names)
    assert records == RECORDS * 2
    assert damage == f"{names[1]} can be read up to byte {len(content) - 64}: it was cut short; 2 more not read"
    names[1].write_bytes(b"no capture at all")
    records, damage = read_file(*names)
    assert records == RECORDS
    assert damage == f"{names[1]} can be read up to byte 0: it is not a hangup capture; 2 more not read"


def test_a_pipe_gives_records_when_they_come_and_does_not_make_wait_for_more() -> None:
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    try:
        os.write(writing, pack_header() + block(RECORDS[:3]))
        with FileSource(PIPE) as capture:
            assert capture.read(0) == RECORDS[:3]
            assert capture.read(0) == []
            assert not capture.drained
            os.write(writing, block(RECORDS[3:])[:50])
            assert capture.read(0) == []
            os.write(writing, block(RECORDS[3:])[50:])
            assert capture.read(60) == RECORDS[3:]
            # Whatever else is waited for ends the waiting.
            waking, waker = os.pipe()
            capture.wake_by(waking)
            os.write(waker, b"x")
            assert capture.read(60) == []
            os.close(writing)
            os.close(waking)
            os.close(waker)
            capture.wake_by(reading)
            assert read_all(capture) == []
            assert str(capture.damage).startswith("standard input can be read up to byte ")
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)


def test_a_pipe_is_written_at_once_and_is_whole_at_its_end() -> None:
    reading, writing = os.pipe()
    writer = Writer(Pipe(writing), name="standard output")
    writer.open()
    header = os.read(reading, HEADER_BYTES)
    assert header == pack_header()
    writer.write(RECORDS)
    writer.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert parse([header, file.read()]) == RECORDS


def test_what_stood_in_a_file_is_still_there_when_no_more_can_be_appended_to_it(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    write_capture(path, RECORDS)
    before = path.read_bytes()
    append = f"""
import os, resource, signal
from hangup.tracer.capture.files import Pipe
from hangup.tracer.capture.writer import WriteError, Writer
from tests.bench.records import lifelike
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 2000},) * 2)
writer = Writer(Pipe(), name="standard output")
writer.open()
try:
    writer.write(lifelike(1000))
    writer.close()
except WriteError:
    raise SystemExit(7)
"""
    with path.open("ab") as file:
        ended = subprocess.run([sys.executable, "-c", append], cwd=CHECKOUT, stdout=file, check=False)
    assert ended.returncode == 7
    after = path.read_bytes()
    assert after.startswith(before)
    assert len(after) == len(before) + 2000
    # What came behind it ends somewhere within its first block.
    records, damage = read_file(path)
    assert records == RECORDS
    assert damage is not None


def test_whoever_writes_to_a_pipe_that_nobody_reads_is_told() -> None:
    reading, writing = os.pipe()
    writer = Writer(Pipe(writing), name="standard output")
    writer.open()
    os.close(reading)
    writer.write(RECORDS)
    with pytest.raises(BrokenPipeError):
        writer.close()
    os.close(writing)


# ---- what may go wrong with a file


def test_a_capture_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(MAGIC)
    with pytest.raises(HangupError, match=r"there is a file .* already: name a new one, or say --force"):
        write_capture(path, RECORDS)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HangupError, match="already"):
        write_capture(tmp_path / "link", RECORDS)
    assert path.read_bytes() == MAGIC
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_capture_is_not_overwritten_with_force_either(tmp_path: Path, force: bool) -> None:
    (tmp_path / "text").write_text("precious")
    (tmp_path / "several.00001").write_bytes(pack_header())
    (tmp_path / "several.00002").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name, there in (("text", "text"), ("several", "several.00002"), ("fifo", "fifo")):
        with pytest.raises(HangupError) as raised:
            file_writer(tmp_path / name, force=force).open()
        assert str(raised.value) == f"{tmp_path / there} is there already and is no capture: name a new one"
    assert (tmp_path / "text").read_text() == "precious"
    assert (tmp_path / "several.00001").exists()


def test_what_was_never_written_to_is_replaced_with_force(tmp_path: Path) -> None:
    for content in (b"", MAGIC[:3]):
        (tmp_path / "capture").write_bytes(content)
        writer = file_writer(tmp_path / "capture", force=True)
        writer.open()
        writer.close()
        assert read_file(tmp_path / "capture") == ([], None)
        (tmp_path / "capture").unlink()


def test_with_force_another_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(MAGIC)
    path.chmod(0o644)
    with path.open("rb") as old:
        writer = file_writer(path, force=True)
        writer.open()
        writer.write(RECORDS)
        writer.close()
        assert old.read() == MAGIC
    assert read_file(path) == (RECORDS, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # What is no file is not taken for an old capture.
    (tmp_path / "link").symlink_to(path)
    for name in (tmp_path, tmp_path / "link"):
        with pytest.raises(HangupError, match="already"):
            file_writer(name, force=True).open()


def test_a_capture_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_capture(tmp_path / "capture", RECORDS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "capture").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"hello\n", bytes(100)])
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(NoCaptureError, match=r"cannot read .*file: at its byte 0, it is not a hangup capture: name a"):
        FileSource(path)


def test_a_capture_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pack_header(record.VERSION + 1) + file_of([RECORDS])[HEADER_BYTES:])
    with pytest.raises(
        NoCaptureError, match=r"this hangup reads .*: read it with the hangup that wrote it, or a later"
    ):
        FileSource(path)


def test_a_capture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match="No such file"):
        FileSource(tmp_path / "nowhere")
    with pytest.raises(HangupError, match="No such file"):
        FileSource(tmp_path / "nowhere" / "either")
    with pytest.raises(HangupError, match="Is a directory"):
        FileSource(tmp_path)


def test_a_capture_whose_first_block_is_damaged_is_one_and_has_nothing_to_give(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(file_of([RECORDS], Codec.NONE).replace(b"httpd", b"httpx", 1))
    assert read_file(path) == ([], f"{path} can be read up to byte {HEADER_BYTES}: a block's checksum is wrong")


def test_a_disk_that_is_full_is_told_in_one_line_and_once(tmp_path: Path) -> None:
    writer = _writer_to(tmp_path / "capture", Path("/dev/full"))
    writer.write(RECORDS)
    with pytest.raises(WriteError, match=r"cannot write .*capture.*No space left on device.*can be read") as raised:
        writer.close()
    assert "\n" not in str(raised.value)
    # It is over: nothing more is written, and nothing more is said.
    writer.write(RECORDS)
    writer.close()


def test_a_file_that_may_not_grow_any_more_is_readable_up_to_its_last_whole_block(tmp_path: Path) -> None:
    """RLIMIT_FSIZE does to a file what a full disk does: a write takes a part, and the next one fails."""
    program = f"""
import resource, signal, sys
from pathlib import Path
from hangup.tracer.capture.files import file_writer
from hangup.tracer.capture.writer import WriteError
from tests.captures import OPERATIONS, RECORDS
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = file_writer(Path({str(tmp_path / "capture")!r}))
writer.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    while True:
        writer.write(RECORDS)
        writer.mark(1)
except WriteError as error:
    print(error)
writer.close()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cannot write ")
    assert "File too large" in done.stdout
    records, damage = read_file(tmp_path / "capture")
    assert records
    assert records == RECORDS * (len(records) // len(RECORDS))
    assert (
        damage
        == f"{tmp_path / 'capture'} can be read up to byte {(tmp_path / 'capture').stat().st_size}: it was cut short"
    )


def test_whoever_is_killed_while_writing_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from hangup.tracer.capture.files import file_writer
from tests.captures import RECORDS
writer = file_writer(Path({str(tmp_path / "capture")!r}))
writer.open()
writer.write(RECORDS)
writer.mark(1)
while writer._output._blocks == 0: pass
print("stored", flush=True)
writer.write(RECORDS)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    records, damage = read_file(tmp_path / "capture")
    assert records in (RECORDS, RECORDS * 2)
    assert damage is not None
    assert "it was cut short" in damage


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match=r"cannot create .*No such file or directory"):
        file_writer(tmp_path / "nowhere" / "capture").open()


def test_without_zstandard_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_capture(tmp_path / "capture", RECORDS)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for use in (lambda: FileSource(tmp_path / "capture"), lambda: file_writer(tmp_path / "new").open()):
        with pytest.raises(HangupError, match="zstandard: install Debian's package python3-zstandard"):
            use()
    assert not (tmp_path / "new").exists()


# ---- kept while it is read


def test_what_is_read_is_written_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    writer = file_writer(path)
    writer.open()
    kept = WritingSource(Records(RECORDS[:2], RECORDS[2:]), writer)
    assert kept.read(0) == RECORDS[:2]
    assert not kept.drained
    assert kept.read(0) == RECORDS[2:]
    assert kept.drained
    writer.close()
    assert read_file(path) == (RECORDS, None)


def test_what_a_source_is_asked_for_is_written_too(tmp_path: Path) -> None:
    counted = FakeProbes()
    counted.rows = [Counted(1, 2, 20, b"a", b"b", b"/x", 2, 0, 0, 0, 0)]
    source = live(counted, recording=True)
    path = tmp_path / "capture"
    writer = file_writer(path)
    writer.open()
    kept = WritingSource(source, writer)
    counted.lost = [LostPeriod(Loss.RING_FULL, 5, 9, 3)]
    told = [*kept.opening(), *kept.counts(), *kept.losses()]
    writer.close()
    assert [record.type_of(data) for data in told] == [RecordType.HOST, RecordType.COUNTS, RecordType.LOST]
    assert read_file(path) == (told, None)
    # The tracer's statistics may be looked at when all is over.
    counted.rows = [Counted(1, 3, 30, b"a", b"b", b"/x", 2, 0, 0, 0, 0)]
    assert len(kept.counts()) == 1


def test_a_writer_that_was_not_closed_whole_leaves_a_file_that_was_cut_short(tmp_path: Path) -> None:
    writer = file_writer(tmp_path / "capture")
    writer.open()
    writer.write(RECORDS)
    writer.close(whole=False)
    records, damage = read_file(tmp_path / "capture")
    assert records == RECORDS
    assert damage is not None


def _writer_to(path: Path, elsewhere: Path) -> Writer:
    """Return the open writer of a file whose blocks go elsewhere."""
    output = File(path)
    writer = Writer(output, name=str(path))
    writer.open()
    other = os.open(elsewhere, os.O_WRONLY)
    assert output._descriptor is not None
    os.dup2(other, output._descriptor)
    os.close(other)
    return writer


def test_an_operation_takes_24_bytes_at_most_on_disk(tmp_path: Path) -> None:
    """Of the classic load as a host has it: each operation at a time of its own, by one of several processes."""
    records = lifelike(2000)
    write_capture(tmp_path / "capture", records)
    assert (tmp_path / "capture").stat().st_size <= 24 * len(records)
    assert read_file(tmp_path / "capture") == (records, None)
