"""Captures of several runs that are read together: what one run left open says nothing of the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.capture.rotation import Rotated, Series
from hangup.tracer.capture.writer import packer
from hangup.tracer.record.facts import HostFact, LostFact, ProcessFact, SocketFact, pack_fact
from hangup.tracer.record.layout import Loss, SocketFlag, pack
from hangup.tracer.record.runs import Runs
from hangup.tracer.tracer import Tracer
from tests.stories import Story, Task, established, seeds_failure

SECOND = 10**9
HOUR = 3600 * SECOND
MIDNIGHT = 1_767_225_600 * SECOND

CURL, NGINX = Task("curl", 99), Task("nginx", 98)

pytestmark = pytest.mark.usefixtures("utc")


def host(monotonic: int, *, wall: int = 0, looked: int | None = None, boot: str = "a") -> HostFact:
    """Return what a run tells of its host; wall: what its wall clock was ahead of midnight."""
    looked = monotonic if looked is None else looked
    return HostFact(monotonic, monotonic, MIDNIGHT + monotonic + wall, looked, kernel="6.1", boot=boot, probes="fentry")


def records(story: Story, *, number: int = 1, without: int = 0) -> list[bytes]:
    """Return a story's records; without: so many of its operations at its beginning."""
    return [pack(event._replace(connection=number)) for event in story.events[without:]]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Return a capture whose connection is open at its end, with something unread, and that knows what listens."""
    story = established(start=SECOND, path="/run/app.s")
    story.client.write(1000)
    known = [
        pack_fact(ProcessFact(0, 99, "stranger")),
        pack_fact(SocketFact(0, SocketFlag.CLIENT, "/older", 70_000, 70_001, (4711,))),
        pack_fact(SocketFact(0, SocketFlag.LISTENER, "/run/app.s")),
        pack_fact(LostFact(0, Loss.RING_FULL, 3, ())),
    ]
    path = tmp_path / "first.hup"
    write_capture(path, [pack_fact(host(0)), *known, *records(story)])
    return path


def later(folder: Path, *, boot: str, start: int = HOUR) -> Path:
    """Return the capture of another run, whose connection has the addresses, the inodes and the number of the first."""
    story = seeds_failure(client=CURL, server=NGINX, start=start + SECOND, inode_number=70_000)
    path = folder / "later.hup"
    # Older than that run: its connect and its accept were not recorded.
    write_capture(path, [pack_fact(host(start, wall=HOUR - start, boot=boot)), *records(story, without=4)])
    return path


@pytest.fixture(params=["a", "b"])
def second(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the capture of a run an hour later, of the same boot and of another one, whose clock began anew."""
    return later(tmp_path, boot=request.param, start=HOUR if request.param == "a" else 0)


def both(as_one: bool, *paths: Path) -> list[str]:
    """Return what names captures: each by -r, or what cat(1) makes of them."""
    if as_one:
        joined = paths[0].with_name("joined.hup")
        joined.write_bytes(b"".join(path.read_bytes() for path in paths))
        paths = (joined,)
    return [word for path in paths for word in ("-r", str(path))]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(hangup, list(map(str, arguments)))
    assert result.exit_code in (ExitStatus.OK, ExitStatus.WORSE, ExitStatus.ALERTS), result.output[-2000:]
    return result


def operations(result: Result) -> list[list[str]]:
    """Return the words of each line that trace has printed of an operation."""
    return [line.split() for line in result.output.splitlines() if not line.startswith("hangup: ")]


def alerts(result: Result) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [line for line in lines if line["record"] == "alert"]


# ---- what a capture says of its run


def test_a_run_goes_on_where_it_is_told_again_how_it_began_or_its_clocks_have_changed() -> None:
    runs = Runs()
    set_back, suspended = host(20, wall=-5, looked=19), host(30, looked=29)
    assert [runs.is_another(each) for each in (host(1), host(1), set_back, host(1), suspended, set_back)] == 6 * [False]


@pytest.mark.parametrize("other", [host(50), host(1, boot="b"), host(1, wall=1), host(50, looked=49, boot="b")])
def test_another_run_is_known_by_its_beginning_or_its_boot(other: HostFact) -> None:
    runs = Runs()
    assert [runs.is_another(each) for each in (host(1), other, other, host(1))] == [False, True, False, True]


# ---- what is concluded


@pytest.mark.parametrize("as_one", [False, True], ids=["by name", "joined"])
def test_a_connection_of_a_later_run_is_not_that_of_the_run_before(as_one: bool, first: Path, second: Path) -> None:
    alone = alerts(run("watch", "--json", "-r", second))
    together = run("watch", "--json", *both(as_one, first, second))
    assert alerts(together) == alone
    assert (alone[0]["path"], alone[0]["doubts"]) == (None, alone[0]["doubts"])
    assert alone[0]["doubts"]


