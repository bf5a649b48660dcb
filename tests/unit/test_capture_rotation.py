"""A capture in several files: each is read by itself, and all of them together are what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hangup.tracer.capture.around import Around
from hangup.tracer.capture.format import MAGIC
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.rotation import Rotated, Series
from hangup.tracer.capture.standing import MOST, Standing
from hangup.tracer.capture.writer import Writer
from hangup.tracer.errors import HangupError
from hangup.tracer.record import layout as record
from hangup.tracer.record.facts import (
    CountsFact,
    HostFact,
    LostFact,
    LostPeriod,
    ProcessFact,
    SocketFact,
    pack_fact,
    unpack_fact,
)
from hangup.tracer.record.layout import Counted, Loss, RecordType, SocketFlag
from hangup.tracer.tracer import Tracer
from tests import stories
from tests.captures import RECORDS, failure, read_file, store
from tests.identities import allowed, changed, executed
from tests.recorder import Recorder
from tests.stories import Story

SECOND = 10**9


class Clock:
    """A clock that somebody sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def host(monotonic: int = 0, *, looked: int | None = None) -> bytes:
    looked = monotonic if looked is None else looked
    return pack_fact(HostFact(monotonic, monotonic, monotonic, looked, kernel="6.1", probes="fentry"))


# ---- what holds is told again


def test_what_was_told_last_of_each_thing_is_told_again_the_host_first() -> None:
    standing = Standing()
    named, renamed = (pack_fact(ProcessFact(5, 815, comm)) for comm in ("sh", "uwsgi"))
    other = pack_fact(ProcessFact(5, 4711, "httpd"))
    older = pack_fact(SocketFact(5, SocketFlag.CLIENT, "/run/app.s", 48_500, 48_501, (4711,)))
    listener = pack_fact(SocketFact(5, SocketFlag.LISTENER, "/run/app.s", 7, waiting=1, backlog=128))
    lost = [pack_fact(LostFact(5, Loss.SKIPPED, total, (LostPeriod(Loss.SKIPPED, 1, 2, total),))) for total in (1, 2)]
    standing.learn([named, other, lost[0], host(1), older, listener])
    standing.learn([renamed, lost[1], host(2, looked=1), host(3, looked=2)])
    # By what was told of the host first its run is known.
    assert standing.records() == [host(1), host(3, looked=2), other, renamed, older, listener, lost[1]]


def test_of_an_earlier_run_nothing_is_told_again() -> None:
    standing = Standing()
    standing.learn(
        [host(1), pack_fact(ProcessFact(5, 815, "uwsgi")), pack_fact(SocketFact(5, SocketFlag.CLIENT, "/x", 7))]
    )
    standing.learn([host(9)])
    assert standing.records() == [host(9)]


def test_that_somebody_listened_is_told_again_and_nothing_is_counted_twice() -> None:
    standing = Standing()
    row = Counted(7, 3, 30, b"httpd", b"uwsgi", b"/run/app.s", 10, 0, 0, 0, 0)
    standing.learn([pack_fact(CountsFact(9, row)), pack_fact(CountsFact(9, row._replace(path=b"", path_length=0)))])
    [told] = map(unpack_fact, standing.records())
    assert isinstance(told, CountsFact)
    assert (told.row.connections, told.row.operations, told.row.ready) == (0, 0, 7)
    assert told.row.path.rstrip(b"\0") == b"/run/app.s"


def test_a_socket_that_was_released_is_not_told_again() -> None:
    told = Story(older=True, inode_number=48_500)
    told.client.write(8)
    sockets = [pack_fact(SocketFact(5, SocketFlag.CLIENT, "/x", number)) for number in (48_500, 48_501)]
    standing = Standing()
    standing.learn([*sockets, *map(record.pack, told.events)])
    assert standing.records() == sockets
    standing.learn([record.pack(told.server.release())])
    assert standing.records() == sockets[:1]
    # What the recorder hands over tells it as well.
    failed = stories.seeds_failure(inode_number=48_500)
    standing = Standing()
    handed = [data for data in Recorder().record(failed.events) if record.type_of(data) == RecordType.HISTORY]
    standing.learn([*sockets, *handed])
    assert standing.records() == sockets[:1]


