"""`hangup watch` and `hangup trace` from the command line to the exit status, on told stories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hangup.cli.child import CommandNotStartedError, look_up
from hangup.cli.commands import trace, watch
from hangup.cli.json_lines import HEADER, Field
from hangup.cli.main import hangup
from hangup.cli.reporters import alert_json, operation_json, summary_json
from hangup.tracer import preflight
from hangup.tracer.cgroups import Cgroups
from hangup.tracer.errors import HangupError
from hangup.tracer.tracer import Tracer
from tests.stories import Story, clean, latent, seeds_failure
from tests.unit.playback import Playback
from tests.unit.test_alert_text import HEX, STORIES, cgroups

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the verbs trace stories in place of this host."""

    def tell(*stories: Story, cgroups: Cgroups | None = None) -> None:
        def tracer(**options: Any) -> Tracer:
            source = Playback([event for story in stories for event in story.events])
            return Tracer(source=source, cgroups=cgroups, **options)

        for verb in (watch, trace):
            monkeypatch.setattr(verb, "Tracer", tracer)
            monkeypatch.setattr(verb.preflight, "require", lambda: None)

    return tell


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hangup, arguments)


def records(result: Result) -> list[dict[str, Any]]:
    # click 8.1's runner mixes in what went to standard error.
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_watch_ends_with_122_after_an_alert_and_with_0_without(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    assert run("watch", "--duration", "0.01").exit_code == 122
    assert run("watch", "--duration", "0.01", "--no-fail").exit_code == 0
    told(clean(), latent())
    assert run("watch", "--duration", "0.01").exit_code == 0
    assert run("watch", "--duration", "0.01", "--latent").exit_code == 122


def test_watch_ends_with_its_commands_status_if_that_failed(told: Callable[..., None]) -> None:
    told(clean())
    assert run("watch", "--", "sh", "-c", "exit 7").exit_code == 7
    assert run("watch", "sh", "-c", "kill -9 $$").exit_code == 137
    assert run("watch", "true").exit_code == 0
    told(seeds_failure())
    assert run("watch", "--", "sh", "-c", "exit 7").exit_code == 7
    assert run("watch", "--no-fail", "--", "sh", "-c", "exit 7").exit_code == 7


def test_a_command_that_went_well_under_alerts_ends_with_a_status_of_hangups_own(told: Callable[..., None]) -> None:
    told(seeds_failure())
    assert run("watch", "--", "true").exit_code == 122
    assert run("watch", "--no-fail", "--", "true").exit_code == 0


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("/no/such/command", 127, "No such file or directory"),
        ("no-such-command", 127, "No such file or directory"),
        ("/etc/hostname/x", 127, "No such file or directory"),
        ("/proc/self/status", 126, "Permission denied"),
        ("/", 126, "Permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_one_line_and_the_shells_status_and_nothing_is_watched(
    monkeypatch: pytest.MonkeyPatch, command: str, status: int, reason: str
) -> None:
    def never(**_: Any) -> Tracer:
        raise AssertionError("no probe is loaded for a command that is not there")

    monkeypatch.setattr(watch, "Tracer", never)
    monkeypatch.setattr(preflight, "require", lambda: None)
    result = run("watch", "--", command)
    assert (result.exit_code, result.output) == (status, f"hangup: cannot run {command}: {reason}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_command_is_looked_up_as_the_user_who_will_run_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    look_up("own")
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with pytest.raises(CommandNotStartedError, match="Permission denied") as raised:
        look_up("own")
    assert raised.value.exit_status == 126
    look_up("sh")


def test_watch_prints_a_block_an_alert_and_the_table(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    output = run("watch", "--duration", "0.01").stdout
    assert "uwsgi[815] read 723 bytes, answered 94 bytes and hung up; 89 µs later httpd[4711]'s write of 8" in output
    assert "BROKEN WRITE" in output
    assert output.splitlines()[-1].startswith("1 alert in ")
    assert "total               2       1      0       0\n" in output


def test_the_selection_is_of_alerts_and_of_counts(told: Callable[..., None]) -> None:
    told(seeds_failure(), clean())
    result = run("watch", "--json", "--duration", "0.01", "--path", "/run/*")
    assert [record["record"] for record in records(result)] == ["summary", "total"]
    assert records(result)[0]["path"] == "/run/app.s"


def test_what_keeps_this_host_from_tracing_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise HangupError("no BTF", "get some")

    for verb in (watch, trace):
        monkeypatch.setattr(verb.preflight, "require", refuse)
        result = run(str(verb.command.name))
        assert (result.exit_code, result.output) == (125, "hangup: no BTF: get some\n")


@pytest.mark.parametrize("time", ["0", "-1", "x", "1d", "nan", "inf", "1e9", "99999999h"])
def test_a_duration_that_is_none_is_refused(time: str) -> None:
    result = run("watch", f"--duration={time}")
    assert result.exit_code == 2
    assert "is not a time; write it like 10, 1.5, 30s, 5m or 1h" in " ".join(result.output.split())


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("1.5", 1.5), ("30s", 30), ("5m", 300), ("1h", 3600)])
def test_a_duration_may_have_a_unit(
    told: Callable[..., None], monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    told(clean())
    given: list[Any] = []
    monkeypatch.setattr(watch, "run", lambda *_, **options: given.append(options["duration"]))
    assert run("watch", "--duration", text).exit_code == 0
    assert given == [seconds]


def names(fields: Iterable[tuple[Field, object]]) -> list[str]:
    return [field.name for field, _ in fields]


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array of strings": (list,),
    "array of objects": (list,),
}


def assert_described(fields: Iterable[tuple[Field, object]], values: Mapping[str, Any]) -> None:
    """Compare an object with the table that docs/json.md has of it."""
    fields = list(fields)
    assert [name for name in values if name not in ("schema", "record")] == names(fields)
    for field, _ in fields:
        allowed = tuple(kind for part in field.type.split(" or ") for kind in _TYPES[part])
        value = values[field.name]
        assert isinstance(value, allowed), f"{field.name} is {value!r}, not {field.type}"
        assert isinstance(value, bool) == (field.type == "boolean")


@pytest.mark.parametrize("name", STORIES)
def test_json_of_an_alert_is_what_the_tables_say(told: Callable[..., None], name: str) -> None:
    told(STORIES[name]())
    alert, row, total = records(run("watch", "--json", "--latent", "--duration", "0.01"))
    assert [record["record"] for record in (alert, row, total)] == ["alert", "summary", "total"]
    assert all(list(record)[: len(HEADER)] == [field.name for field in HEADER] for record in (alert, row, total))
    assert_described(alert_json.ALERT_FIELDS, alert)
    assert_described(summary_json.ROW_FIELDS, row)
    assert_described(summary_json.TOTAL_FIELDS, total)
    assert_described(alert_json.FIGURE_FIELDS, alert["figures"])
    for end in (alert["client"], alert["server"]):
        if end is not None:
            assert_described(alert_json.END_FIELDS, end)
    for operation in (alert["hangup"], alert["failed"], *alert["timeline"]):
        if operation is not None:
            assert_described(operation_json.OPERATION_FIELDS, operation)


def test_json_tells_the_classic_failure_to_the_last_byte(told: Callable[..., None]) -> None:
    told(seeds_failure())
    alert, row, total = records(run("watch", "--json", "--duration", "0.01"))
    assert (alert["verdict"], alert["survivor"], alert["doubts"]) == ("answered", "client", [])
    assert (alert["client"]["comm"], alert["client"]["pid"], alert["client"]["tid"]) == ("httpd", 4711, 4713)
    assert (alert["client"]["sock"], alert["server"]["sock"]) == ("ffff880108bcc440", "ffff880108bcba80")
    assert (alert["failed"]["syscall"], alert["failed"]["error"], alert["failed"]["size"]) == ("writev", "EPIPE", 8)
    assert alert["figures"]["gap_ns"] == 89_000
    assert alert["failed"]["end_ns"] - alert["hangup"]["start_ns"] == 89_000
    assert alert["timeline"][-1] == alert["failed"]
    assert [
        (operation["endpoint"], operation["result"])
        for operation in alert["timeline"]
        if operation["operation"] in ("read", "write") and operation["result"] > 0
    ] == [
        *[(end, size) for size in (16, 699, 8) for end in ("client", "server")],
        *[("server", size) for size in (8, 43, 8, 11, 24)],
    ]
    assert row["gap_max_ns"] == 89_000
    assert (total["alerts"], total["lost"]) == (1, 0)


def test_trace_prints_one_line_an_operation(told: Callable[..., None]) -> None:
    told(seeds_failure(), STORIES["refused"]())
    result = run("trace", "--duration", "0.01")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if not line.startswith("hangup: ")]
    shown = [line.split(" ", 1)[1] for line in lines]
    assert shown[0] == "httpd[4711/4713] connect(7)     #1   /tmp/helloFastCGI.s"
    assert "httpd[4711/4713] writev(7) 699  #1   uwsgi[815] /tmp/helloFastCGI.s" in shown
    assert "httpd[4711/4713] writev(7) 8: EPIPE #1   uwsgi[815] /tmp/helloFastCGI.s" in shown
    assert shown[-1] == "httpd[4711/4713] connect(7): ECONNREFUSED -    /run/stale.s"
    assert len(lines) == len(seeds_failure().events) + 1


