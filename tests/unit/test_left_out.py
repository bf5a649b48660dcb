"""Connections that ended well and of which nobody knows whether they are asked for are in no row, and that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.tracer.capture.files import write_capture
from hangup.tracer.record.facts import CountsFact, pack_fact
from hangup.tracer.record.layout import pack
from tests.captures import counted
from tests.stories import HTTPD, seeds_failure
from tests.unit.pages import HOST


def ended_well(connections: int, *, ready: int = 1) -> bytes:
    """Return what tells that so many requests of the classic load were only counted."""
    row = counted(connections, 20 * connections, client="httpd", path=b"/tmp/helloFastCGI.s", ready=ready)
    return pack_fact(CountsFact(10**12, row))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Make a capture of what the kernel kept: one connection failed, 999 ended well and were only counted."""
    events = [pack(event) for event in seeds_failure().events]
    path = tmp_path / "recorded.hup"
    write_capture(path, [pack_fact(HOST._replace(recording=True)), *events, ended_well(999)])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(hangup, [str(argument) for argument in arguments])


SELECTIONS = [("--pid", str(HTTPD.pid)), ("--uid", str(HTTPD.uid)), ("verdict.gap > 0",)]
SAID = "999 connections that ended well are not counted; --stream tells of each"


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_summary_says_so(recorded: Path, selection: tuple[str, ...]) -> None:
    assert f"{SAID}.\n" in run("watch", "-r", recorded, *selection).output
    *_, total = map(json.loads, run("watch", "-r", recorded, "--json", *selection).stdout.splitlines())
    assert (total["connections"], total["left_out"]) == (1, 999)


@pytest.mark.parametrize("selection", [(), ("--comm", "httpd"), ("conn.path=/tmp/helloFastCGI.s and verdict!=killed",)])
def test_what_is_counted_by_name_and_path_is_not_left_out(recorded: Path, selection: tuple[str, ...]) -> None:
    *_, total = map(json.loads, run("watch", "-r", recorded, "--json", *selection).stdout.splitlines())
    assert (total["connections"], total["left_out"]) == (1000, 0)
    assert "not counted" not in run("watch", "-r", recorded, *selection).output


def test_what_there_was_no_row_for_is_left_out_where_names_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "others.hup"
    write_capture(path, [pack_fact(HOST._replace(recording=True)), ended_well(9, ready=0)])
    [total] = map(json.loads, run("watch", "-r", path, "--json", "--comm", "httpd").stdout.splitlines())
    assert total["left_out"] == 9


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_page_does_not_say_that_all_of_them_failed(
    recorded: Path, tmp_path: Path, selection: tuple[str, ...]
) -> None:
    out = tmp_path / "page.html"
    result = run("report", "-r", recorded, "-o", out, *selection)
    assert SAID in result.output
    page = out.read_text()
    assert "1 of 1 to 1,000 connections failed." in page
    assert "999 connections that ended well" in page


def test_two_runs_are_not_compared_by_them(recorded: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    whole.write_text(run("watch", "-r", recorded, "--json").stdout)
    part.write_text(run("watch", "-r", recorded, "--json", *SELECTIONS[0]).stdout)
    for pair in ((whole, part), (part, recorded)):
        result = run("diff", *pair)
        assert result.exit_code == ExitStatus.CANNOT_RUN
        said = "leaves out 999 connections that ended well: record with --stream, or without what only that tells\n"
        assert result.output == f"hangup: {part} {said}"
    assert run("diff", whole, recorded).exit_code == ExitStatus.OK
