"""Ctrl-C ends the command at whatever moment it comes, without a traceback and never as if all had gone well."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hangup.cli.exit_status import ExitStatus
from tests.captures import RECORDS, file_of

CHECKOUT = Path(__file__).parents[2]

# As `python3 -m hangup`, in a process in which something interrupts it.
_RUN = """
import os, runpy, signal, sys
def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)
{before}
sys.argv = ["hangup", *sys.argv[1:]]
runpy.run_module("hangup", run_name="__main__", alter_sys=True)
"""

_AT_IMPORT = """
class Finder:
    def find_spec(name, *_):
        if name == {name!r}:
            interrupt()
sys.meta_path.insert(0, Finder)
"""

# A verb in the place of `peers`.
_VERB = """
import types, click
verb = types.ModuleType("peers")
sys.modules["hangup.cli.commands.peers"] = verb
@click.command("peers")
def command():
    {body}
verb.command = command
"""


def run(before: str, *arguments: str, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    program = _RUN.format(before=before)
    if ignored:
        program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{program}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def verb(*lines: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return run(before + _VERB.format(body="\n    ".join(lines)), "peers")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("interrupts") / "all.hup"
    path.write_bytes(file_of([RECORDS]))
    return str(path)


@pytest.mark.parametrize(
    "name",
    [
        "hangup.cli",
        "hangup.cli.main",
        "click",
        "hangup.cli.commands.diff",
        "hangup.tracer.tracer",
        "hangup.cli.reporters.difference",
        # As late as the verb itself runs.
        "lark",
        "hangup.tracer.filter.parser",
    ],
)
def test_at_an_import(name: str, capture: str) -> None:
    done = run(_AT_IMPORT.format(name=name), "diff", capture, capture, "conn.path=/x")
    assert done.returncode in (-signal.SIGINT, ExitStatus.INTERRUPTED)
    assert (done.stdout, done.stderr.strip()) == ("", "")


def test_what_ignores_it_goes_on(capture: str) -> None:
    done = run(_AT_IMPORT.format(name="hangup.cli.main"), "diff", capture, capture, ignored=True)
    assert (done.returncode, done.stderr) == (ExitStatus.OK, "")


def test_while_a_verb_runs_it_takes_away_what_it_has_made(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = verb(f"made = open({str(made)!r}, 'w')", "try: interrupt()", f"finally: os.unlink({str(made)!r})")
    assert (done.returncode, done.stdout, done.stderr.strip()) == (ExitStatus.INTERRUPTED, "", "")
    assert not made.exists()


def test_where_python_swallows_it() -> None:
    lines = "class Dies: pass", "dies = Dies()", "import weakref", "watched = weakref.ref(dies, interrupt)", "del dies"
    done = verb(*lines, "print('went on')")
    assert (done.returncode, done.stdout, done.stderr) == (ExitStatus.INTERRUPTED, "went on\n", "")


def test_what_else_python_swallows_is_shown() -> None:
    lines = "class Dies:", "    def __del__(self): raise RuntimeError('boom')", "Dies()"
    assert "RuntimeError: boom" in verb(*lines).stderr


def test_while_it_is_said_what_went_wrong() -> None:
    before = """
from hangup.tracer.errors import HangupError
class Error(HangupError):
    def __str__(self):
        interrupt()
        return ""
"""
    done = verb("raise Error('', '')", before=before)
    assert (done.returncode, done.stdout, done.stderr) == (ExitStatus.INTERRUPTED, "", "")


def test_when_all_is_done() -> None:
    done = verb("import atexit", "atexit.register(interrupt)", "print('done')")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "done\n", "")