def test_who_has_other_credentials_by_now_is_told_again_and_who_only_executed_something_is_not() -> None:
    standing = Standing()
    worker, shell = stories.Task("nginx", 412), stories.Task("sh", 500)
    dropped = [changed(worker, when, allowed(0), allowed(33)) for when in (1, 2)]
    standing.learn([*dropped, executed(shell, 3, b"/bin/true", was="sh"), executed(worker, 4, b"/bin/cat", was="sh")])
    assert standing.records() == [dropped[1]]


def test_what_is_told_again_is_bounded() -> None:
    standing = Standing()
    for number in range(MOST + 3):
        standing.learn(
            [
                pack_fact(ProcessFact(5, number + 1, "x")),
                pack_fact(SocketFact(5, SocketFlag.CLIENT, "/x", number + 1)),
                pack_fact(SocketFact(5, SocketFlag.LISTENER, f"/{number}")),
            ]
        )
    assert len(standing.records()) == 3 * MOST
    assert unpack_fact(standing.records()[0]) == ProcessFact(5, 4, "x")


# ---- a file after the other


def test_a_new_file_begins_when_one_is_full_and_each_stands_on_its_own(tmp_path: Path) -> None:
    output = Rotated(Series(tmp_path / "load"), size=1500)
    output.open()
    known = [host(), pack_fact(ProcessFact(5, 815, "uwsgi"))]
    store(output, known)
    parts = [failure(number, number) for number in range(1, 6)]
    for part in parts:
        store(output, part)
    output.close(whole=True)
    names = files(tmp_path)
    assert len(names) > 1
    assert names[0] == "load.00001"
    for number, name in enumerate(names):
        assert (tmp_path / name).stat().st_size < 1500 + 500
        records, damage = read_file(tmp_path / name)
        assert damage is None
        assert records[: len(known)] == known
        with FileSource(tmp_path / name) as source, Tracer(source=source) as tracer:
            told = list(tracer.alerts())
        assert len(told) == sum(data in records for part in parts for data in part[-1:]), number
    records, damage = read_file(tmp_path / "load")
    assert damage is None
    assert [data for data in records if record.type_of(data) == RecordType.OPERATION] == [
        data for part in parts for data in part
    ]


def test_a_new_file_begins_after_some_time(tmp_path: Path) -> None:
    clock = Clock()
    output = Rotated(Series(tmp_path / "load"), seconds=60, clock=clock)
    output.open()
    for clock.now in (0, 59, 60, 100, 121):
        store(output, RECORDS)
    output.close(whole=True)
    assert files(tmp_path) == ["load.00001", "load.00002", "load.00003"]
    counts = [len(read_file(tmp_path / name)[0]) for name in files(tmp_path)]
    # The two facts stand at the beginning of each.
    assert counts == [2 * len(RECORDS), 2 * len(RECORDS) + 2, len(RECORDS) + 2]


def test_of_the_files_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    clock = Clock()
    output = Rotated(Series(tmp_path / "load", count=2), seconds=1, clock=clock)
    output.open()
    for clock.now in range(5):
        store(output, RECORDS)
        assert len(files(tmp_path)) <= 2
    output.close(whole=True)
    assert files(tmp_path) == ["load.00004", "load.00005"]


def test_files_of_an_earlier_capture_are_not_mixed_with_those_of_a_new_one(tmp_path: Path) -> None:
    for number in ("00001", "00007"):
        (tmp_path / f"load.{number}").write_bytes(MAGIC)
    with pytest.raises(HangupError, match=r"there is a file .*load\.00001 already"):
        Rotated(Series(tmp_path / "load")).open()
    output = Rotated(Series(tmp_path / "load", force=True))
    output.open()
    output.close(whole=True)
    assert files(tmp_path) == ["load.00001"]
    with pytest.raises(HangupError, match="cannot create"):
        Rotated(Series(tmp_path / "nowhere" / "load")).open()