def test_what_was_open_at_the_end_of_a_run_is_not_counted_as_lost_and_what_was_lost_in_each_is(
    first: Path, tmp_path: Path
) -> None:
    story = seeds_failure(start=HOUR + SECOND)
    write_capture(
        tmp_path / "b.hup",
        [pack_fact(host(HOUR)), pack_fact(LostFact(HOUR, Loss.RING_FULL, 4, ())), *records(story)],
    )
    with FileSource(first, tmp_path / "b.hup") as source, Tracer(source=source) as tracer:
        assert len(list(tracer.alerts())) == 1
    losses = tracer.losses()
    assert losses.by_cause["ring_full"] == losses.total == 7


def test_a_trace_names_nobody_and_nothing_by_what_an_earlier_run_knew(first: Path, second: Path) -> None:
    wanted, together = (operations(run("trace", *both(False, *paths))) for paths in ((second,), (first, second)))
    assert len(wanted) > 10
    assert together[-len(wanted) :] == wanted
    assert run("trace", "-r", first, "-r", second, "-q").exit_code == ExitStatus.OK


@pytest.mark.parametrize("as_one", [False, True])
def test_lines_of_two_runs_stand_one_behind_the_other_by_the_wall_clock_of_each(
    as_one: bool, first: Path, second: Path
) -> None:
    captures = both(as_one, first, second)
    lines = run("trace", *captures, "--format", "sysdig").output.splitlines()
    times = [line.split()[1] for line in lines if " > " in line or " < " in line]
    assert times == sorted(times)
    assert (times[0], times[-1][:8]) == ("00:00:01.000000000", "01:00:01")
    assert "later than in order" not in "\n".join(lines)
    for of_line in (("-t", "relative"), ("-p", "%evt.reltime")):
        elapsed = [float(words[0]) for words in operations(run("trace", *captures, *of_line))]
        assert elapsed == sorted(elapsed)
        assert elapsed[0] == 0
        assert elapsed[-1] > 3500


def test_what_an_earlier_run_left_open_is_not_open_at_the_end_of_a_later_one(first: Path, second: Path) -> None:
    assert "/run/app.s" in run("peers", "-r", first).output
    assert run("peers", "-r", first, "-r", second).output == run("peers", "-r", second).output


@pytest.mark.parametrize(
    ("at", "is_open", "is_between"),
    [("+2s", True, True), ("00:30:00", True, True), ("+30m", True, True), ("01:00:02", False, False)],
)
def test_between_two_runs_is_told_what_was_open_at_the_end_of_the_first(
    at: str, is_open: bool, is_between: bool, first: Path, second: Path
) -> None:
    output = run("peers", "-r", first, "-r", second, "--at", at).output
    assert ("/run/app.s" in output) == is_open
    assert ("the capture ends before that, at 2026-01-01 00:00:01." in output) == is_between


def test_a_page_of_two_runs_dates_each_by_its_own_clock(tmp_path: Path, second: Path) -> None:
    early = tmp_path / "early.hup"
    write_capture(early, [pack_fact(host(5 * HOUR, wall=-5 * HOUR, boot="c")), *records(seeds_failure(start=5 * HOUR))])
    page = run("report", "-r", early, "-r", second, "-o", "-").stdout
    assert "2026-01-01T00:00:00.000" in page
    assert "2026-01-01T01:00:01.000" in page
    assert "2026-01-01 00:00:00 UTC" in page


def test_a_comparison_counts_what_two_runs_have_seen_as_it_does_of_each(first: Path, second: Path) -> None:
    joined = first.with_name("joined.hup")
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    compared = [json.loads(line) for line in run("diff", "--json", second, joined).stdout.splitlines()]
    assert [line for line in compared if line["record"] == "difference"]
    for line in compared:
        if line["record"] == "difference":
            assert line["connections_before"] == line["connections_after"], line


def test_a_connection_goes_on_from_one_file_of_a_run_to_the_next_though_the_clock_was_set(tmp_path: Path) -> None:
    output = Rotated(Series(tmp_path / "load"), size=1)
    output.open()
    operations = records(seeds_failure(start=SECOND))
    middle = len(operations) // 2
    clock_set = pack_fact(host(SECOND + 1, wall=50, looked=SECOND))
    parts = ([pack_fact(host(0))], operations[:middle], [clock_set], operations[middle:])
    pack_blocks = packer()
    for part in parts:
        for block, its_records in pack_blocks(part):
            output.take(block, its_records)
    output.close(whole=True)
    write_capture(tmp_path / "whole", [data for part in parts for data in part])
    assert len(list(tmp_path.glob("load.*"))) == 4
    whole = alerts(run("watch", "--json", "-r", tmp_path / "whole"))
    assert alerts(run("watch", "--json", "-r", tmp_path / "load")) == whole
    assert len(whole) == 1
