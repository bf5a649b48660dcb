"""The frame of the command: one line for what goes wrong, the right status, no needless import."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hangup.cli import main as frame
from hangup.cli.exit_status import ExitStatus, table
from hangup.tracer.errors import HangupError
from hangup.tracer.version import VERSION
from tests.captures import RECORDS, file_of

CHECKOUT = Path(__file__).parents[2]


def run_verb(monkeypatch: pytest.MonkeyPatch, function: Callable[[], object]) -> Result:
    """Run `hangup peers` with this function in the verb's place."""
    monkeypatch.setattr(frame.Frame, "get_command", lambda *_: click.command("peers")(function))
    return CliRunner().invoke(frame.hangup, ["peers"])


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_version_is_the_one_of_the_package() -> None:
    result = CliRunner().invoke(frame.hangup, ["--version"])
    assert result.output == f"hangup {VERSION}\n"
    assert (CHECKOUT / "debian" / "changelog").read_text().startswith(f"hangup ({VERSION}) ")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_lists_every_verb_and_every_exit_status_in_80_columns(option: str) -> None:
    result = CliRunner().invoke(frame.hangup, [option])
    assert result.exit_code == ExitStatus.OK
    for verb, line in frame.VERBS.items():
        assert f"{verb} " in result.output
        assert line in result.output
    for status in ExitStatus:
        assert f"  {status.value} " in result.output
    assert max(map(len, result.output.splitlines())) < 80


@pytest.mark.parametrize("verb", frame.VERBS)
def test_a_verb_begins_its_help_with_its_line_in_the_list(verb: str) -> None:
    if find_spec(f"hangup.cli.commands.{verb}") is None:
        pytest.skip("not written yet")
    result = CliRunner().invoke(frame.hangup, [verb, "--help"])
    assert result.exit_code == ExitStatus.OK
    assert result.output.splitlines()[2].strip() == frame.VERBS[verb]


def test_neither_help_nor_version_import_a_verb_rich_or_pyroute2() -> None:
    done = python(
        "import sys\n"
        "from hangup.cli.main import hangup\n"
        "try: hangup.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('hangup.cli.commands.', 'rich.', 'pyroute2', 'bcc'))])"
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_wrong_call_ends_with_status_2() -> None:
    assert CliRunner().invoke(frame.hangup, ["nonsense"]).exit_code == ExitStatus.USAGE
    assert CliRunner().invoke(frame.hangup, ["peers", "--nonsense"]).exit_code == ExitStatus.USAGE
    for option, value in (("--pid", "0"), ("--uid", "no such user"), ("--uid", "4294967295"), ("--cgroup", "")):
        assert CliRunner().invoke(frame.hangup, ["peers", option, value]).exit_code == ExitStatus.USAGE


def test_a_verb_that_cannot_be_imported_is_a_fault_of_that_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(name: str) -> None:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(frame, "import_module", fault)
    assert CliRunner().invoke(frame.hangup, ["peers"]).exit_code == ExitStatus.FAULT
    assert CliRunner().invoke(frame.hangup, ["watch", "--", "true"]).exit_code == ExitStatus.CANNOT_RUN
    # What was called before is no matter.
    assert CliRunner().invoke(frame.hangup, ["--nonsense"]).exit_code == ExitStatus.USAGE


def test_a_mistyped_verb_suggests_the_right_one() -> None:
    result = CliRunner().invoke(frame.hangup, ["wath"])
    assert result.exit_code == ExitStatus.USAGE
    assert "there is no command 'wath'; did you mean watch?" in result.output
    assert "there is no command 'zzz' (`hangup --help` lists them)" in CliRunner().invoke(frame.hangup, ["zzz"]).output


def test_a_host_that_cannot_is_one_line_of_problem_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot() -> None:
        raise HangupError("not root", "run it with sudo")

    result = run_verb(monkeypatch, cannot)
    assert result.output == "hangup: not root: run it with sudo\n"
    assert result.exit_code == ExitStatus.CANNOT_RUN


def test_a_full_disk_is_no_fault_of_hangup() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "hangup", "explain", "reused"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, check=False)
    assert done.stderr == "hangup: cannot write: No space left on device\n"
    assert done.returncode == ExitStatus.CANNOT_RUN


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_is_no_fault(closed: str) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m hangup explain reused {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_fault_is_one_line_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise RuntimeError("first\nsecond \x1b[2J")

    monkeypatch.delenv("HANGUP_TRACEBACK", raising=False)
    result = run_verb(monkeypatch, fault)
    assert result.exit_code == ExitStatus.FAULT
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("hangup: a fault of hangup itself (RuntimeError: first second [2J): ")


def test_a_fault_shows_its_traceback_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise RuntimeError("boom")

    monkeypatch.setenv("HANGUP_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in run_verb(monkeypatch, fault).output


def test_an_interrupt_ends_with_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    result = run_verb(monkeypatch, interrupted)
    assert result.exit_code == ExitStatus.INTERRUPTED
    assert result.output.strip() == ""


def test_a_verb_may_choose_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def alerts() -> None:
        click.get_current_context().exit(ExitStatus.ALERTS)

    assert run_verb(monkeypatch, alerts).exit_code == ExitStatus.ALERTS
    assert run_verb(monkeypatch, lambda: ExitStatus.CANNOT_RUN).exit_code == ExitStatus.CANNOT_RUN


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_ends_it_quietly(lines: int) -> None:
    program = (
        "import click\n"
        "from hangup.cli import main as frame\n"
        f"def verb(): [print('line', number) for number in range({lines})]\n"
        "frame.Frame.get_command = lambda *_: click.command('peers')(verb)\n"
        "frame.hangup.main(['peers'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"input()\n{program}"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdout.close()
        child.stdin.write(b"go\n")
        child.stdin.close()
        assert child.stderr.read() == b""
        assert child.wait() == ExitStatus.BROKEN_PIPE


# More than a pipe holds; print writes it at once.
LONG = (
    "import click\n"
    "from hangup.cli import main as frame\n"
    "frame.Frame.get_command = lambda *_: click.command('peers')(lambda: print('x' * 300000, end=''))\n"
    "frame.hangup.main(['peers'])\n"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_meanwhile_is_not_taken_for_one_that_has_everything(unbuffered: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        os.read(child.stdout.fileno(), 5)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == ExitStatus.BROKEN_PIPE


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_gets_full_meanwhile_is_told(unbuffered: str, tmp_path: Path) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n{LONG}"
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", limited],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.stderr, done.returncode) == ("hangup: cannot write: File too large\n", ExitStatus.CANNOT_RUN)


def test_the_table_of_statuses_names_each_once() -> None:
    assert [int(line.split()[0]) for line in table().splitlines()] == [0, 1, 2, 3, 65, 70, 122, 125, 126, 127, 130, 141]


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("click", "--version"),
        ("jinja2", "report -r {capture} -o -"),
        ("prometheus_client", "serve --check"),
        ("rich", "doctor"),
    ],
)
def test_a_module_that_is_not_installed_is_one_line_with_debian_s_package(
    module: str, arguments: str, tmp_path: Path
) -> None:
    capture = tmp_path / "all.hup"
    capture.write_bytes(file_of([RECORDS]))
    words = ["hangup", *arguments.format(capture=capture).split()]
    done = python(
        f"import sys; sys.modules[{module!r}] = None; sys.argv = {words!r}; from hangup.__main__ import main; main()"
    )
    package = f"python3-{module.replace('_', '-')}"
    assert (done.returncode, done.stdout) == (ExitStatus.CANNOT_RUN, "")
    assert done.stderr == f"hangup: the {module} Python module is missing: apt install {package}\n"