def test_a_capture_in_several_files_is_not_put_beside_one_in_one(tmp_path: Path) -> None:
    (tmp_path / "load").write_bytes(MAGIC)
    for output in (Rotated(Series(tmp_path / "load")), Around(Series(tmp_path / "load"), nanoseconds=1, memory=1)):
        with pytest.raises(HangupError, match=r"there is a file .*load already: name a new one, or say --force"):
            output.open()
    forced = Rotated(Series(tmp_path / "load", force=True))
    forced.open()
    forced.close(whole=True)
    assert files(tmp_path) == ["load.00001"]
    # What is no file is nobody's capture.
    (tmp_path / "folder").mkdir()
    with pytest.raises(HangupError, match="already"):
        Rotated(Series(tmp_path / "folder", force=True)).open()


def test_what_only_begins_as_one_of_the_files_ends_no_recording(tmp_path: Path) -> None:
    for name in ("load.00002.20261126", "load.00003.00001"):
        (tmp_path / name).write_bytes(MAGIC)
    output = Rotated(Series(tmp_path / "load"), size=1)
    output.open()
    for number in range(1, 4):
        store(output, failure(number, number))
    output.close(whole=True)
    assert files(tmp_path) == ["load.00001", "load.00002", "load.00002.20261126", "load.00003", "load.00003.00001"]


def test_of_a_file_that_has_come_to_be_meanwhile_force_is_not_the_remedy(tmp_path: Path) -> None:
    output = Rotated(Series(tmp_path / "load", force=True), size=1)
    output.open()
    store(output, failure(1, 1))
    (tmp_path / "load.00002").write_bytes(MAGIC)
    with pytest.raises(HangupError) as raised:
        store(output, failure(2, 2))
    assert str(raised.value) == f"there is a file {tmp_path / 'load.00002'} already: name a new one"
    output.close(whole=True)


def test_a_writer_makes_files_of_it(tmp_path: Path) -> None:
    writer = Writer(Rotated(Series(tmp_path / "load"), size=1), name="load")
    writer.open()
    for number in range(1, 4):
        writer.write(failure(number, number))
        writer.mark(number)
    writer.close()
    assert len(files(tmp_path)) == 3
    assert read_file(tmp_path / "load") == ([data for number in (1, 2, 3) for data in failure(number, number)], None)


# ---- around an alert


def around(folder: Path, *, memory: int = 1 << 20) -> Around:
    output = Around(Series(folder / "alert"), nanoseconds=5 * SECOND, memory=memory)
    output.open()
    store(output, [host()])
    return output


def test_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    output = around(tmp_path)
    for number in range(1, 10):
        store(output, failure(number, number))
    output.close(whole=True)
    assert files(tmp_path) == []


def test_what_came_before_and_after_an_alert_is_a_file_that_stands_on_its_own(tmp_path: Path) -> None:
    output = around(tmp_path)
    parts = {number: failure(number, number) for number in range(1, 40)}
    for number in range(1, 21):
        store(output, parts[number])
    output.mark(20 * SECOND)
    for number in range(21, 40):
        store(output, parts[number])
    output.close(whole=True)
    assert files(tmp_path) == ["alert.00001"]
    records, damage = read_file(tmp_path / "alert")
    assert damage is None
    assert records == [host(), *(data for number in range(15, 25) for data in parts[number])]


def test_alerts_that_come_one_upon_the_other_are_one_file_and_later_ones_another(tmp_path: Path) -> None:
    output = around(tmp_path)
    for number in range(1, 60):
        store(output, failure(number, number))
        if number in (10, 13, 40):
            output.mark(number * SECOND)
    output.close(whole=True)
    kept = []
    for name in files(tmp_path):
        numbers = {int.from_bytes(data[16:24], "little") for data in read_file(tmp_path / name)[0]} - {0}
        kept.append((min(numbers), max(numbers)))
    assert kept == [(5, 17), (35, 44)]


