"""`hangup diff`: says what became better or worse, and does not take chance for either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hangup.cli import terminal
from hangup.cli.counted_run import read_run
from hangup.cli.ended import Ended
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.reporters.difference import difference_text
from hangup.cli.reporters.summary_json import summary_lines
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.comparison import Counted, Run, compare, run_of
from hangup.tracer.errors import HangupError
from hangup.tracer.filter.check import Subject
from hangup.tracer.filter.filter import filter_of
from hangup.tracer.statistics import Key, Statistics
from hangup.tracer.tracer import Losses, Tracer
from hangup.tracer.verdicts import Kind
from tests.stories import Story, clean, latent, seeds_failure
from tests.unit import pages
from tests.unit.pages import capture, one_after_the_other
from tests.unit.playback import Playback
from tests.unit.snapshots import check

CHECKOUT = Path(__file__).parents[2]
EVERYTHING = filter_of([], Subject.COUNTS)
FASTCGI = ("httpd", "uwsgi", "/tmp/helloFastCGI.s")
PHP = ("nginx", "php-fpm", "/run/php/php8.2-fpm.sock")
POOL = ("gunicorn", "postgres", "/run/postgresql/.s.PGSQL.5432")


def row(names: Sequence[str], kind: Kind, connections: int, *, harmless: int = 0, gap: int | None = None) -> Counted:
    client, server, path = names
    return Counted(client, server, path, kind, connections, harmless, gap, gap)


def run(*rows: Counted, lost: int = 0) -> Run:
    return run_of(rows, lost=lost)


BEFORE = run(
    row(FASTCGI, Kind.CLEAN, 955),
    row(FASTCGI, Kind.ANSWERED, 45, gap=89_000),
    row(FASTCGI, Kind.UNREAD, 3, harmless=3),
    row(PHP, Kind.CLEAN, 400),
    row(PHP, Kind.KILLED, 2),
    row(POOL, Kind.CLEAN, 80),
)
AFTER = run(
    row(FASTCGI, Kind.CLEAN, 990),
    row(FASTCGI, Kind.LATENT, 9),
    row(FASTCGI, Kind.UNREAD, 1, gap=1_250_000),
    row(PHP, Kind.CLEAN, 320),
    row(PHP, Kind.KILLED, 21, gap=20_000),
    row(POOL, Kind.CLEAN, 90),
    lost=12,
)


def conclusions(before: Run, after: Run) -> dict[str, str]:
    return {row.names.client: row.failed.conclusion for row in compare(before, after).rows}


# ---- what is concluded


def test_each_is_better_worse_or_chance_by_itself() -> None:
    assert conclusions(BEFORE, AFTER) == {"nginx": "worse", "httpd": "better", "gunicorn": "may be chance"}
    assert conclusions(AFTER, BEFORE) == {"nginx": "better", "httpd": "worse", "gunicorn": "may be chance"}


def test_it_is_worse_if_one_of_several_is() -> None:
    comparison = compare(BEFORE, AFTER)
    assert comparison.total.conclusion == "better"
    assert comparison.is_worse


def test_two_failures_more_of_a_thousand_may_be_chance() -> None:
    one = run(row(FASTCGI, Kind.CLEAN, 998), row(FASTCGI, Kind.UNREAD, 2))
    other = run(row(FASTCGI, Kind.CLEAN, 996), row(FASTCGI, Kind.UNREAD, 4))
    assert conclusions(one, other) == {"httpd": "may be chance"}
    assert not compare(one, other).is_worse


def test_the_same_run_is_no_difference() -> None:
    comparison = compare(BEFORE, BEFORE)
    assert not comparison.is_worse
    assert {row.failed.conclusion for row in comparison.rows} == {"may be chance"}


def test_what_nobody_misses_anything_by_is_no_failure() -> None:
    harmless = run(row(FASTCGI, Kind.CLEAN, 500), row(FASTCGI, Kind.REUSED, 500, harmless=700))
    assert not compare(run(row(FASTCGI, Kind.CLEAN, 1000)), harmless).is_worse


def test_latent_hang_ups_are_told_and_are_no_failure() -> None:
    after = run(row(FASTCGI, Kind.CLEAN, 500), row(FASTCGI, Kind.LATENT, 500))
    comparison = compare(run(row(FASTCGI, Kind.CLEAN, 1000)), after)
    assert not comparison.is_worse
    assert comparison.rows[0].latent.conclusion == "worse"


def test_who_is_in_one_run_only_is_judged_with_all_others() -> None:
    # A server with a new name, which fails no more than it did.
    renamed = run(row(("httpd", "uwsgi2", FASTCGI[2]), Kind.ANSWERED, 45), row(PHP, Kind.CLEAN, 955))
    before = run(row(FASTCGI, Kind.ANSWERED, 45), row(PHP, Kind.CLEAN, 955))
    comparison = compare(before, renamed)
    assert {row.failed.conclusion for row in comparison.rows} == {"only before", "only after", "may be chance"}
    assert not comparison.is_worse
    assert compare(run(row(PHP, Kind.CLEAN, 955)), renamed).is_worse


def test_paths_that_were_made_up_for_one_run_are_the_same() -> None:
    one = run(row(("a", "b", "/tmp/tmpx3k_9aqd/app.sock"), Kind.KILLED, 100))
    other = run(row(("a", "b", "/tmp/tmpq81_bbcd/app.sock"), Kind.CLEAN, 100))
    assert conclusions(one, other) == {"a": "better"}


def test_with_more_that_is_compared_each_has_to_be_surer() -> None:
    many = [row((f"client {chr(97 + number)}", "s", "/s"), Kind.UNREAD, 9) for number in range(20)]
    assert compare(run(*many), run(*many)).confidence > compare(BEFORE, AFTER).confidence > 0.95


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from([FASTCGI, PHP, POOL]),
            st.sampled_from(Kind),
            st.integers(0, 10**9),
            harmless=st.integers(0, 10**9),
            gap=st.none() | st.integers(0, 10**12),
        )
    ),
    st.data(),
)
def test_nothing_that_can_be_counted_is_too_much(rows: list[Counted], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.sampled_from(rows))) if rows else []
    comparison = compare(run(*rows), run(*other))
    assert sum(each.failed.before.of for each in comparison.rows) == sum(each.connections for each in rows)
    assert sum(each.failed.after.part for each in comparison.rows) == comparison.total.after.part
    assert all(line.isprintable() for line in difference_text(comparison).splitlines())


# ---- text


def test_the_table_says_what_changed_by_which_verdict_and_what_that_is_worth() -> None:
    check("difference", difference_text(compare(BEFORE, AFTER)) + "\n")
    check("difference-better", difference_text(compare(run(row(FASTCGI, Kind.ANSWERED, 9)), AFTER)) + "\n")


def test_too_few_to_tell_is_said() -> None:
    one = run(row(FASTCGI, Kind.CLEAN, 19), row(FASTCGI, Kind.ANSWERED, 1))
    text = difference_text(compare(one, run(row(FASTCGI, Kind.CLEAN, 20))))
    check("difference-few", text + "\n")
    assert "may have gone unseen" in text


def test_nothing_to_compare_is_said() -> None:
    text = difference_text(compare(run(), run()))
    assert "not comparable: 0 of 0 failed before, 0 of 0 after" in text


@pytest.mark.parametrize("pair", [(BEFORE, AFTER), (AFTER, BEFORE), (run(), AFTER), (BEFORE, run())])
def test_the_text_fits_80_columns_but_for_names_and_paths(pair: tuple[Run, Run]) -> None:
    for line in difference_text(compare(*pair)).splitlines():
        assert len(line) < 80 or " to " in line, line


def test_what_got_worse_is_red_on_a_terminal() -> None:
    text = difference_text(compare(BEFORE, AFTER), paint=terminal.colour)
    assert "\x1b[1;31mworse\x1b[0m: 1 of the above is" in text
    plain = difference_text(compare(BEFORE, AFTER))
    assert text.replace("\x1b[1;31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") == plain


# ---- files


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Path]:
    """Write what stories are counted as, as a capture or as `watch --json` prints it."""

    def write(name: str, makers: Iterable[Callable[..., Story]], *, as_json: bool) -> Path:
        events = one_after_the_other(makers)
        path = tmp_path / name
        if not as_json:
            return capture(path, events)
        with Tracer(source=Playback(events)) as tracer:
            for _ in tracer.alerts():
                pass
        lines = summary_lines(Ended(tracer.statistics, tracer.losses(), 1.0, "fentry", 11))
        # Alerts come before, and are not looked at.
        path.write_text("\n".join(['{"schema":1,"record":"alert","sentence":"summary"}', *lines, ""]))
        return path

    return write


BAD = [*[seeds_failure] * 30, *[clean] * 70, pages.killed, latent]
GOOD = [*[clean] * 100, pages.killed]


def diff(*arguments: object) -> Result:
    return CliRunner().invoke(hangup, ["diff", *map(str, arguments)])


@pytest.mark.parametrize("bad_json", [False, True])
@pytest.mark.parametrize("good_json", [False, True])
def test_captures_and_json_say_the_same_and_the_status_is_the_gate(
    files: Callable[..., Path], bad_json: bool, good_json: bool
) -> None:
    bad, good = files("bad", BAD, as_json=bad_json), files("good", GOOD, as_json=good_json)
    better, worse = diff(bad, good), diff(good, bad)
    assert (better.exit_code, worse.exit_code) == (ExitStatus.OK, ExitStatus.WORSE)
    assert "better: 31 of 102 failed before, 1 of 101 after" in better.stdout
    assert "worse: 1 of 101 failed before, 31 of 102 after" in worse.stdout
    check("difference-of-files", better.stdout)


@pytest.mark.parametrize("arguments", [(), ("--json",), ("conn.path=/nobody",)])
def test_where_a_run_has_no_connections_the_gate_is_not_open(
    files: Callable[..., Path], arguments: Sequence[str]
) -> None:
    none, some = files("none", [], as_json=True), files("some", BAD, as_json=True)
    pairs = [(none, some), (some, none), (none, none)] + ([(some, some)] if "conn.path=/nobody" in arguments else [])
    for before, after in pairs:
        result = diff(before, after, *arguments)
        assert result.exit_code == ExitStatus.NOT_COMPARABLE
    if "--json" in arguments:
        assert json.loads(result.stdout.splitlines()[-1])["worse"] is False
    else:
        assert "not comparable: 0 of 0 failed before" in result.stdout


def test_json_has_a_line_for_each_and_one_for_all(files: Callable[..., Path]) -> None:
    result = diff("--json", files("good", GOOD, as_json=True), files("bad", BAD, as_json=False))
    assert result.exit_code == ExitStatus.WORSE
    *rows, total = map(json.loads, result.stdout.splitlines())
    assert [line["record"] for line in [*rows, total]] == ["difference"] * len(rows) + ["difference_total"]
    assert sum(line["failed_after"] for line in rows) == total["failed_after"] == 31
    assert total["worse"] is True
    [fastcgi] = (line for line in rows if line["path"] == "/tmp/helloFastCGI.s")
    assert (fastcgi["conclusion"], fastcgi["change_low"]) == ("only after", None)
    assert fastcgi["verdicts"][0]["verdict"] == "answered"
    assert fastcgi["verdicts"][0]["gap_max_ns_after"] == 89_000


def test_a_run_that_was_not_read_to_its_end_is_not_compared(
    files: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = files("bad", BAD, as_json=False)
    read = FileSource.read

    def interrupted(source: FileSource, timeout: float) -> list[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        return read(source, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(FileSource, "read", interrupted)
        result = CliRunner().invoke(hangup, ["watch", "--json", "-r", str(bad), str(bad)])
    begun = tmp_path / "begun"
    begun.write_text("".join(f"{line}\n" for line in result.output.splitlines() if line.startswith("{")))
    result = diff(begun, bad)
    assert result.exit_code == ExitStatus.DAMAGED
    problem = f"{begun} is of a capture that was not read to its end"
    assert result.output == f"hangup: {problem}: let `hangup watch --json` read it whole\n"


def totals(**changes: Any) -> str:
    ended = Ended(Statistics(), Losses({"ring_full": 3}), 1.0, None, 0)
    [line] = summary_lines(ended)
    return json.dumps(json.loads(line) | changes)


def summary(**changes: Any) -> str:
    statistics = Statistics()
    statistics.count(Key("a", "b", "/c", Kind.KILLED), gap=5)
    first, _ = summary_lines(Ended(statistics, Losses({}), 1.0, None, 0))
    return json.dumps(json.loads(first) | changes, separators=(",", ":"))


def test_what_hangup_said_of_itself_may_stand_among_the_lines(files: Callable[..., Path], tmp_path: Path) -> None:
    bad = files("bad", BAD, as_json=True)
    noted = tmp_path / "with 2>&1"
    noted.write_text(f"hangup: not counted\n{bad.read_text()}hangup: nothing else\n")
    assert diff("--json", noted, bad).output == diff("--json", bad, bad).output
    with noted.open("rb") as given:
        command = [sys.executable, "-m", "hangup", "diff", "--json", "-", str(bad)]
        done = subprocess.run(command, stdin=given, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.stdout + done.stderr == diff("--json", bad, bad).output


def test_what_is_missing_from_a_run_is_known_of_json_as_well(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(f"{summary()}\n{totals()}\n")
    run, _ = read_run(path, EVERYTHING)
    assert run.lost == 3
    assert run.total.hurt == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a hangup capture"),
        ("hello\n", "is not a hangup capture"),
        ("[1]\n", "is not a hangup capture"),
        (summary() + "\n", "ends without the counts of its run"),
        (summary() + "\n" + totals()[:-3], "line 2 of .* is no JSON"),
        (summary(schema=2) + "\n" + totals(), "line 1 of .* is not of schema 1"),
        (summary(verdict="moonstruck"), "line 1 of .* has no counts as this hangup knows them"),
        (summary(verdict=None), "has no counts"),
        (summary(connections=-1), "has no counts"),
        (summary(connections=True), "has no counts"),
        (summary(connections=1.5), "has no counts"),
        (summary(connections=1 << 70), "has no counts"),
        (summary(client=5), "has no counts"),
        (summary(gap_p50_ns="soon"), "has no counts"),
        (totals(lost=None), "has no counts"),
        ('{"schema":1,"record":"alert"}\n' + '{"record":"summary"' + "[" * 100_000, "line 2 of .* is no JSON"),
    ],
    ids=map(str, range(16)),
)
def test_a_file_that_is_neither_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "run"
    path.write_text(text)
    with pytest.raises(HangupError, match=complaint):
        read_run(path, EVERYTHING)
    result = diff(path, path)
    assert result.exit_code == ExitStatus.DAMAGED
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        ("conn.path=/run/php/fpm.sock",),
        ("-f", "conn.server.comm startswith php"),
        ("--comm", "php*"),
        ("--ignore-path", "/tmp/*", "--ignore-path", "/run/app*"),
    ],
)
def test_a_filter_holds_for_both_sides(files: Callable[..., Path], as_json: bool, options: tuple[str, ...]) -> None:
    bad, good = files("bad", BAD, as_json=as_json), files("good", GOOD, as_json=as_json)
    result = diff("--json", bad, good, *options)
    assert result.exit_code == ExitStatus.OK, result.output
    *rows, total = map(json.loads, result.stdout.splitlines())
    assert [row["path"] for row in rows] == ["/run/php/fpm.sock"]
    assert (total["failed_before"], total["connections_before"]) == (1, 1)
    assert (total["failed_after"], total["connections_after"]) == (1, 1)


@pytest.mark.parametrize("options", [("verdict=killed",), ("conn.pid=7",), ("evt.res=EPIPE",)])
def test_what_is_not_known_of_all_connections_cannot_be_asked(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = diff(tmp_path / "a", tmp_path / "b", *options)
    assert result.exit_code == ExitStatus.USAGE
    assert "does not work with diff, but with " in result.output
    assert diff(tmp_path / "a", tmp_path / "b", "--pid", 7).exit_code == ExitStatus.USAGE


@pytest.mark.parametrize("as_json", [False, True])
def test_one_side_may_be_a_pipe_of_either_kind(files: Callable[..., Path], as_json: bool) -> None:
    bad, good = files("bad", BAD, as_json=as_json), files("good", GOOD, as_json=as_json)
    command = [sys.executable, "-m", "hangup", "diff", str(good), "-"]
    piped = subprocess.run(command, input=bad.read_bytes(), capture_output=True, cwd=CHECKOUT, check=False)
    assert piped.returncode == ExitStatus.WORSE
    assert piped.stdout.decode() == diff(good, bad).stdout
    result = diff("-", "-")
    assert result.exit_code == ExitStatus.USAGE
    assert "only one of BEFORE and AFTER can be -" in result.output


@pytest.mark.parametrize("as_json", [False, True])
def test_both_sides_may_be_pipes_that_have_a_name(files: Callable[..., Path], as_json: bool) -> None:
    bad, good = files("bad", BAD, as_json=as_json), files("good", GOOD, as_json=as_json)
    command = 'exec "$0" -m hangup diff <(cat "$1") <(cat "$2")'
    piped = subprocess.run(
        ["bash", "-c", command, sys.executable, good, bad], capture_output=True, cwd=CHECKOUT, check=False
    )
    assert (piped.returncode, piped.stdout.decode()) == (ExitStatus.WORSE, diff(good, bad).stdout), piped.stderr


INTERRUPTED = """
import os, signal
from hangup.cli import counted_run
from hangup.cli.main import main
called = counted_run.{0}
def interrupt(*arguments):
    counted_run.{0} = called
    os.kill(os.getpid(), signal.SIGINT)
    return called(*arguments)
