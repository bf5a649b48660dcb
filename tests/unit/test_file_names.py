"""A file's name is shown escaped, and in one line, wherever something is said of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hangup.cli import new_file
from hangup.cli.child import CommandNotStartedError
from hangup.cli.commands.serve import destinations
from hangup.cli.main import hangup
from hangup.cli.ready import Ready
from hangup.cli.service.settings import Settings
from hangup.cli.sinks.alert_file import AlertFile
from hangup.cli.sinks.metrics_server import MetricsServer
from hangup.tracer.capture.names import PIPE, make_way, name_of
from hangup.tracer.errors import HangupError
from tests.captures import RECORDS, file_of
from tests.unit.test_metrics_server import Answer

NAME = "a\n\x1b[31mb\\\u202e.x"
SHOWN = r"a\x0a\x1b[31mb\\\xe2\x80\xae.x"


def there(path: Path) -> None:
    path.touch()
    new_file.check(path, force=False)


def a_capture_is_there(path: Path) -> None:
    path.touch()
    make_way(path, force=False)


def a_folder(path: Path) -> None:
    path.mkdir()
    new_file.check(path, force=False)


def in_no_folder(path: Path) -> None:
    path.touch()
    new_file.check(path / "file", force=False)


def cannot_be_made(path: Path) -> None:
    # Longer than the longest name, that of a new file beside it even more.
    new_file.write(path.with_name(path.name + "x" * 240), b"", force=False)


def ready_in_a_folder_that_is_removed(path: Path) -> None:
    path.mkdir()
    ready = Ready(path / "file")
    path.rmdir()
    ready.report("fentry")


def not_replaced(path: Path) -> None:
    path.touch()
    Ready(path / "file")


@pytest.mark.parametrize(
    "do",
    [
        there,
        cannot_be_made,
        lambda path: new_file.check(path / "file", force=False),
        a_capture_is_there,
        a_folder,
        in_no_folder,
        lambda path: (path.mkdir(), Ready(path)),
        lambda path: Ready(path / "file"),
        not_replaced,
        ready_in_a_folder_that_is_removed,
        lambda path: AlertFile(str(path / "file"), size=1000, count=1),
        lambda path: MetricsServer(f"unix:{path}/socket", Answer()).start(),
    ],
)
def test_an_error_shows_the_name_escaped(do: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises((HangupError, click.UsageError)) as caught:
        do(tmp_path / NAME)
    text = getattr(caught.value, "message", str(caught.value))
    assert SHOWN in text
    assert text.isprintable()


def test_of_a_command_that_cannot_be_run_the_name_is_shown_escaped() -> None:
    assert SHOWN in str(CommandNotStartedError(NAME, FileNotFoundError(2, "there is no such file")))


def test_where_alerts_go_is_shown_escaped() -> None:
    text = destinations(Settings(file=f"/{NAME}", metrics=f"unix:/{NAME}"))
    assert text.count(f"/{SHOWN}") == 2
    assert text.isprintable()


def test_the_name_of_a_capture_is_shown_escaped() -> None:
    assert name_of(Path(NAME)) == SHOWN
    assert name_of(Path(os.fsdecode(b"\xff"))) == r"\xff"
    assert name_of(PIPE) == "standard input"


def test_a_report_that_is_there_is_told_in_one_line(tmp_path: Path) -> None:
    capture, page = tmp_path / "all.hup", tmp_path / NAME
    capture.write_bytes(file_of([RECORDS]))
    page.touch()
    result = CliRunner().invoke(hangup, ["report", "-r", str(capture), "-o", str(page)])
    assert len(result.output.splitlines()) == 1
    assert f"{SHOWN} is there already" in result.output
