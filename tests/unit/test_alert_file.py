"""Alerts in a file: whole lines, bounded in size, and a full disk that harms nothing else."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from hangup.cli.reporters.alert_json import alert_line
from hangup.cli.sinks.alert_file import AlertFile
from hangup.tracer.errors import HangupError
from hangup.tracer.tracer import Alert, Tracer
from tests.stories import seeds_failure
from tests.unit.playback import CLOCKS, Playback


@pytest.fixture(scope="module")
def alert() -> Alert:
    with Tracer(source=Playback(seeds_failure().events)) as tracer:
        [alert] = tracer.alerts()
    return alert


def test_each_alert_is_a_line_that_only_root_may_read(tmp_path: Path, alert: Alert) -> None:
    path = tmp_path / "alerts.jsonl"
    sink = AlertFile(str(path), size=1 << 20, count=1)
    for _ in range(3):
        sink.alert(alert, CLOCKS)
    sink.close()
    assert path.read_text() == 3 * (alert_line(alert, CLOCKS) + "\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_run_goes_on_where_the_last_one_ended(tmp_path: Path, alert: Alert) -> None:
    path = tmp_path / "alerts.jsonl"
    for _ in range(2):
        sink = AlertFile(str(path), size=1 << 20, count=1)
        sink.alert(alert, CLOCKS)
        sink.close()
    assert len(path.read_text().splitlines()) == 2


def test_files_are_renamed_when_they_are_full_and_no_more_are_kept_than_was_said(tmp_path: Path, alert: Alert) -> None:
    size = 3 * len(alert_line(alert, CLOCKS))
    sink = AlertFile(str(tmp_path / "alerts.jsonl"), size=size, count=2)
    for _ in range(20):
        sink.alert(alert, CLOCKS)
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alerts.jsonl", "alerts.jsonl.1", "alerts.jsonl.2"]
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= size
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_whole_lines_which_are_counted(tmp_path: Path, alert: Alert) -> None:
    """A limit on the size of files stands for a full disk: write(2) takes a part, then nothing."""
    path = tmp_path / "alerts.jsonl"
    line = len(alert_line(alert, CLOCKS)) + 1
    # In a child: the limit holds for all its files.
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sink = AlertFile(str(path), size=1 << 30, count=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (line + line // 2, resource.RLIM_INFINITY))
        sink.alert(alert, CLOCKS)
        first = (sink.errors, sink.problem)
        sink.alert(alert, CLOCKS)
        second = (sink.errors, sink.fails and sink.problem is not None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sink.alert(alert, CLOCKS)
        third = (sink.errors, sink.fails)
        sink.close()
        os._exit(0 if (first, second, third) == ((0, None), (1, True), (1, False)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [json.loads(text)["record"] for text in path.read_text().splitlines()] == ["alert", "alert"]


def test_it_follows_no_link_and_says_what_to_do_about_a_file_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path / "missing" / "alerts.jsonl", tmp_path):
        with pytest.raises(HangupError, match=r"cannot write .*/var/lib/hangup"):
            AlertFile(str(path), size=1 << 20, count=1)
    assert not (tmp_path / "elsewhere").exists()
