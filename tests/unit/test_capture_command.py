"""`watch` and `trace` write captures and read them: what is shown, what is refused, and how it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import peers, report, trace, watch
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.progress import Progress
from hangup.tracer.capture.files import write_capture
from hangup.tracer.capture.format import BLOCK_BYTES, END_BYTES, unpack_end
from hangup.tracer.capture.reader import FileSource
from hangup.tracer.record.layout import EventFlag, pack, unpack
from hangup.tracer.tracer import Tracer
from tests.captures import RECORDS, read_file
from tests.identities import allowed, changed
from tests.stories import HTTPD, Story, Task, clean, established, seeds_failure
from tests.unit.playback import Playback

CHECKOUT = Path(__file__).parents[2]

Tell = Callable[..., None]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Have the verbs trace stories in place of this host."""

    def tell(*stories: Story) -> None:
        def replay(**options: Any) -> Tracer:
            events = [event for story in stories for event in story.events]
            return Tracer(**{"source": Playback(events), **options})

        for verb in (watch, trace):
            monkeypatch.setattr(verb, "Tracer", replay)

    return tell


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Return a capture of one failure."""
    path = tmp_path / "load.hup"
    write_capture(path, RECORDS)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(hangup, [str(argument) for argument in arguments])


def hangup_run(
    *arguments: object, command: str = "from hangup.cli.main import main; main()", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
        timeout=60,
        **options,
    )


# ---- written


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_what_is_shown_is_written_too_and_says_the_same_again(verb: str, told: Tell, tmp_path: Path) -> None:
    told(seeds_failure(), clean())
    live = run(verb, "--duration", "0.01", "-w", tmp_path / "capture")
    again = run(verb, "-r", tmp_path / "capture")
    assert live.exit_code == again.exit_code == (ExitStatus.ALERTS if verb == "watch" else ExitStatus.OK)
    lines = [line for line in live.output.splitlines() if not line.startswith(("hangup:", "1 alert"))]
    assert lines
    assert [line for line in again.output.splitlines() if not line.startswith(("hangup:", "1 alert"))] == lines


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_quiet_shows_the_summary_alone(verb: str, told: Tell, tmp_path: Path) -> None:
    told(seeds_failure(), clean())
    result = run(verb, "--duration", "0.01", "--quiet", "-w", tmp_path / "capture")
    assert "hung up" not in result.output
    assert "writev" not in result.output
    if verb == "watch":
        assert "answered" in result.output
        assert "1 alert in " in result.output
    else:
        count = len(seeds_failure().events) + len(clean().events)
        assert result.output.endswith(f"hangup: {count} operations; nothing lost\n")
    assert len(read_file(tmp_path / "capture")[0]) == len(seeds_failure().events) + len(clean().events)
    # And what was written is read as quietly.
    assert "hung up" not in run(verb, "-q", "-r", tmp_path / "capture").output


def said_at_the_end(*arguments: object) -> str:
    """Return what `hangup trace` counted."""
    return run("trace", *arguments).output.splitlines()[-1]


def aftermath() -> list[bytes]:
    """Return operations that `trace` does not show: what somebody did next, and on a connection nobody wanted."""
    other = established(path="/run/other.s", client_sock=0x10, server_sock=0x20)
    flags = (EventFlag.AFTERMATH, EventFlag.UNSELECTED)
    return [pack(event._replace(flags=event.flags | flag)) for event, flag in zip(other.events, flags, strict=True)]


@pytest.mark.parametrize("layout", ["text", "sysdig"])
def test_quiet_counts_what_would_be_shown(layout: str, tmp_path: Path) -> None:
    story = seeds_failure()
    changes = [changed(HTTPD, story.now + later, allowed(0), allowed(33)) for later in (1, 2)]
    # Of whom no operation is seen.
    stranger = changed(Task("cron", 77), story.now + 3, allowed(0), allowed(33))
    write_capture(tmp_path / "load.hup", [*RECORDS, *aftermath(), *changes, stranger])
    counts = f"hangup: {len(story.events)} operations, 2 changes of identity; nothing lost"
    assert said_at_the_end("-r", tmp_path / "load.hup", "--format", layout) == counts
    assert said_at_the_end("-r", tmp_path / "load.hup", "--quiet") == counts


def test_quiet_counts_of_this_host_what_would_be_shown(told: Tell) -> None:
    story = seeds_failure()
    story.events += [unpack(record) for record in aftermath()]
    told(story)
    shown = said_at_the_end("--duration", "0.01", "--path", "*")
    assert shown.startswith(f"hangup: {len(seeds_failure().events)} operations; ")
    assert said_at_the_end("--duration", "0.01", "--path", "*", "--quiet") == shown


def test_an_existing_file_is_replaced_with_force_only(told: Tell, capture: Path) -> None:
    told(clean())
    before = capture.read_bytes()
    result = run("trace", "--duration", "0.01", "-w", capture)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert result.output.splitlines()[-1] == (
        f"hangup: there is a file {capture} already: name a new one, or say --force"
    )
    assert capture.read_bytes() == before
    assert run("trace", "--duration", "0.01", "-w", capture, "--force").exit_code == ExitStatus.OK
    assert capture.read_bytes() != before


@pytest.mark.parametrize("forced", [[], ["--force"], ["-C", "5", "--force"]])
def test_what_is_no_file_is_never_replaced_and_said_to_be_none(told: Tell, tmp_path: Path, forced: list[str]) -> None:
    told(clean())
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for path in (tmp_path, dangling, link, Path("/dev/null")):
        result = run("trace", "--duration", "0.01", "-w", path, *forced)
        assert result.exit_code == ExitStatus.CANNOT_RUN
        assert result.output == f"hangup: {path} is no regular file: name another file, or - for standard output\n"
    assert sorted(tmp_path.iterdir()) == [dangling, link]


def test_a_capture_belongs_to_whoever_called_sudo(told: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    told(clean())
    for names in ({"SUDO_UID": "65534", "SUDO_GID": "65533"}, {}):
        for name in ("SUDO_UID", "SUDO_GID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        for number, options in enumerate(([], ["-C", "100"])):
            path = tmp_path / f"{len(names)}-{number}"
            assert run("trace", "--duration", "0.01", "-w", path, *options).exit_code == ExitStatus.OK
            [found] = tmp_path.glob(f"{path.name}*")
            status = found.stat()
            assert (status.st_uid, status.st_gid) == ((65534, 65533) if names else (0, 0))
            assert status.st_mode & 0o777 == 0o600


def test_with_rotation_files_have_numbers_and_are_read_by_their_common_name(told: Tell, tmp_path: Path) -> None:
    told(*[seeds_failure(start=number * 10**9) for number in range(1, 9)])
    result = run("watch", "--duration", "0.01", "-q", "-w", tmp_path / "load", "-C", "1K", "-W", "3")
    assert result.exit_code == ExitStatus.ALERTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load.00001"]
    assert run("watch", "-r", tmp_path / "load").exit_code == ExitStatus.ALERTS


def test_around_an_alert_is_written_what_was_around_it(told: Tell, tmp_path: Path) -> None:
    told(clean(), clean())
    assert run("watch", "--duration", "0.01", "-w", tmp_path / "load", "--around", "5s").exit_code == ExitStatus.OK
    assert list(tmp_path.iterdir()) == []
    told(clean(), seeds_failure())
    assert run("watch", "--duration", "0.01", "-w", tmp_path / "load", "--around", "5s").exit_code == ExitStatus.ALERTS
    assert [path.name for path in tmp_path.iterdir()] == ["load.00001"]
    assert run("watch", "-r", tmp_path / "load").exit_code == ExitStatus.ALERTS


def test_where_there_was_no_alert_around_which_to_write_that_is_said(told: Tell, tmp_path: Path) -> None:
    said = f"hangup: there was no alert: nothing was written to {tmp_path / 'capture'}\n"
    told(clean())
    assert said in run("watch", "--duration", "0.01", "-w", tmp_path / "capture", "--around", "1s").output
    assert list(tmp_path.iterdir()) == []
    told(seeds_failure())
    assert said not in run("watch", "--duration", "0.01", "-w", tmp_path / "capture", "--around", "1s").output
    told(clean())
    assert said not in run("watch", "--duration", "0.01", "-w", tmp_path / "whole").output


def test_alerts_do_not_make_the_blocks_of_a_capture_any_smaller(told: Tell, tmp_path: Path) -> None:
    told(*[seeds_failure(start=number * 10**9) for number in range(1, 9)])
    assert run("watch", "--duration", "0.01", "-w", tmp_path / "capture").exit_code == ExitStatus.ALERTS
    content = (tmp_path / "capture").read_bytes()
    assert unpack_end(content[BLOCK_BYTES - END_BYTES :]).blocks == 1


def test_a_disk_that_is_full_ends_it_with_what_was_seen_and_one_line(told: Tell, tmp_path: Path) -> None:
    told(seeds_failure(), clean())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        result = run("watch", "--duration", "0.01", "-w", tmp_path / "capture")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert "1 alert in " in result.output
    assert [line for line in result.output.splitlines() if "cannot write" in line] == [
        f"hangup: cannot write {tmp_path / 'capture'} (File too large): what was written till then can be read"
    ]
    assert run("watch", "-r", tmp_path / "capture").exit_code == ExitStatus.DAMAGED


_TOLD = """
import sys
from hangup.cli.commands import peers, report, trace, watch
from hangup.cli.main import main
from hangup.tracer.tracer import Tracer
from tests.stories import seeds_failure
from tests.unit.playback import Playback
def replay(**options):
    return Tracer(source=Playback(seeds_failure().events), **options)
