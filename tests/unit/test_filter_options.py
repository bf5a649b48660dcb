"""Filters on the command line and in the configuration of the service."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli.commands import trace, watch
from hangup.cli.exit_status import ExitStatus
from hangup.cli.main import hangup
from hangup.cli.service.configuration import parse
from hangup.cli.service.service import filter_of_settings
from hangup.cli.service.settings import Settings
from hangup.tracer.selection import IGNORED_PATHS, Selection
from hangup.tracer.tracer import Tracer
from tests.stories import seeds_failure
from tests.unit import pages
from tests.unit.playback import Playback

Given = list[dict[str, Any]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Have the verbs trace the classic failure, and note what tracers are made with."""
    options_of: Given = []

    def replay(**options: Any) -> Tracer:
        options_of.append(options)
        return Tracer(source=Playback(seeds_failure().events), **options)

    for verb in (watch, trace):
        monkeypatch.setattr(verb, "Tracer", replay)
    return options_of


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("conn.pid=7 and conn.path glob /run/*",),
        ("-f", "conn.pid=7 and conn.path glob /run/*"),
        ("-f", "conn.pid=7", "--filter", "conn.path glob /run/*"),
        ("-f", "conn.pid=7", "conn.path glob /run/*"),
        ("--pid", "7", "conn.path glob /run/*"),
        ("--pid", "7", "--path", "/run/*"),
    ],
)
def test_options_and_filters_say_the_same(given: Given, arguments: tuple[str, ...]) -> None:
    assert run("trace", "--duration", "0.01", *arguments).exit_code == 0
    assert [(options["selection"], options["only"]) for options in given] == [
        (Selection(frozenset({7}), paths=("/run/*",)), None)
    ]


def test_trace_prints_what_passes(given: Given) -> None:
    result = run("trace", "--duration", "0.01", "evt.res=EPIPE")
    assert [line.split()[2] for line in result.stdout.splitlines() if "#" in line] == ["writev(7)"]
    assert "1 operation;" in result.output
    assert given


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_options_may_stand_before_a_filter_and_behind_it(given: Given, verb: str) -> None:
    result = run(verb, "--pid", "4711", "evt.res=EPIPE", "--duration", "0.01", "--json", "--", "true")
    assert '"record":"total"' in result.output
    assert str(given[0]["only"]) == "evt.res=EPIPE"
    assert given[0]["selection"].pids == {4711}


def test_watch_takes_a_filter_before_its_command(given: Given) -> None:
    result = run("watch", "evt.res=EPIPE and conn.client.comm=httpd", "--", "true")
    assert result.exit_code == ExitStatus.ALERTS
    assert str(given[0]["only"]) == "evt.res=EPIPE and conn.client.comm=httpd"
    assert given[0]["selection"] == Selection(comms=("httpd",), ignored_paths=IGNORED_PATHS)
    assert run("watch", "--duration", "0.01", "evt.res=ENOENT").exit_code == 0


@pytest.mark.parametrize(
    ("words", "filters", "command"),
    [
        (("proc.pid=7", "--", "ab", "-n", "1"), ["proc.pid=7"], ("ab", "-n", "1")),
        (("proc.pid=7",), ["proc.pid=7"], ()),
        (("not(verdict in (a))", "--", "ab"), ["not(verdict in (a))"], ("ab",)),
        (("conn.path exists", "--", "ab"), ["conn.path exists"], ("ab",)),
        (("(proc.pid = 7)",), ["(proc.pid = 7)"], ()),
        (("verdict!=answered",), ["verdict!=answered"], ()),
        (("ab", "-n", "1"), [], ("ab", "-n", "1")),
        (("sudo", "--", "ab"), [], ("sudo", "--", "ab")),
        (("/opt/my app/run",), [], ("/opt/my app/run",)),
        (("proc.pid=7", "ab"), ["proc.pid=7"], ("ab",)),
        (("proc.pid=7", "--quiet", "ab", "-w", "x"), ["proc.pid=7"], ("ab", "-w", "x")),
        (("-f", "proc.pid=7", "--", "ab", "proc.pid=8"), ["proc.pid=7"], ("ab", "proc.pid=8")),
        (("evt.failed",), ["evt.failed"], ()),
        (("verdict",), [], ("verdict",)),
        (("./run=x",), [], ("./run=x",)),
        ((), [], ()),
    ],
)
@pytest.mark.parametrize("verb", [watch, trace])
def test_what_is_a_filter_and_what_a_command(
    verb: ModuleType, words: tuple[str, ...], filters: list[str], command: tuple[str, ...]
) -> None:
    given = verb.command.make_context("hangup", list(words)).params
    assert (list(given["filters"]), given["command_line"]) == (filters, command)


@pytest.mark.parametrize("verb", ["watch", "trace"])
@pytest.mark.parametrize("text", ["verdict", "evt.failed", "not", "", "proc"])
def test_of_a_capture_whatever_is_no_filter_is_a_mistake_in_one(recorded: Path, verb: str, text: str) -> None:
    result = run(verb, "-r", str(recorded), "--quiet", text)
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert "Error: Invalid value for FILTER: " in result.output


@pytest.mark.parametrize("verb", ["watch", "trace"])
def test_a_mistake_is_one_line_and_a_caret_and_nothing_is_traced(given: Given, verb: str) -> None:
    result = run(verb, "-f", "evt.failed=true", "-f", "proc.pdi=7")
    assert result.exit_code == ExitStatus.CANNOT_RUN
    assert result.output.endswith(
        "Error: Invalid value for FILTER: column 1 of the filter: there is no field 'proc.pdi'; did you mean proc.pid "
        "or proc.vpid?\n  proc.pdi=7\n  ^\n"
    )
    assert given == []


