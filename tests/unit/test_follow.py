"""`--follow` of `watch` and `trace`: COMMAND is started in a cgroup of its own, and by that it is selected."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from hangup.cli import command_line
from hangup.cli.commands import trace, watch
from hangup.cli.exit_status import ExitStatus
from hangup.cli.follow import Followed
from hangup.cli.main import hangup
from hangup.tracer.errors import HangupError
from hangup.tracer.selection import IGNORED_PATHS, Selection
from hangup.tracer.tracer import Tracer
from tests.stories import seeds_failure
from tests.unit.playback import Playback


class Mounted:
    """A unified hierarchy in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def mount(self) -> bytes:
        """Where it is."""
        return os.fsencode(self._folder)


class NotMounted:
    """A host without one."""

    @property
    def mount(self) -> bytes:
        """Where it is."""
        raise FileNotFoundError


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    (tmp_path / "home").mkdir()
    (tmp_path / "own").write_text("1:name=systemd:/elsewhere\n0::/home\n")
    return Followed(Mounted(tmp_path), tmp_path / "own")


def test_what_is_started_is_started_from_within_the_cgroup(tmp_path: Path, followed: Followed) -> None:
    with followed:
        inside, home = (tmp_path / name / "cgroup.procs" for name in (followed.path.removeprefix("/"), "home"))
        with followed.starting():
            assert inside.read_text() == str(os.getpid())
            assert not home.exists()
        assert home.read_text() == str(os.getpid())


def test_the_cgroup_is_taken_away_and_who_is_left_in_it_goes_on_elsewhere(tmp_path: Path, followed: Followed) -> None:
    with followed:
        folder = tmp_path / followed.path.removeprefix("/")
        assert folder.is_dir()
    assert not folder.exists()
    with followed:
        (folder / "cgroup.procs").write_text("4711\n")
    assert (tmp_path / "home" / "cgroup.procs").read_text() == "4711"


def test_a_host_that_has_no_cgroups_of_that_kind_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HangupError, match="only cgroup v1: leave --follow away"):
        Followed(NotMounted()).__enter__()
    with pytest.raises(HangupError, match=r"cannot make the cgroup .*: --follow wants root"):
        Followed(Mounted(tmp_path / "none")).__enter__()


@pytest.mark.parametrize(("verb", "ignored"), [(watch, IGNORED_PATHS), (trace, ())])
def test_that_cgroup_is_selected_by_and_what_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, followed: Followed, verb: ModuleType, ignored: tuple[str, ...]
) -> None:
    options_of: list[dict[str, Any]] = []

    def replay(**options: Any) -> Tracer:
        options_of.append(options)
        return Tracer(source=Playback(seeds_failure().events), **options)

    monkeypatch.setattr(verb, "Tracer", replay)
    monkeypatch.setattr(command_line, "Followed", lambda: followed)
    inside = tmp_path / followed.path.removeprefix("/") / "cgroup.procs"
    started = ["sh", "-c", f"test $PPID = $(cat {inside})"]
    result = CliRunner().invoke(hangup, [verb.command.name, "--follow", "conn.comm=httpd", "--", *started])
    assert " while sh runs\n" in result.output
    assert result.exit_code in (ExitStatus.OK, ExitStatus.ALERTS)
    assert options_of[0]["selection"] == Selection(comms=("httpd",), ignored_paths=ignored, cgroups=(followed.path,))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--follow"], "--follow is for a COMMAND, and there is none"),
        (["--follow", "evt.failed=true"], "--follow is for a COMMAND, and there is none"),
        (["--follow", "--cgroup", "a.service", "--", "true"], "--follow selects by the cgroup that it makes"),
        (["--follow", "-r", "a.hup"], "--follow is for watching this host, and -r reads a capture"),
    ],
)
@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_where_there_is_nobody_to_follow_it_is_refused(verb: str, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(hangup, [verb, *arguments])
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert said in result.output