watch.Tracer = trace.Tracer = replay
main()
"""


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_a_pipe_gets_the_capture_and_nothing_else_and_is_read_as_one(verb: str) -> None:
    written = hangup_run(verb, "--duration", "0.01", "-w", "-", command=_TOLD)
    assert written.returncode == (ExitStatus.ALERTS if verb == "watch" else ExitStatus.OK)
    assert written.stdout.startswith(b"\x89HANGUP\n")
    assert (b"1 alert in" if verb == "watch" else b"operations; nothing lost") in written.stderr
    read = hangup_run("watch", "-r", "-", input=written.stdout)
    assert read.returncode == ExitStatus.ALERTS
    assert read.stderr == b""
    assert b"uwsgi[815] read 723 bytes" in read.stdout
    # Several captures one behind the other, as cat(1) makes them, are one.
    assert b"2 alerts in" in hangup_run("watch", "-r", "-", input=written.stdout * 2).stdout


def test_a_pipe_that_nobody_reads_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", _TOLD, "trace", "-w", "-"],
        cwd=CHECKOUT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == ExitStatus.BROKEN_PIPE
    assert b"Traceback" not in done.stderr


# ---- read


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_a_capture_is_read_without_root_or_the_compiler(verb: str, capture: Path) -> None:
    """Nothing of bcc is imported, and an import of it would fail."""
    program = (
        "import os, sys; sys.modules['bcc'] = None; os.geteuid = lambda: 65534\n"
        "from hangup.cli.main import hangup\n"
        "try: hangup.main()\n"
        "finally: assert not [name for name in sys.modules if name.startswith('bcc.')]\n"
    )
    done = hangup_run(verb, "-r", capture, command=program)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (ExitStatus.ALERTS if verb == "watch" else ExitStatus.OK)
    assert b"helloFastCGI" in done.stdout


@pytest.mark.parametrize(
    ("verb", "said"),
    [("watch", "2 alerts in "), ("trace", "2 operations;"), ("peers", ""), ("report", "wrote page.html")],
)
def test_files_may_stand_one_behind_the_other_as_a_shell_puts_them(
    verb: str, said: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    for name in ("a.hup", "b.hup"):
        write_capture(Path(name), [pack(event) for event in seeds_failure().events])
    filters = {"watch": "evt.res=EPIPE", "trace": "evt.res=EPIPE"}
    options = ["-o", "page.html", "--force"] if verb == "report" else []
    result = run(verb, "-r", "a.hup", "b.hup", filters.get(verb, "conn.path exists"), *options)
    assert result.exit_code == (ExitStatus.ALERTS if verb == "watch" else ExitStatus.OK)
    assert said in result.output


@pytest.mark.parametrize("verb", ["watch", "trace", "peers", "report"])
@pytest.mark.parametrize(
    "words",
    [
        "-r a.hup b.hup",
        "-ra.hup b.hup",
        "--read a.hup b.hup",
        "--read=a.hup b.hup",
        "-r a.hup conn.path=/x b.hup",
        "-r a.hup --path /x b.hup",
        "-r a.hup -r b.hup",
        "-r a.hup load=1.hup",
        "-r a.hup several",
        "-r a.hup missing.hup",
        "--read=a.hup missing.hup",
        "-ra.hup missing.hup",
        "-r a.hup b.hup missing.hup conn.path=/x",
    ],
)
def test_captures_behind_one_that_is_read_are_read_too_however_it_is_written(
    verb: str, words: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    for name in ("a.hup", "b.hup", "load=1.hup", "several.00001"):
        Path(name).touch()
    module = {"watch": watch, "trace": trace, "peers": peers, "report": report}[verb]
    options = ["-o", "page.html"] if verb == "report" else []
    names = [word for word in words.replace("-ra", "-r a").replace("=a", " a").split() if not word.startswith("-")]
    given = module.command.make_context("hangup", [*options, *words.split()]).params["read"]
    assert [str(path) for path in given] == [name for name in names if "/x" not in name]


@pytest.mark.parametrize("verb", ["watch", "trace"])
@pytest.mark.parametrize("words", ["-qr a.hup b.hup", "-qra.hup b.hup", "-r a.hup --quiet b.hup", "-r a.hup -q b.hup"])
def test_options_may_stand_between_captures(
    verb: str, words: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    for name in ("a.hup", "b.hup"):
        Path(name).touch()
    given = {"watch": watch, "trace": trace}[verb].command.make_context("hangup", words.split()).params
    assert (given["read"], given["quiet"]) == ((Path("a.hup"), Path("b.hup")), True)


@pytest.mark.parametrize("name", ["missing.hup", "folder"])
@pytest.mark.parametrize("verb", ["watch", "trace", "peers", "report", "diff"])
def test_nothing_is_read_where_one_of_several_captures_cannot_be(
    verb: str, name: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    Path("folder").mkdir()
    words = [capture.name, name] if verb == "diff" else ["-r", capture.name, name]
    result = run(verb, *words, *(["-o", "page.html"] if verb == "report" else []))
    [line] = result.output.splitlines()
    assert line.startswith(f"hangup: cannot read {name} (")
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert not Path("page.html").exists()


def test_a_capture_ends_by_itself_and_says_how_long_it_was_watched_there(capture: Path) -> None:
    result = run("watch", "-r", capture)
    assert "1 alert in 100 ms, watched with fentry" in result.output
    [*_, total] = [json.loads(line) for line in run("watch", "--json", "-r", capture).stdout.splitlines()]
    assert (total["record"], total["seconds"], total["probes"]) == ("total", 0.1, "fentry")


def test_a_capture_may_be_asked_with_a_selection(capture: Path) -> None:
    assert run("watch", "-r", capture, "--comm", "httpd").exit_code == ExitStatus.ALERTS
    assert run("watch", "-r", capture, "--comm", "nginx").exit_code == ExitStatus.OK
    assert run("trace", "-r", capture, "--pid", "815").output.count("uwsgi") > 5
    assert "writev" not in run("trace", "-r", capture, "--pid", "1").output


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_of_a_damaged_capture_what_is_whole_is_shown_and_then_where_it_ends(verb: str, capture: Path) -> None:
    whole = run(verb, "-r", capture)
    capture.write_bytes(capture.read_bytes()[:-1])
    result = run(verb, "-r", capture)
    assert result.exit_code == ExitStatus.DAMAGED
    offset = capture.stat().st_size - 63
    assert result.output.splitlines()[-1] == f"hangup: {capture} can be read up to byte {offset}: it was cut short"
    assert "1 part of a capture, which is damaged" in result.output
    assert ("hung up" in result.output) == ("hung up" in whole.output)
    assert ("writev" in result.output) == ("writev" in whole.output) is True


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_what_is_no_capture_is_one_line(verb: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x1b[2J no capture\n")
    result = run(verb, "-r", tmp_path / "file")
    assert result.exit_code == ExitStatus.DAMAGED
    assert result.output == (
        f"hangup: cannot read {tmp_path / 'file'}: at its byte 0, it is not a hangup capture: "
        "name a file that hangup has written with -w\n"
    )
    assert run(verb, "-r", tmp_path / "none").output == (
        f"hangup: cannot read {tmp_path / 'none'} (No such file or directory): name a capture file\n"
    )
    assert run(verb, "-r", tmp_path).output == f"hangup: cannot read {tmp_path} (Is a directory): name a capture file\n"


@pytest.mark.parametrize("verb", ["watch", "report", "diff"])
def test_what_may_not_be_read_is_one_line_with_what_to_do(
    verb: str, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For root everything can be read.
    monkeypatch.setattr(os, "access", lambda path, *_, **__: os.fsdecode(path) != str(capture))
    arguments: dict[str, list[object]] = {
        "watch": ["-r", capture],
        "report": ["-r", capture, "-o", tmp_path / "x"],
        "diff": [capture, capture],
    }
    result = run(verb, *arguments[verb])
    remedy = "read it with sudo, or let its owner give it to you (chown)"
    assert result.output == f"hangup: cannot read {capture} (Permission denied): {remedy}\n"
    assert result.exit_code == ExitStatus.CANNOT_RUN


@contextmanager
def watching_a_pipe() -> Iterator[subprocess.Popen[bytes]]:
    """Start what reads a pipe that is not closed."""
    command = [sys.executable, "-c", "from hangup.cli.main import main; main()", "watch", "-r", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


def begin(capture: Path, process: subprocess.Popen[bytes]) -> None:
    """Write a capture of one failure to that process, but not its end; return when its alert has come."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(capture.read_bytes()[:-64])
    process.stdin.flush()
    assert b"uwsgi[815] read 723 bytes" in process.stdout.readline()


