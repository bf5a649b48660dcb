"""What is told again where a file begins is older than the file, and counts for nothing of its time."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.tracer.capture.around import Around
from hangup.tracer.capture.codec import compressor
from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.format import BlockKind, Told, pack_block, pack_header
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.rotation import Rotated, Series
from hangup.tracer.clocks import Clocks
from hangup.tracer.record.facts import Cgroup, HostFact, ProcessFact, SocketFact, pack_fact
from hangup.tracer.record.layout import SocketFlag, pack
from hangup.tracer.recorded import RecordedTime
from hangup.tracer.tracer import Tracer
from tests.captures import RECORDS, failure, store
from tests.stories import Story, established

SECOND = 10**9
MIDNIGHT = 1_767_225_600 * SECOND

KNOWN = [
    pack_fact(HostFact(0, 0, MIDNIGHT, 0, kernel="6.1", probes="fentry")),
    pack_fact(ProcessFact(0, 815, "uwsgi")),
    pack_fact(SocketFact(0, SocketFlag.CLIENT, "/older", 400, 401, (4711,))),
]

pytestmark = pytest.mark.usefixtures("utc")


def rotated(path: Path, *parts: Sequence[bytes]) -> Path:
    """Return the name of a capture that has a file for each of these."""
    output = Rotated(Series(path), size=1)
    output.open()
    for part in parts:
        store(output, part)
    output.close(whole=True)
    return path


def seconds(*paths: Path) -> float:
    """Return for how long was recorded what some captures have."""
    with FileSource(*paths) as source, Tracer(source=source) as tracer:
        for _ in tracer.alerts():
            pass
    return round(tracer.recorded.nanoseconds / SECOND, 2)


def peers(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(hangup, ["peers", *map(str, arguments)])
    return result.exit_code, result.output


# ---- several files of all that was recorded


@pytest.fixture
def load(tmp_path: Path) -> Path:
    """Return the name of a capture of 1,000 s, in eleven files."""
    return rotated(tmp_path / "load", KNOWN, *[failure(number, 100 * number) for number in range(1, 11)])


def test_the_files_of_a_capture_were_recorded_for_as_long_as_one_of_it_would_have_been(load: Path) -> None:
    one = load.with_name("one")
    write_capture(one, [*KNOWN, *[data for number in range(1, 11) for data in failure(number, 100 * number)]])
    assert seconds(load) == seconds(one) == 1000
    assert seconds(load.with_name("load.00010")) == 0
    assert seconds(load.with_name("load.00003"), load.with_name("load.00004")) == 100
    # They are one run: whoever names them apart, or two captures of it, asks for no more than there was.
    assert seconds(one, one) == 1000


def test_a_file_of_several_begins_with_what_it_tells_first(load: Path) -> None:
    last = load.with_name("load.00010")
    assert peers("-r", last, "--at", "00:05:00") == (
        ExitStatus.CANNOT_RUN,
        "hangup: the capture begins later than that, at 2026-01-01 00:15:00.000010: name a time within it\n",
    )
    status, output = peers("-r", last, "--at", "+0s")
    assert (status, output.splitlines()[0]) == (ExitStatus.OK, "/older  listener not known")
    page = CliRunner().invoke(hangup, ["report", "-r", str(last), "-o", "-"]).stdout
    assert "2026-01-01 00:15:00 UTC" in page
    assert "2026-01-01 00:00:00 UTC" not in page


def test_a_capture_of_nothing_but_what_was_told_before_has_what_was_open_then(tmp_path: Path) -> None:
    series = Series(tmp_path / "load")
    series.check()
    series.learn(KNOWN)
    series.begin()
    series.end(whole=True)
    assert seconds(tmp_path / "load") == 0
    assert "/older" in peers("-r", tmp_path / "load")[1]


# ---- what is recorded around alerts


@pytest.fixture
def alerts(tmp_path: Path) -> Path:
    """Return the name of a capture of what was around two alerts: at 100 and at 200 s, 2 s before and after each.

    A connection is open all the time, and was read of in between, and an older one ended then.
    """
    output = Around(Series(tmp_path / "alert"), nanoseconds=2 * SECOND, memory=1 << 20)
    output.open()
    open_one = established(start=99 * SECOND, path="/open", client_sock=0x1000, server_sock=0x2000)
    open_one.client.write(100)
    written = len(open_one.events)
    open_one.wait(50 * SECOND)
    open_one.server.read(100)
    read = len(open_one.events)
    open_one.wait(50 * SECOND)
    open_one.server.release()
    parts = [[pack(event) for event in open_one.events[some]] for some in (slice(written), slice(written, read))]
    store(output, KNOWN)
    store(output, parts[0])
    gone = Story(older=True, inode_number=400, start=150 * SECOND, client_sock=0x3000, server_sock=0x4000)
    gone.client.release()
    for at in (100, 101, 102, 150, 199, 200, 201, 202):
        store(output, [*parts[1], *map(pack, gone.events)] if at == 150 else failure(at, at))
        if at in (100, 200):
            output.mark(at * SECOND)
    store(output, [pack(event) for event in open_one.events[read:]])
    output.close(whole=True)
    return tmp_path / "alert"


def test_the_time_around_each_alert_is_counted_and_not_that_between(alerts: Path) -> None:
    apart = [seconds(alerts.with_name(f"alert.0000{number}")) for number in (1, 2)]
    assert apart == [2, 2]
    assert seconds(alerts) == sum(apart)
    page = CliRunner().invoke(hangup, ["report", "-r", f"{alerts}.00001", "-o", "-"]).stdout
    assert "2026-01-01 00:01:39 UTC" in page


def test_a_connection_is_not_followed_over_what_was_left_out(alerts: Path) -> None:
    def lines(*paths: Path) -> list[dict[str, object]]:
        read = [word for path in paths for word in ("-r", str(path))]
        printed = CliRunner().invoke(hangup, ["watch", "--json", "--latent", *read]).stdout.splitlines()
        return [line for line in map(json.loads, printed) if line["record"] == "alert"]

    apart = [line for number in (1, 2) for line in lines(alerts.with_name(f"alert.0000{number}"))]
    assert apart
    assert lines(alerts) == apart
    assert "latent" not in {line["verdict"] for line in apart}


def test_a_connection_is_followed_from_one_file_to_the_next_where_nothing_was_left_out(tmp_path: Path) -> None:
    output = Around(Series(tmp_path / "alert"), nanoseconds=5 * SECOND, memory=1 << 20)
    output.open()
    store(output, KNOWN)
    goes_on = established(start=14 * SECOND, inode_number=7000, client_sock=0x1000, server_sock=0x2000)
    goes_on.client.write(10)
    begun = len(goes_on.events)
    goes_on.wait(3 * SECOND)
    goes_on.server.release()
    goes_on.client.write(1, error=errno.EPIPE)
    records = [pack(event._replace(connection=77)) for event in goes_on.events]
    store(output, failure(1, 10))
    output.mark(10 * SECOND)
    store(output, records[:begun])
    store(output, failure(2, 16))
    store(output, records[begun:])
    output.mark(18 * SECOND)
    output.close(whole=True)
    assert len(list(tmp_path.iterdir())) == 2
    with FileSource(tmp_path / "alert") as source, Tracer(source=source) as tracer:
        [alert] = [alert for alert in tracer.alerts() if alert.story and alert.story.number == 77]
    assert (alert.path, alert.verdict.kind.label, alert.verdict.doubts) == ("/run/app.s", "unread", ())


def test_what_is_told_again_may_be_more_than_a_block(tmp_path: Path) -> None:
    output = Around(Series(tmp_path / "alert"), nanoseconds=2 * SECOND, memory=1 << 20)
    output.open()
    older = [
        SocketFact(0, SocketFlag.CLIENT, "/older", 400, 401, (4711,)),
        SocketFact(0, SocketFlag.SERVER, "/older", 401, 400, (815,)),
    ]
    others = [ProcessFact(0, pid, "other", cgroup=Cgroup(f"/{pid}{'x' * 400}")) for pid in range(5000, 8500)]
    store(output, [*KNOWN, *[pack_fact(fact) for fact in older], *[pack_fact(fact) for fact in others]])
    store(output, failure(1, 1))
    output.mark(SECOND)
    store(output, failure(2, 100))
    told = Story(older=True, inode_number=400, start=200 * SECOND)
    told.client.write(8)
    store(output, [pack(event) for event in told.events])
    output.mark(200 * SECOND)
    output.close(whole=True)
    [line] = [
        line
        for line in CliRunner().invoke(hangup, ["trace", "-r", str(tmp_path / "alert")]).output.splitlines()
        if line.endswith("/older")
    ]
    assert "uwsgi[815]" in line


def test_nobody_is_named_by_what_was_known_before_what_was_left_out(tmp_path: Path) -> None:
    output = Around(Series(tmp_path / "alert"), nanoseconds=2 * SECOND, memory=1 << 20)
    output.open()
    store(output, KNOWN)
    store(output, failure(1, 1))
    output.mark(SECOND)
    gone = Story(older=True, inode_number=400, start=100 * SECOND)
    gone.client.release()
    store(output, list(map(pack, gone.events)))
    # Another one has got its inode, and how it began was not recorded.
    other = established(start=200 * SECOND, path="/other", inode_number=400)
    begun = len(other.events)
    other.client.write(10)
    store(output, failure(2, 150))
    store(output, [pack(event) for event in other.events[begun:]])
    output.mark(200 * SECOND)
    output.close(whole=True)
    assert len(list(tmp_path.iterdir())) == 2
    traced = CliRunner().invoke(hangup, ["trace", "-r", str(tmp_path / "alert")]).output
    *_, last = (line for line in traced.splitlines() if "#" in line)
    assert last.split()[2:4] == ["write(7)", "10"]
    assert "/older" not in traced


def test_what_was_open_between_two_alerts_is_what_was_open_last(alerts: Path) -> None:
    _, between = peers("-r", alerts, "--at", "00:02:30")
    assert "/open" in between
    assert between.splitlines()[-1].startswith("hangup: the capture ends before that, at 2026-01-01 00:01:41.")
    assert "/older" in between
    # Whether the one still is nobody knows, and the other is not.
    status, later = peers("-r", alerts, "--at", "00:03:20")
    assert status == ExitStatus.OK
    assert "/open" not in later
    assert "/older" not in later


# ---- the mark


@pytest.mark.parametrize(("told", "is_counted"), [(0, True), (1, False), (2, False), (3, True)])
def test_a_mark_that_is_not_known_is_none(told: int, is_counted: bool, tmp_path: Path) -> None:
    content = b"".join(RECORDS)
    codec, stored = compressor()(content)
    block = pack_block(BlockKind.RECORDS, codec, stored, raw_length=len(content), records=len(RECORDS), told=told)
    (tmp_path / "capture").write_bytes(pack_header() + block)
    with FileSource(tmp_path / "capture") as source, Tracer(source=source) as tracer:
        assert len(list(tracer.alerts())) == 1
        assert source.told == (told if told in list(Told) else Told.FIRST)
    assert (tracer.recorded.span is not None) == is_counted


def test_what_is_left_out_is_not_recorded_time_and_each_run_has_its_own_clock() -> None:
    clocks = Clocks()
    clocks.take(HostFact(0, 0, 1000, 0))
    recorded = RecordedTime(clocks)
    assert (recorded.span, recorded.nanoseconds) == (None, 0)
    recorded.add((10, 20))
    recorded.add((15, 30))
    assert (recorded.span, recorded.nanoseconds) == ((1010, 1030), 20)
    recorded.pause()
    recorded.add(None)
    recorded.add((50, 60))
    assert (recorded.span, recorded.nanoseconds) == ((1010, 1060), 30)
    # What was read last is found to be of another run.
    recorded.add((5, 7))
    recorded.begin_run()
    clocks.forget()
    clocks.take(HostFact(0, 0, 2000, 0))
    assert (recorded.span, recorded.nanoseconds) == ((1010, 2007), 32)