@pytest.mark.parametrize(
    ("arguments", "explained"),
    [
        (
            ("trace", "proc.pid=7 and evt.failed=true"),
            "the kernel decides:  proc.pid=7\nhangup decides:      proc.pid=7 and evt.failed=true\n",
        ),
        (
            ("watch", "--pid", "7", "--ignore-path", "/a*", "verdict=answered"),
            "the kernel decides:  conn.pid in (7) and not conn.path glob /a*\nhangup decides:      verdict=answered\n",
        ),
        (("watch",), "there is no filter: everything passes\n"),
        (("watch", "--comm", "a"), "the kernel decides:  conn.comm glob a\nhangup decides:      nothing\n"),
        (("peers", "conn.pid=7"), "hangup decides:      conn.pid=7\n"),
    ],
)
def test_who_decides_what_is_explained(given: Given, arguments: tuple[str, ...], explained: str) -> None:
    result = run(arguments[0], "--explain-filter", *arguments[1:])
    assert (result.exit_code, result.output) == (0, explained)
    assert given == []


def test_it_is_said_when_connections_that_end_well_are_not_counted(given: Given) -> None:
    said = "connections that end well are not counted: the kernel does not tell evt.res of them; --stream does"
    assert said in run("watch", "--duration", "0.01", "evt.res=EPIPE").output
    for arguments in (("--stream", "evt.res=EPIPE"), ("verdict=answered",), ("conn.pid=7",), ()):
        assert "not counted" not in run("watch", "--duration", "0.01", *arguments).output
    assert given


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return pages.capture(tmp_path / "a.hup", pages.mixed())


@pytest.mark.parametrize("verb", ["watch", "trace", "peers"])
def test_of_a_capture_the_kernel_decides_nothing(recorded: Path, verb: str) -> None:
    result = run(verb, "--explain-filter", "-r", str(recorded), "proc.pid=7")
    assert (result.exit_code, result.output) == (0, "hangup decides:      proc.pid=7\n")


@pytest.mark.parametrize("verb", ["report", "diff"])
def test_of_a_verb_that_only_reads_captures_the_kernel_decides_nothing(
    recorded: Path, verb: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ["-r", str(recorded), "-o", str(page)] if verb == "report" else [str(recorded), str(recorded)]
    result = run(verb, "--explain-filter", *words, "conn.comm=httpd")
    assert (result.exit_code, result.output) == (0, "hangup decides:      conn.comm=httpd\n")
    assert not page.exists()


def test_a_capture_is_asked_as_this_host_is(recorded: Path) -> None:
    result = run("watch", "-r", str(recorded), "--json", "verdict=killed and conn.server.comm=php-fpm")
    assert {json.loads(line).get("verdict", "killed") for line in result.stdout.splitlines()} == {"killed"}
    assert result.exit_code == ExitStatus.ALERTS
    result = run("trace", "-r", str(recorded), "evt.res=EPIPE and proc.name=httpd")
    # What it says at the end is for standard error.
    operations = [line for line in result.stdout.splitlines() if not line.startswith("hangup: ")]
    assert len(operations) == sum("EPIPE" in line for line in operations) == 23
    for arguments, count in ((("evt.failed=true",), 23), (("--path", "/none"), 0), (("-c", "1"), 9)):
        result = run("trace", "-r", str(recorded), "--quiet", *arguments)
        assert f"hangup: {count} operations; " in result.output
    result = run("watch", "-r", str(recorded), "conn.path=/none", "--", "true")
    assert "COMMAND is for watching this host, and -r reads a capture" in result.output


def test_the_service_has_a_key_for_a_filter_and_the_others_are_filters_too(tmp_path: Path) -> None:
    values, mistakes = parse("[selection]\nfilter = 'verdict.gap > 1ms and conn.uid=33'\ncomm = ['ng*']\n")
    assert mistakes == []
    wanted = filter_of_settings(Settings(**values))
    assert wanted.selection == Selection(comms=("ng*",), ignored_paths=IGNORED_PATHS, uids=frozenset({33}))
    assert str(wanted.rest) == "verdict.gap>1ms"
    config = tmp_path / "hangup.toml"
    config.write_text("[selection]\nfilter = 'verdict=answered'\n")
    result = run("serve", "--config", str(config), "--explain-filter")
    assert result.output.endswith("hangup decides:      verdict=answered\n")
    for arguments in (("-f", "verdict=unread"), ("verdict=unread",)):
        result = run("serve", "--config", str(config), "--explain-filter", *arguments)
        assert result.output.endswith("hangup decides:      verdict=unread\n")
    result = run(
        "serve", "--config", str(config), "--explain-filter", "-f", "verdict=unread", "conn.pid=7 or conn.pid=8"
    )
    assert result.output.endswith("hangup decides:      verdict=unread\n")
    assert result.output.startswith("the kernel decides:  (conn.pid=7 or conn.pid=8) and ")


@pytest.mark.parametrize(
    "text", ["filter = 'proc.pdi=7'", 'filter = "a=\\u0007"', "filter = 3", "filter = 'evt.num=1'"]
)
def test_a_mistake_in_the_configuration_s_filter_is_told(text: str) -> None:
    _, mistakes = parse(f"[selection]\n{text}\n")
    assert len(mistakes) == 1


def test_the_options_of_serve_point_at_the_place_too() -> None:
    for arguments in (("-f", "proc.pdi=7"), ("proc.pdi=7",)):
        result = run("serve", *arguments)
        assert result.exit_code == ExitStatus.USAGE
        assert result.output.endswith("\n  proc.pdi=7\n  ^\n")