def test_json_of_an_operation_is_what_the_table_says(told: Callable[..., None]) -> None:
    told(seeds_failure(), STORIES["refused"](), STORIES["killed"](), STORIES["older-than-the-tracer"]())
    *lines, total = [
        record for record in records(run("trace", "--json", "--duration", "0.01")) if record["record"] != "summary"
    ]
    assert total["record"] == "total"
    for line in lines:
        assert line["record"] == "operation"
        assert_described(operation_json.TRACE_FIELDS, line)
    connections = [line["connection"] for line in lines]
    assert connections.count(None) == 1
    assert len(set(connections)) == 4


def test_json_says_in_which_unit_and_container_a_process_is_and_what_it_is_called_there(
    told: Callable[..., None],
) -> None:
    def place(record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in ("pid", "inner_pid", "unit", "container", "runtime"))

    nginx = (3012, 7, f"docker-{HEX}.scope", HEX[:12], "docker")
    uwsgi = (2948, 41, "uwsgi.service", "web", "systemd-nspawn")
    told(STORIES["containers"](), cgroups=cgroups())
    alert, *_ = records(run("watch", "--json", "--duration", "0.01"))
    assert (place(alert["client"]), place(alert["server"])) == (nginx, uwsgi)
    assert alert["client"]["cgroup"] == f"/system.slice/docker-{HEX}.scope"
    assert {operation["inner_pid"] for operation in alert["timeline"]} == {7, 41}
    told(STORIES["containers"](), seeds_failure(), cgroups=cgroups())
    lines = [line for line in records(run("trace", "--json", "--duration", "0.01")) if line["record"] == "operation"]
    nowhere = {(pid, pid, None, None, None) for pid in (4711, 815)}
    assert {place(line) for line in lines} == {nginx, uwsgi} | nowhere