def assert_ended_before_its_end(process: subprocess.Popen[bytes], by: signal.Signals) -> None:
    """Send that process a signal; see that it sums up what it has seen, and says that this is not all.

    The pipe stays open.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(by)
    assert b"1 alert in" in process.stdout.read()
    assert process.stderr.read() == b"hangup: interrupted: the pipe had not been read to its end\n"
    assert process.wait() == ExitStatus.ALERTS


GOES_ON = b"hangup: the pipe goes on, and is read to its end; Ctrl-C again ends it\n"


def test_ctrl_c_while_a_pipe_is_read_is_for_whoever_writes_it_and_nothing_of_the_end_is_lost(capture: Path) -> None:
    with watching_a_pipe() as process:
        begin(capture, process)
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(capture.read_bytes()[-64:])
    assert b"1 alert in" in shown
    # It says nothing, but where half a second was not enough for it to read on.
    assert errors in (b"", GOES_ON)
    assert process.returncode == ExitStatus.ALERTS


def test_ctrl_c_again_ends_the_reading_of_a_pipe_with_what_was_seen_till_then(capture: Path) -> None:
    with watching_a_pipe() as process:
        begin(capture, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == GOES_ON
        assert_ended_before_its_end(process, signal.SIGINT)


def test_sigterm_ends_the_reading_of_a_pipe_at_once(capture: Path) -> None:
    with watching_a_pipe() as process:
        begin(capture, process)
        assert_ended_before_its_end(process, signal.SIGTERM)


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_ctrl_c_before_the_end_of_a_file_is_told_with_how_much_was_read(
    verb: str, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "interrupted" not in run(verb, "-r", capture, capture, "--quiet").output
    read = FileSource.read

    def interrupted(source: FileSource, timeout: float) -> list[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        return read(source, timeout)

    monkeypatch.setattr(FileSource, "read", interrupted)
    result = run(verb, "-r", capture, capture, "--quiet")
    assert "hangup: interrupted: 50% of the capture had been read\n" in result.output


# ---- refused


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("watch -r FILE --probes fentry", "--probes is for watching this host, and -r reads a capture"),
        ("watch -r FILE --stream", "--stream is for watching this host, and -r reads a capture"),
        ("watch -r FILE --history 5000", "--history is for watching this host, and -r reads a capture"),
        ("watch -r FILE --duration 5", "--duration is for watching this host, and -r reads a capture"),
        ("watch -r FILE --ready-file x", "--ready-file is for watching this host, and -r reads a capture"),
        ("watch -r FILE --around 5s", "--around is for watching this host, and -r reads a capture"),
        ("watch -r FILE -w x", "--write is for watching this host, and -r reads a capture"),
        ("watch -r - -r -", "Invalid value for '-r' / '--read': standard input can be read only once"),
        ("trace -r - FILE -", "Invalid value for '-r' / '--read': standard input can be read only once"),
        ("watch -r FILE -- true", "COMMAND is for watching this host, and -r reads a capture"),
        ("trace -r FILE --duration 5", "--duration is for watching this host, and -r reads a capture"),
        ("trace -r FILE -G 5", "--rotate-time is for watching this host, and -r reads a capture"),
        ("trace --force", "--force says how -w writes, which is not given"),
        ("trace -C 5", "--rotate-size says how -w writes, which is not given"),
        ("watch --around 5s", "--around says how -w writes, which is not given"),
        ("watch -w x --around 5s -C 5", "--rotate-size is for a capture of everything, and --around is given"),
        ("watch -w x --around-memory 5M", "--around-memory is for --around, which is not given"),
        ("watch -w x -C 5 --around-memory 5M", "--around-memory is for --around, which is not given"),
        ("trace -w x -W 5", "--rotate-count says how many files are kept: with -C or -G there are several"),
        ("trace -w - --force", "--force is for files, and -w - is a pipe"),
        ("trace -w - --json", "--json would write to standard output, too, where -w - writes the capture"),
        ("trace -w - -- true", "COMMAND would write to standard output, too, where -w - writes the capture"),
        (
            "trace -w x -C many",
            "Invalid value for '-C' / '--rotate-size': 'many' is not a size; write it like 100, 512K",
        ),
        ("trace -w x -C 0", "Invalid value for '-C' / '--rotate-size': '0' is not a size; write it like 100, 512K"),
        ("trace -w x -G soon", "Invalid value for '-G' / '--rotate-time': 'soon' is not a time; write it like 10, 1.5"),
    ],
)
def test_options_that_make_no_sense_together_are_refused_in_one_line(
    arguments: str, line: str, capture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(**_: Any) -> Tracer:
        raise AssertionError("nothing is traced")

    for verb in (watch, trace):
        monkeypatch.setattr(verb, "Tracer", never)
    monkeypatch.chdir(tmp_path)
    words = [str(capture) if word == "FILE" else word for word in arguments.split()]
    result = run(*words)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    [*_, last] = result.output.splitlines()
    assert last.startswith(f"Error: {line}")
    assert [path.name for path in tmp_path.iterdir()] == ["load.hup"]


# ---- how far it is


class _Terminal:
    """A file that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Everything is there at once."""


def test_a_long_read_has_a_bar_on_a_terminal_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("hangup.cli.progress.time.monotonic", lambda: now)
    monkeypatch.setenv("TERM", "xterm")
    terminal = _Terminal()
    progress = Progress(terminal)  # type: ignore[arg-type]
    progress.show(1 << 20, 4 << 20)
    assert terminal.text == ""
    now = 1.0
    progress.show(2 << 20, 4 << 20)
    assert "2.1/4.2 MB" in terminal.text
    shown = terminal.text
    progress.show(3 << 20, 4 << 20)
    assert terminal.text == shown
    progress.hide()
    # The cursor is shown again, and the line erased (ECMA-48).
    assert terminal.text.endswith(("\x1b[?25h", "\x1b[2K"))
    # Nothing is known of a pipe.
    now = 5.0
    shown = terminal.text
    progress.show(3 << 20, 0)
    assert terminal.text == shown


def test_nothing_of_it_is_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr("hangup.cli.progress.time.monotonic", lambda: now)
    progress = Progress()
    now = 5.0
    progress.show(5, 10)
    progress.hide()
    assert capsys.readouterr() == ("", "")