counted_run.{0} = interrupt
main()
"""


@pytest.mark.parametrize("place", ["_begins_with_json", "_of_json", "_row"])
def test_ctrl_c_while_json_comes_by_a_pipe_is_for_whoever_writes_it(files: Callable[..., Path], place: str) -> None:
    bad, good = files("bad", BAD, as_json=True), files("good", GOOD, as_json=True)
    command = [sys.executable, "-c", INTERRUPTED.format(place), "diff"]
    piped = subprocess.run(
        [*command, "-", bad], input=good.read_bytes(), capture_output=True, cwd=CHECKOUT, check=False
    )
    assert (piped.stdout.decode(), piped.returncode) == (diff(good, bad).stdout, ExitStatus.WORSE)
    substituted = ["bash", "-c", '"$@" <(cat "$0") "$0"', str(bad), *command]
    same = subprocess.run(substituted, capture_output=True, cwd=CHECKOUT, check=False)
    assert (same.stdout.decode(), same.returncode) == (diff(bad, bad).stdout, ExitStatus.OK)
    with good.open("rb") as file:
        read = subprocess.run([*command, "-", bad], stdin=file, capture_output=True, cwd=CHECKOUT, check=False)
    assert (read.stdout, read.returncode) == (b"", ExitStatus.INTERRUPTED)


INTERRUPTED_AT_EACH_READ = """
import os, signal
from hangup.cli import run
from hangup.cli.main import main
from hangup.tracer.capture.reader import FileSource
run._AGAIN_SECONDS = -1
read, reads = FileSource.read, iter(range(2))
def interrupted(source, timeout):
    next(reads)
    os.kill(os.getpid(), signal.SIGINT)
    return read(source, timeout)