def test_no_more_is_kept_in_memory_than_was_said(tmp_path: Path) -> None:
    output = around(tmp_path, memory=2000)
    for number in range(1, 1000):
        store(output, failure(number, 1))
        assert output._kept_bytes <= 2000
    output.mark(SECOND)
    output.close(whole=True)
    records, damage = read_file(tmp_path / "alert")
    assert damage is None
    assert records[-1] == failure(999, 1)[-1]
    assert 0 < len(records) < 100


def test_an_alert_at_the_end_is_written_though_nothing_comes_after_it(tmp_path: Path) -> None:
    writer = Writer(Around(Series(tmp_path / "alert"), nanoseconds=5 * SECOND, memory=1 << 20), name="alert")
    writer.open()
    writer.write([host(), *failure(1, 1)])
    writer.mark(SECOND)
    writer.close()
    assert read_file(tmp_path / "alert") == ([host(), *failure(1, 1)], None)


def test_a_file_around_an_alert_begins_with_what_held_then_and_not_at_the_alert(tmp_path: Path) -> None:
    output = around(tmp_path)
    sockets = [
        pack_fact(SocketFact(SECOND, SocketFlag.CLIENT, "/run/app.s", 48_500, 48_501, (4711,))),
        pack_fact(SocketFact(SECOND, SocketFlag.SERVER, "/run/app.s", 48_501, 48_500, (815,))),
    ]
    store(output, sockets)
    worker = stories.Task("nginx", 412)
    told = Story(older=True, inode_number=48_500, start=90 * SECOND, client=worker)
    told.client.write(8)
    dropped = changed(worker, told.now, allowed(0), allowed(33))
    told.server.release()
    told.client.release()
    first, *rest = map(record.pack, told.events)
    # It is written, so that it holds for the next file.
    store(output, [first, dropped, *rest])
    output.mark(90 * SECOND)
    store(output, failure(1, 200))
    output.mark(201 * SECOND)
    output.close(whole=True)
    assert read_file(tmp_path / "alert.00001") == ([host(), *sockets, first, dropped, *rest], None)
    assert read_file(tmp_path / "alert.00002") == ([host(), dropped, *failure(1, 200)], None)


def test_what_comes_long_after_an_alert_is_not_of_it_and_waits_for_the_next_one(tmp_path: Path) -> None:
    output = around(tmp_path)
    store(output, failure(1, 10))
    output.mark(10 * SECOND)
    store(output, failure(2, 7200))
    # It is whole from then on.
    assert read_file(tmp_path / "alert.00001") == ([host(), *failure(1, 10)], None)
    output.mark(7201 * SECOND)
    output.close(whole=True)
    assert read_file(tmp_path / "alert.00002") == ([host(), *failure(2, 7200)], None)


def test_what_no_longer_waits_in_memory_holds_all_the_same(tmp_path: Path) -> None:
    output = around(tmp_path, memory=1)
    known = pack_fact(ProcessFact(SECOND, 815, "uwsgi"))
    store(output, [known])
    for number in range(1, 4):
        store(output, failure(number, number))
    output.mark(3 * SECOND)
    output.close(whole=True)
    assert read_file(tmp_path / "alert") == ([host(), known, *failure(3, 3)], None)


def test_that_no_file_can_be_made_is_found_out_before_there_is_an_alert(tmp_path: Path) -> None:
    output = Around(Series(Path("/proc/alert")), nanoseconds=5, memory=1 << 20)
    with pytest.raises(
        HangupError, match=r"cannot create /proc/alert\.00001 \(No such file or directory\): name a new"
    ):
        output.open()
    around(tmp_path)
    assert files(tmp_path) == []


def test_a_file_that_cannot_be_made_for_an_alert_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = Writer(Around(Series(folder / "alert"), nanoseconds=5, memory=1 << 20), name="alert")
    writer.open()
    folder.rmdir()
    writer.write(RECORDS)
    writer.mark(SECOND)
    with pytest.raises(HangupError, match=r"cannot create .*No such file or directory"):
        writer.close()