# Runs a verb on a story and then waits, as a real tracer would: for a signal, or for its reader to go.
_WAITING = """
import sys
from hangup.cli.commands import trace, watch
from hangup.cli.main import main
from tests.stories import seeds_failure
from tests.unit.playback import Playback
from hangup.tracer.tracer import Tracer

for verb in (trace, watch):
    verb.preflight.require = lambda: None
    verb.Tracer = lambda **options: Tracer(source=Playback(seeds_failure().events, idle=0.05), **options)
main()
"""


def waiting(*arguments: str, ready: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WAITING, *arguments, "--ready-fd", str(ready)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[ready],
    )


def wait_until_ready(read: int, write: int) -> str:
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_watch_with_its_table(number: signal.Signals) -> None:
    read, write = os.pipe()
    with waiting("watch", ready=write) as child:
        assert wait_until_ready(read, write) == f"{child.pid} capture\n"
        child.send_signal(number)
        output, errors = child.communicate(timeout=60)
    assert child.returncode == 122
    assert output.splitlines()[-1].startswith("1 alert in ")
    assert errors == "hangup: watching with capture (0 functions); Ctrl-C ends\n"


@pytest.mark.parametrize("arguments", [["watch"], ["watch", "--json"], ["trace"], ["watch", "--comm", "nobody"]])
def test_a_reader_that_goes_away_ends_it_quietly_also_when_there_is_nothing_to_print(arguments: list[str]) -> None:
    read, write = os.pipe()
    with waiting(*arguments, ready=write) as child:
        assert child.stdout is not None
        child.stdout.close()
        # It may find out even before it is ready.
        wait_until_ready(read, write)
        assert child.stderr is not None
        errors = [line for line in child.stderr if "Ctrl-C ends" not in line]
        assert child.wait(timeout=60) == 141
    assert errors == []