FileSource.read = interrupted
main()
"""


@pytest.mark.parametrize("name", ["-", "/dev/fd/0"])
def test_the_second_ctrl_c_ends_the_reading_of_a_capture_that_comes_by_a_pipe(
    files: Callable[..., Path], name: str
) -> None:
    good = files("good", GOOD, as_json=False)
    command = [sys.executable, "-c", INTERRUPTED_AT_EACH_READ, "diff", name, str(good)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # It stays open.
        process.stdin.write(good.read_bytes()[:-64])
        process.stdin.flush()
        assert (process.stdout.read(), process.wait()) == (b"", ExitStatus.INTERRUPTED)


def test_nobody_waits_for_a_capture_that_is_to_be_typed(
    files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 0)
    result = diff(files("good", GOOD, as_json=False), "-")
    assert result.exit_code == ExitStatus.USAGE
    assert "standard input is a terminal, and no capture comes from there" in result.output


def test_the_files_of_a_capture_in_several_are_one_run(files: Callable[..., Path], tmp_path: Path) -> None:
    for number in (1, 2):
        files(f"all.hup.0000{number}", [clean, pages.killed], as_json=False)
    *_, total = map(json.loads, diff("--json", tmp_path / "all.hup", tmp_path / "all.hup.00001").stdout.splitlines())
    assert (total["connections_before"], total["connections_after"]) == (4, 2)


def test_a_capture_that_was_cut_short_is_no_ground_to_pass(files: Callable[..., Path]) -> None:
    bad, good = files("bad", BAD, as_json=False), files("good", GOOD, as_json=False)
    good.write_bytes(good.read_bytes()[:-5])
    result = diff(bad, good)
    assert result.exit_code == ExitStatus.DAMAGED
    assert f"hangup: {good} can be read up to byte " in result.output
    assert "better: 31 of 102 failed before, 1 of 101 after" in result.stdout


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = diff(tmp_path / "none", tmp_path / "none")
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert result.output.startswith(f"hangup: cannot read {tmp_path / 'none'} (No such file or directory): ")


def test_names_in_json_are_escaped_whoever_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text(f"{summary(client='x' + chr(27) + '[2J', server=chr(0xD800), path='/a' + chr(10))}\n{totals()}\n")
    text = diff(path, path).stdout
    assert "x\\x1b[2J to \\xed\\xa0\\x80, /a*" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_more_rows_than_a_run_can_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hangup.cli.counted_run._MOST_ROWS", 3)
    path = tmp_path / "run"
    path.write_text("\n".join([summary()] * 4 + [totals()]))
    with pytest.raises(HangupError, match="more counts than one run can have"):
        read_run(path, EVERYTHING)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_file_makes_a_traceback(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run"
    path.write_bytes(data)
    with pytest.raises(HangupError):
        read_run(path, EVERYTHING)
